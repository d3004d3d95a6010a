//! A layer that records each call to a store.

use std::time::Duration;

use async_trait::async_trait;
use idempotency_core::{
    Acquired, Claim, Completion, Effect, Guarantees, Held, IdempotencyStore, Key, Lock, Page, Purged, Snapshot, Stats,
    StoreError, Upkeep, Watch,
};

use super::recording::Recording;
use crate::call::{Answer, Call};

/// A layer that records each call to a store, and what is answered.
///
/// A call whose future is dropped stays without an answer in the history. Made by
/// [`Recording::client`]; see there.
#[derive(Clone, Debug)]
pub struct Recorder<S> {
    store: S,
    client: std::sync::Arc<str>,
    recording: Recording,
}

impl<S> Recorder<S> {
    pub(super) fn new(store: S, client: std::sync::Arc<str>, recording: Recording) -> Self {
        Self { store, client, recording }
    }

    /// The store underneath.
    pub const fn inner(&self) -> &S {
        &self.store
    }
}

impl<S: IdempotencyStore> Recorder<S> {
    async fn call<T, Fut>(
        &self,
        key: &Key,
        call: Call,
        send: impl FnOnce() -> Fut + Send,
        answer: impl FnOnce(&T) -> Answer + Send,
    ) -> Result<T, StoreError>
    where
        T: Send + Sync,
        Fut: Future<Output = Result<T, StoreError>> + Send,
    {
        let id = self.recording.sent(key, &self.client, call);
        let answered = send().await;
        self.recording.answered(id, answered.as_ref().map(answer).map_err(StoreError::kind));
        answered
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: IdempotencyStore> IdempotencyStore for Recorder<S> {
    async fn get(&self, key: &Key) -> Result<Option<Snapshot>, StoreError> {
        let found = |found: &Option<Snapshot>| Answer::Found(found.clone().map(Box::new));
        self.call(key, Call::Get, || self.store.get(key), found).await
    }

    async fn acquire_lock(&self, key: &Key, claim: &Claim) -> Result<Acquired, StoreError> {
        let call = Call::Acquire(Box::new(claim.clone()));
        let answer = |acquired: &Acquired| Answer::Acquired(acquired.clone());
        self.call(key, call, || self.store.acquire_lock(key, claim), answer).await
    }

    async fn extend_lock(&self, key: &Key, lock: &Lock, lease: Duration) -> Result<Held, StoreError> {
        let call = Call::Extend(*lock, lease);
        self.call(key, call, || self.store.extend_lock(key, lock, lease), |held| Answer::Held(*held)).await
    }

    async fn store_result(
        &self,
        key: &Key,
        lock: &Lock,
        result: &Completion,
        retention: Duration,
    ) -> Result<Held, StoreError> {
        let call = Call::Store(*lock, result.clone(), retention);
        let send = || self.store.store_result(key, lock, result, retention);
        self.call(key, call, send, |held| Answer::Held(*held)).await
    }

    async fn release_lock(&self, key: &Key, lock: &Lock, effect: Effect) -> Result<Held, StoreError> {
        let call = Call::Release(*lock, effect);
        self.call(key, call, || self.store.release_lock(key, lock, effect), |held| Answer::Held(*held)).await
    }

    fn watch(&self, key: &Key) -> Watch {
        self.store.watch(key)
    }

    async fn guarantees(&self) -> Result<Guarantees, StoreError> {
        self.store.guarantees().await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: Upkeep> Upkeep for Recorder<S> {
    async fn purge(&self, limit: usize) -> Result<Purged, StoreError> {
        self.store.purge(limit).await
    }

    async fn stats(&self) -> Result<Stats, StoreError> {
        self.store.stats().await
    }

    async fn list(&self, after: Option<&Key>, limit: usize) -> Result<Page, StoreError> {
        self.store.list(after, limit).await
    }
}
