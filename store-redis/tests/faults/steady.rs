//! The store with the ends of results as they were asked for.

use std::time::Duration;

use async_trait::async_trait;
use idempotency_core::{
    Acquired, Claim, Completion, Effect, Guarantees, Held, IdempotencyStore, Key, Lock, Snapshot, State, StoreError,
    Watch,
};
use idempotency_store_redis::RedisStore;

/// By how much the end of a result's retention may be told too early.
const EXACT: Duration = Duration::from_millis(250);
/// By how much it may be told later: the longest that a message is on its way here.
const LATE: Duration = Duration::from_secs(10);

/// Tells when a result's retention ends by when it was stored. The store itself tells it by the key's
/// expiry, which the server counts from when the message arrived, or by what was written down when it
/// was sent, whichever it has at hand; the checker of histories knows one such time only.
#[derive(Clone, Debug)]
pub(crate) struct Steady {
    pub(crate) store: RedisStore,
    pub(crate) retention: Duration,
}

impl Steady {
    fn steadied(&self, mut snapshot: Snapshot) -> Snapshot {
        if let State::Completed { at, until, .. } = &mut snapshot.record.state {
            let asked_for = at.plus(self.retention);
            let (early, late) = (until.until(asked_for), asked_for.until(*until));
            assert!(early <= EXACT && late <= LATE, "a result is kept until {until:?}, which is to be {asked_for:?}");
            *until = asked_for;
        }
        snapshot
    }
}

#[async_trait]
impl IdempotencyStore for Steady {
    async fn get(&self, key: &Key) -> Result<Option<Snapshot>, StoreError> {
        Ok(self.store.get(key).await?.map(|snapshot| self.steadied(snapshot)))
    }

    async fn acquire_lock(&self, key: &Key, claim: &Claim) -> Result<Acquired, StoreError> {
        Ok(match self.store.acquire_lock(key, claim).await? {
            Acquired::Completed(snapshot) => Acquired::Completed(Box::new(self.steadied(*snapshot))),
            answer => answer,
        })
    }

    async fn extend_lock(&self, key: &Key, lock: &Lock, lease: Duration) -> Result<Held, StoreError> {
        self.store.extend_lock(key, lock, lease).await
    }

    async fn store_result(
        &self,
        key: &Key,
        lock: &Lock,
        result: &Completion,
        kept: Duration,
    ) -> Result<Held, StoreError> {
        self.store.store_result(key, lock, result, kept).await
    }

    async fn release_lock(&self, key: &Key, lock: &Lock, effect: Effect) -> Result<Held, StoreError> {
        self.store.release_lock(key, lock, effect).await
    }

    fn watch(&self, key: &Key) -> Watch {
        self.store.watch(key)
    }

    async fn guarantees(&self) -> Result<Guarantees, StoreError> {
        self.store.guarantees().await
    }
}
