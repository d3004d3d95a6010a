//! A time limit on every call to a store.

use std::time::Duration;

use async_trait::async_trait;

use crate::ask::ask;
use crate::error::StoreError;
use crate::guarantees::Guarantees;
use crate::key::Key;
use crate::lock::{Claim, Effect, Lock};
use crate::moves::{Acquired, Held};
use crate::record::{Completion, Snapshot};
use crate::store::{IdempotencyStore, Watch};
use crate::time::{InvalidDuration, checked};
use crate::upkeep::{Page, Purged, Stats, Upkeep};

/// Ends every call to a store after a limit, as in doubt: it may have been carried out or not.
///
/// [`Idempotency`](crate::Idempotency) limits its own calls. This is for those who call a store
/// themselves, and for putting under [`Retry`](super::Retry).
#[derive(Clone, Debug)]
pub struct Limit<S> {
    store: S,
    limit: Duration,
}

impl<S: IdempotencyStore> Limit<S> {
    /// Ends every call after `limit`.
    ///
    /// # Errors
    /// [`InvalidDuration`] for zero and what overflows.
    pub fn new(store: S, limit: Duration) -> Result<Self, InvalidDuration> {
        Ok(Self { store, limit: checked("limit", limit)? })
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: IdempotencyStore> IdempotencyStore for Limit<S> {
    async fn get(&self, key: &Key) -> Result<Option<Snapshot>, StoreError> {
        ask("get", self.limit, || self.store.get(key)).await
    }

    async fn acquire_lock(&self, key: &Key, claim: &Claim) -> Result<Acquired, StoreError> {
        ask("acquire_lock", self.limit, || self.store.acquire_lock(key, claim)).await
    }

    async fn extend_lock(&self, key: &Key, lock: &Lock, lease: Duration) -> Result<Held, StoreError> {
        ask("extend_lock", self.limit, || self.store.extend_lock(key, lock, lease)).await
    }

    async fn store_result(
        &self,
        key: &Key,
        lock: &Lock,
        result: &Completion,
        retention: Duration,
    ) -> Result<Held, StoreError> {
        ask("store_result", self.limit, || self.store.store_result(key, lock, result, retention)).await
    }

    async fn release_lock(&self, key: &Key, lock: &Lock, effect: Effect) -> Result<Held, StoreError> {
        ask("release_lock", self.limit, || self.store.release_lock(key, lock, effect)).await
    }

    fn watch(&self, key: &Key) -> Watch {
        self.store.watch(key)
    }

    async fn guarantees(&self) -> Result<Guarantees, StoreError> {
        ask("guarantees", self.limit, || self.store.guarantees()).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: Upkeep> Upkeep for Limit<S> {
    async fn purge(&self, limit: usize) -> Result<Purged, StoreError> {
        ask("purge", self.limit, || self.store.purge(limit)).await
    }

    async fn stats(&self) -> Result<Stats, StoreError> {
        ask("stats", self.limit, || self.store.stats()).await
    }

    async fn list(&self, after: Option<&Key>, limit: usize) -> Result<Page, StoreError> {
        ask("list", self.limit, || self.store.list(after, limit)).await
    }
}
