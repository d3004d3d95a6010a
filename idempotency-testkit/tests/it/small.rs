//! A store with no more than a store needs to have.

use std::time::Duration;

use idempotency_core::{
    Acquired, Claim, Completion, Effect, Guarantees, Held, IdempotencyStore, Key, Lock, Snapshot, StoreError, Watch,
    async_trait,
};

/// Another store without its upkeep and its watches.
#[derive(Debug)]
pub(crate) struct WithoutUpkeep<S>(pub(crate) S);

#[async_trait]
impl<S: IdempotencyStore> IdempotencyStore for WithoutUpkeep<S> {
    async fn get(&self, key: &Key) -> Result<Option<Snapshot>, StoreError> {
        self.0.get(key).await
    }

    async fn acquire_lock(&self, key: &Key, claim: &Claim) -> Result<Acquired, StoreError> {
        self.0.acquire_lock(key, claim).await
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
        self.0.guarantees().await
    }
}
