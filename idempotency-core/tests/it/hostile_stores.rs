//! Stores that do the worst: every fault while the lock is asked for, and panics before a future.

use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use idempotency_core::{
    Acquired, Claim, Completion, Effect, Error, Guarantees, Held, How, Idempotency, IdempotencyStore, Key, Lock,
    OnUnknown, Snapshot, Status, StoreError, StoreErrorKind, Unrecorded, Watch,
};
use tokio::time::{Instant, sleep};

use crate::support::{Fault, Ghost, KEY, LEASE, Method, Model, faulty, run, settle_down};

/// A store written by hand: its method panics before it gives its future.
#[derive(Debug)]
struct Eager(Model);

#[async_trait]
impl IdempotencyStore for Eager {
    async fn get(&self, key: &Key) -> Result<Option<Snapshot>, StoreError> {
        self.0.get(key).await
    }

    async fn acquire_lock(&self, key: &Key, claim: &Claim) -> Result<Acquired, StoreError> {
        self.0.acquire_lock(key, claim).await
    }

    async fn extend_lock(&self, key: &Key, lock: &Lock, lease: Duration) -> Result<Held, StoreError> {
        self.0.extend_lock(key, lock, lease).await
    }

    fn store_result<'s: 'f, 'k: 'f, 'l: 'f, 'r: 'f, 'f>(
        &'s self,
        _: &'k Key,
        _: &'l Lock,
        _: &'r Completion,
        _: Duration,
    ) -> Pin<Box<dyn Future<Output = Result<Held, StoreError>> + Send + 'f>>
    where
        Self: 'f,
    {
        panic!("in the store, before it gave its future")
    }

    async fn release_lock(&self, key: &Key, lock: &Lock, effect: Effect) -> Result<Held, StoreError> {
        self.0.release_lock(key, lock, effect).await
    }

    fn watch(&self, key: &Key) -> Watch {
        self.0.watch(key)
    }

    async fn guarantees(&self) -> Result<Guarantees, StoreError> {
        self.0.guarantees().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_panics_before_it_gives_its_future_costs_nobody_a_value() {
    let handle = Idempotency::new(Eager(Model::new()));
    let outcome = run(&handle, &KEY, 7).await.unwrap();
    let panicked = StoreErrorKind::Internal;
    assert!(matches!(outcome.how(), How::Unrecorded(Unrecorded::Store(error)) if error.kind() == panicked));
    assert_eq!(*outcome, 7);
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_is_said_to_be_over_is_made_anew_once_and_no_more() {
    let (store, handle) = faulty();
    store.ended(1);
    assert!(matches!(run(&handle, &KEY, 7).await.unwrap().how(), How::Executed));
    assert_eq!(store.calls(), [Method::Acquire, Method::Acquire, Method::Store]);
    let (store, handle) = faulty();
    store.ended(2);
    match run(&handle, &KEY, 7).await {
        Err(Error::Store { source, .. }) => assert_eq!(source.kind(), StoreErrorKind::Internal),
        other => panic!("{other:?}"),
    }
    assert_eq!(store.calls(), [Method::Acquire; 2]);
}

#[tokio::test(start_paused = true)]
async fn after_any_three_faults_of_a_claim_the_key_is_done_or_free_or_in_doubt() {
    let second = Duration::from_secs(1);
    let lasting = [
        Fault::Before(StoreErrorKind::Closed),
        Fault::Before(StoreErrorKind::Full),
        Fault::After(StoreErrorKind::Internal),
    ];
    let faults = [
        Fault::Works,
        Fault::DOWN,
        Fault::LOST,
        Fault::Hangs,
        Fault::HangsAfter,
        Fault::Late(second * 3),
        Fault::LateAfter(second * 3),
        lasting[0],
        lasting[1],
        lasting[2],
    ];
    for n in 0..faults.len().pow(3) {
        let three = [0, 1, 2].map(|place| faults[n / faults.len().pow(place) % faults.len()]);
        let (store, handle) = faulty();
        store.next(Method::Acquire, three);
        let ghost = Ghost::default();
        let began = Instant::now();
        let strict = handle.call(&KEY).on_unknown(OnUnknown::Refuse);
        let ran = strict.run(|_| ghost.clone().operation(0)).await;
        assert!(began.elapsed() < second * 5 + second / 10, "{three:?}");
        assert_eq!(ghost.begun(), u32::from(ran.is_ok()), "{three:?}");
        settle_down(&handle).await;
        store.heal();
        sleep(LEASE).await;
        match (ran, handle.status(&KEY).await.unwrap()) {
            (Ok(_), Status::Completed { .. })
            | (Err(Error::Store { .. }), Status::Absent | Status::Released { .. }) => {}
            // Finding out what became of a lost answer failed for good: the doubt stays.
            (Err(Error::Store { .. }), Status::Unknown { prior, .. })
                if prior.attempt == 1 && three[1..].iter().any(|fault| lasting.contains(fault)) => {}
            other => panic!("{other:?} after {three:?}"),
        }
    }
}
