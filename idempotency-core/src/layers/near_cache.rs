//! Replays from this process's memory.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use moka::sync::Cache;
use tokio::time::Instant;

use crate::error::StoreError;
use crate::guarantees::Guarantees;
use crate::key::Key;
use crate::lock::{Claim, Effect, Lock};
use crate::moves::{Acquired, Held};
use crate::record::{Completion, Snapshot, State};
use crate::store::{IdempotencyStore, Watch};
use crate::time::{InvalidDuration, checked};
use crate::upkeep::{Page, Purged, Stats, Upkeep};

/// Keeps completed records in this process, so that a replay asks nobody.
///
/// A result is served no longer than its remaining retention, counted from before the store was
/// asked for it, and never under another fingerprint. Only completed records are kept, so losing one
/// loses nothing: the cache may evict. `longest` is how long a deletion in the store takes to be
/// seen everywhere.
#[derive(Clone, Debug)]
pub struct NearCache<S> {
    store: S,
    kept: Cache<Arc<str>, Arc<Kept>>,
    longest: Duration,
}

#[derive(Debug)]
struct Kept {
    snapshot: Snapshot,
    asked_at: Instant,
    until: Instant,
}

impl Kept {
    /// The record as of now: the store's time has gone on since it was asked.
    fn snapshot_at(&self, now: Instant) -> Snapshot {
        let passed = now.saturating_duration_since(self.asked_at);
        Snapshot { record: self.snapshot.record.clone(), now: self.snapshot.now.plus(passed) }
    }
}

impl<S: IdempotencyStore> NearCache<S> {
    /// Keeps at most `bytes` of keys and results together, each for at most `longest`.
    ///
    /// # Errors
    /// [`InvalidDuration`] for zero and what overflows.
    pub fn new(store: S, bytes: u64, longest: Duration) -> Result<Self, InvalidDuration> {
        let longest = checked("longest time in the near cache", longest)?;
        let kept = Cache::builder()
            .max_capacity(bytes)
            .weigher(|key: &Arc<str>, kept: &Arc<Kept>| {
                let size = key.len() + kept.snapshot.record.value().len() + size_of::<Kept>();
                u32::try_from(size).unwrap_or(u32::MAX)
            })
            .time_to_live(longest)
            .build();
        Ok(Self { store, kept, longest })
    }

    fn find(&self, key: &Key) -> Option<Snapshot> {
        let now = Instant::now();
        let kept = self.kept.get(key.as_str())?;
        (now < kept.until).then(|| kept.snapshot_at(now))
    }

    fn keep(&self, key: &Key, snapshot: &Snapshot, asked_at: Instant) {
        if let State::Completed { until, .. } = snapshot.record.state {
            let remaining = snapshot.now.until(until);
            let kept = Kept { snapshot: snapshot.clone(), asked_at, until: asked_at + remaining.min(self.longest) };
            self.kept.insert(Arc::from(key.as_str()), Arc::new(kept));
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: IdempotencyStore> IdempotencyStore for NearCache<S> {
    async fn get(&self, key: &Key) -> Result<Option<Snapshot>, StoreError> {
        if let Some(snapshot) = self.find(key) {
            return Ok(Some(snapshot));
        }
        let asked_at = Instant::now();
        let found = self.store.get(key).await?;
        found.iter().for_each(|snapshot| self.keep(key, snapshot, asked_at));
        Ok(found)
    }

    async fn acquire_lock(&self, key: &Key, claim: &Claim) -> Result<Acquired, StoreError> {
        match self.find(key) {
            Some(snapshot) if snapshot.record.fingerprint == claim.fingerprint => {
                return Ok(Acquired::Completed(Box::new(snapshot)));
            }
            Some(_) => return Ok(Acquired::Mismatch),
            None => {}
        }
        let asked_at = Instant::now();
        let answer = self.store.acquire_lock(key, claim).await?;
        if let Acquired::Completed(snapshot) = &answer {
            self.keep(key, snapshot, asked_at);
        }
        Ok(answer)
    }

    async fn extend_lock(&self, key: &Key, lock: &Lock, lease: Duration) -> Result<Held, StoreError> {
        self.store.extend_lock(key, lock, lease).await
    }

    async fn store_result(
        &self,
        key: &Key,
        lock: &Lock,
        result: &Completion,
        retention: Duration,
    ) -> Result<Held, StoreError> {
        self.store.store_result(key, lock, result, retention).await
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

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: Upkeep> Upkeep for NearCache<S> {
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
