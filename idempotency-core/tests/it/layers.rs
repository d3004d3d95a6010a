//! The layers: limit, retry, near cache.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use idempotency_core::layers::{Limit, Retry};
use idempotency_core::{
    Acquired, Claim, Completion, Effect, Guarantees, Held, IdempotencyStore, Key, Lock, Page, Purged, Snapshot, Stats,
    StoreError, StoreErrorKind, Upkeep, Watch,
};
use tokio::time::Instant;

use crate::support::{Fault, Faulty, KEY, Method};

/// A store that answers completed to whatever request, as none should.
#[derive(Debug)]
pub(crate) struct Careless(Arc<Faulty>);

impl Careless {
    pub(crate) const fn over(store: Arc<Faulty>) -> Self {
        Self(store)
    }
}

#[async_trait]
impl IdempotencyStore for Careless {
    async fn get(&self, key: &Key) -> Result<Option<Snapshot>, StoreError> {
        self.0.get(key).await
    }

    async fn acquire_lock(&self, key: &Key, _: &Claim) -> Result<Acquired, StoreError> {
        Ok(Acquired::Completed(Box::new(self.0.get(key).await?.unwrap())))
    }

    async fn extend_lock(&self, key: &Key, lock: &Lock, lease: Duration) -> Result<Held, StoreError> {
        self.0.extend_lock(key, lock, lease).await
    }

    async fn store_result(
        &self,
        key: &Key,
        lock: &Lock,
        result: &Completion,
        retention: Duration,
    ) -> Result<Held, StoreError> {
        self.0.store_result(key, lock, result, retention).await
    }

    async fn release_lock(&self, key: &Key, lock: &Lock, effect: Effect) -> Result<Held, StoreError> {
        self.0.release_lock(key, lock, effect).await
    }

    fn watch(&self, _: &Key) -> Watch {
        Watch::never()
    }

    async fn guarantees(&self) -> Result<Guarantees, StoreError> {
        Ok(Guarantees::none("careless"))
    }
}

const ALL: [Method; 6] = [Method::Get, Method::Acquire, Method::Extend, Method::Store, Method::Release, Method::Other];

/// Calls every method of a store and its upkeep once, and gives the kinds of the errors.
async fn call_all<S: Upkeep>(store: &S) -> Vec<Option<StoreErrorKind>> {
    fn kind<T>(answer: Result<T, StoreError>) -> Option<StoreErrorKind> {
        answer.err().map(|error| error.kind())
    }
    let claim = Claim::new(KEY.fingerprint());
    let lock = Lock { owner: claim.owner, fence: idempotency_core::Fence::new(1) };
    let result = Completion::Value(vec![1].into());
    let second = Duration::from_secs(1);
    drop(store.watch(&KEY));
    vec![
        kind(store.get(&KEY).await),
        kind(store.acquire_lock(&KEY, &claim).await),
        kind(store.extend_lock(&KEY, &lock, second).await),
        kind(store.store_result(&KEY, &lock, &result, second).await),
        kind(store.release_lock(&KEY, &lock, Effect::None).await),
        kind(store.guarantees().await),
        kind(store.purge(1).await),
        kind(store.stats().await),
        kind(store.list(None, 1).await),
    ]
}

#[tokio::test(start_paused = true)]
async fn a_limit_ends_every_call_as_in_doubt() {
    let store = Arc::new(Faulty::new());
    let limit = Limit::new(store.clone(), Duration::from_secs(2)).unwrap();
    assert_eq!(call_all(&limit).await, [None; 9]);
    ALL.into_iter().for_each(|method| store.always(method, Fault::Hangs));
    let began = Instant::now();
    assert_eq!(call_all(&limit).await, [Some(StoreErrorKind::InDoubt); 9]);
    assert!(began.elapsed() >= Duration::from_secs(18) && began.elapsed() < Duration::from_millis(18_100));
    ALL.into_iter().for_each(|method| store.always(method, Fault::PanicsAt(1)));
    assert_eq!(call_all(&limit).await, [Some(StoreErrorKind::Internal); 9]);
    assert!(Limit::new(store, Duration::ZERO).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_retry_tries_passing_failures_again_and_no_others() {
    let store = Arc::new(Faulty::new());
    let retry = Retry::new(store.clone(), 2);
    ALL.into_iter().for_each(|method| store.next(method, [Fault::DOWN, Fault::LOST]));
    assert_eq!(call_all(&retry).await, [None; 9]);
    // Three tries each; those after the first of `Other` had no fault.
    assert_eq!(ALL.map(|method| store.count(method)), [3, 3, 3, 3, 3, 6]);

    ALL.into_iter().for_each(|method| store.always(method, Fault::DOWN));
    assert_eq!(call_all(&retry).await, [Some(StoreErrorKind::Unavailable); 9]);
    assert_eq!(ALL.map(|method| store.count(method)), [6, 6, 6, 6, 6, 18]);

    for lasting in [
        StoreErrorKind::Full,
        StoreErrorKind::TooLarge,
        StoreErrorKind::Damaged,
        StoreErrorKind::Closed,
        StoreErrorKind::Misconfigured,
        StoreErrorKind::Internal,
    ] {
        let before = store.calls().len();
        ALL.into_iter().for_each(|method| store.always(method, Fault::Before(lasting)));
        assert_eq!(call_all(&retry).await, [Some(lasting); 9]);
        assert_eq!(store.calls().len() - before, 9);
    }
}

#[tokio::test(start_paused = true)]
async fn a_retried_acquisition_meets_its_own_lock() {
    let store = Arc::new(Faulty::new());
    store.next(Method::Acquire, [Fault::LOST]);
    let retry = Retry::new(Limit::new(store, Duration::from_secs(1)).unwrap(), 3);
    let answer = retry.acquire_lock(&KEY, &Claim::new(KEY.fingerprint())).await.unwrap();
    assert!(matches!(answer, Acquired::Acquired(grant) if grant.attempt == 1), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn a_shared_store_is_a_store() {
    let store: Arc<Faulty> = Arc::new(Faulty::new());
    assert_eq!(call_all(&store).await, [None; 9]);
    assert_eq!(ALL.map(|method| store.count(method)), [1, 1, 1, 1, 1, 4]);
    let Purged { removed, .. } = store.purge(1).await.unwrap();
    let (Stats { released, .. }, Page { records, .. }) =
        (store.stats().await.unwrap(), store.list(None, 9).await.unwrap());
    // Stored under a lock that is not its own: what `call_all` left is completed.
    assert_eq!((removed, released, records.len()), (0, 0, 1));
}
