//! Stores in schedules.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use async_trait::async_trait;
use idempotency_core::{
    Acquired, Claim, Completion, Effect, Guarantees, Held, IdempotencyStore, Key, Lock, Snapshot, StoreError,
    StoreErrorKind, Watch,
};
use idempotency_testkit::ReferenceStore;
use idempotency_testkit::schedule::{Property, SimClock, Simulated};

use crate::services::pay;

/// Carries out every call, and says of every third that something went wrong.
#[derive(Debug)]
struct Doubtful {
    store: ReferenceStore<SimClock>,
    says: StoreErrorKind,
    calls: AtomicU32,
}

impl Doubtful {
    fn or_fails<T>(&self, answer: T) -> Result<T, StoreError> {
        match self.calls.fetch_add(1, Relaxed) % 3 {
            1 => Err(StoreError::new(self.says, "doubtful")),
            _ => Ok(answer),
        }
    }
}

#[async_trait]
impl IdempotencyStore for Doubtful {
    async fn get(&self, key: &Key) -> Result<Option<Snapshot>, StoreError> {
        self.or_fails(self.store.get(key).await?)
    }

    async fn acquire_lock(&self, key: &Key, claim: &Claim) -> Result<Acquired, StoreError> {
        self.or_fails(self.store.acquire_lock(key, claim).await?)
    }

    async fn extend_lock(&self, key: &Key, lock: &Lock, lease: Duration) -> Result<Held, StoreError> {
        self.or_fails(self.store.extend_lock(key, lock, lease).await?)
    }

    async fn store_result(
        &self,
        key: &Key,
        lock: &Lock,
        result: &Completion,
        retention: Duration,
    ) -> Result<Held, StoreError> {
        self.or_fails(self.store.store_result(key, lock, result, retention).await?)
    }

    async fn release_lock(&self, key: &Key, lock: &Lock, effect: Effect) -> Result<Held, StoreError> {
        self.or_fails(self.store.release_lock(key, lock, effect).await?)
    }

    fn watch(&self, key: &Key) -> Watch {
        self.store.watch(key)
    }

    async fn guarantees(&self) -> Result<Guarantees, StoreError> {
        self.store.guarantees().await
    }
}

fn over(says: StoreErrorKind) -> Property<std::ops::Range<u32>> {
    let make = move |clock| Doubtful { store: ReferenceStore::new(clock), says, calls: AtomicU32::new(0) };
    Property::of(1..3_u32).on_store(move |clock| Simulated::new(make(clock)))
}

#[test]
fn a_store_that_did_what_it_says_is_in_doubt_is_not_blamed() {
    for says in [StoreErrorKind::InDoubt, StoreErrorKind::Internal] {
        over(says).runs(300).check(pay);
    }
}

#[test]
fn a_store_that_did_what_it_says_it_did_not_is_blamed() {
    over(StoreErrorKind::Unavailable).try_check(pay).unwrap_err();
}
