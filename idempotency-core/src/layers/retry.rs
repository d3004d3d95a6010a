//! Another try for calls that failed in passing.

use std::time::Duration;

use async_trait::async_trait;
use backon::{ExponentialBuilder, Retryable};

use crate::error::StoreError;
use crate::guarantees::Guarantees;
use crate::key::Key;
use crate::lock::{Claim, Effect, Lock};
use crate::moves::{Acquired, Held};
use crate::record::{Completion, Snapshot};
use crate::store::{IdempotencyStore, Watch};
use crate::upkeep::{Page, Purged, Stats, Upkeep};

/// Tries a call again that failed in passing (unavailable, in doubt), with growing, jittered delays.
///
/// Safe for every method: each may be sent again with the same arguments. [`Idempotency`] tries its
/// own calls again, so this is for those who call a store themselves.
///
/// [`Idempotency`]: crate::Idempotency
#[derive(Clone, Debug)]
pub struct Retry<S> {
    store: S,
    delays: ExponentialBuilder,
}

impl<S: IdempotencyStore> Retry<S> {
    /// Tries up to `retries` times more, after 10 ms, 20 ms and so on to 1 s, each with jitter.
    pub fn new(store: S, retries: usize) -> Self {
        let delays = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(10))
            .with_max_delay(Duration::from_secs(1))
            .with_max_times(retries)
            .with_jitter();
        Self { store, delays }
    }

    async fn again<T, Fut>(&self, call: impl FnMut() -> Fut + Send) -> Result<T, StoreError>
    where
        Fut: Future<Output = Result<T, StoreError>> + Send,
        T: Send,
    {
        call.retry(self.delays).when(StoreError::is_passing).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: IdempotencyStore> IdempotencyStore for Retry<S> {
    async fn get(&self, key: &Key) -> Result<Option<Snapshot>, StoreError> {
        self.again(|| self.store.get(key)).await
    }

    async fn acquire_lock(&self, key: &Key, claim: &Claim) -> Result<Acquired, StoreError> {
        self.again(|| self.store.acquire_lock(key, claim)).await
    }

    async fn extend_lock(&self, key: &Key, lock: &Lock, lease: Duration) -> Result<Held, StoreError> {
        self.again(|| self.store.extend_lock(key, lock, lease)).await
    }

    async fn store_result(
        &self,
        key: &Key,
        lock: &Lock,
        result: &Completion,
        retention: Duration,
    ) -> Result<Held, StoreError> {
        self.again(|| self.store.store_result(key, lock, result, retention)).await
    }

    async fn release_lock(&self, key: &Key, lock: &Lock, effect: Effect) -> Result<Held, StoreError> {
        self.again(|| self.store.release_lock(key, lock, effect)).await
    }

    fn watch(&self, key: &Key) -> Watch {
        self.store.watch(key)
    }

    async fn guarantees(&self) -> Result<Guarantees, StoreError> {
        self.again(|| self.store.guarantees()).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: Upkeep> Upkeep for Retry<S> {
    async fn purge(&self, limit: usize) -> Result<Purged, StoreError> {
        self.again(|| self.store.purge(limit)).await
    }

    async fn stats(&self) -> Result<Stats, StoreError> {
        self.again(|| self.store.stats()).await
    }

    async fn list(&self, after: Option<&Key>, limit: usize) -> Result<Page, StoreError> {
        self.again(|| self.store.list(after, limit)).await
    }
}
