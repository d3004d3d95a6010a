//! The moves behind a mutex, and nothing else.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use idempotency_core::moves::{self, Move};
use idempotency_core::{
    Acquired, Claim, Clock, Completion, Effect, Fence, Guarantees, Held, IdempotencyStore, Key, Lock, Notifier, Page,
    Purged, Record, Snapshot, Stats, StoreError, SystemClock, Timestamp, Upkeep, Watch,
};

/// A store that is the [`moves`] behind a mutex, and nothing else: the simulated store of
/// schedules, and a fake for a service's own tests.
///
/// It is fit for a few thousand keys: listing and purging look at all of them.
#[derive(Debug)]
pub struct ReferenceStore<C = SystemClock> {
    kept: Mutex<Kept>,
    notifier: Notifier,
    clock: C,
}

#[derive(Debug, Default)]
struct Kept {
    records: BTreeMap<String, Record>,
    fences: u64,
}

impl<C: Clock> ReferenceStore<C> {
    /// An empty store on a clock of choice.
    pub fn new(clock: C) -> Self {
        Self { kept: Mutex::default(), notifier: Notifier::new(), clock }
    }

    /// The store's clock.
    pub const fn clock(&self) -> &C {
        &self.clock
    }

    /// What is kept under a key, expired or not.
    #[must_use]
    pub fn record(&self, key: &Key) -> Option<Record> {
        self.kept().records.get(key.as_str()).cloned()
    }

    /// Changes what is kept under a key, as no store should; `None` forgets it.
    pub fn tamper(&self, key: &Key, record: Option<Record>) {
        let mut kept = self.kept();
        match record {
            Some(record) => kept.records.insert(key.as_str().into(), record),
            None => kept.records.remove(key.as_str()),
        };
    }

    /// Makes a move of one's own, atomically. The last argument of `make` is the store's next fence.
    ///
    /// The right moves are those of [`moves`]; this is how broken stores are made, to see that they
    /// are caught.
    pub fn make<A>(&self, key: &Key, make: impl FnOnce(Option<&Record>, Timestamp, Fence) -> Move<A>) -> A {
        let mut kept = self.kept();
        kept.fences += 1;
        let next_fence = Fence::new(kept.fences);
        let Move { answer, write } = make(kept.records.get(key.as_str()), self.clock.now(), next_fence);
        if let Some(record) = write {
            kept.records.insert(key.as_str().into(), record);
            drop(kept);
            self.notifier.changed(key);
        }
        answer
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl<C: Clock> IdempotencyStore for ReferenceStore<C> {
    async fn get(&self, key: &Key) -> Result<Option<Snapshot>, StoreError> {
        let now = self.clock.now();
        let record = self.record(key);
        Ok(moves::read(record.as_ref(), now).map(|record| Snapshot { record: record.clone(), now }))
    }

    async fn acquire_lock(&self, key: &Key, claim: &Claim) -> Result<Acquired, StoreError> {
        Ok(self.make(key, |record, now, next_fence| moves::acquire(record, claim, now, next_fence)))
    }

    async fn extend_lock(&self, key: &Key, lock: &Lock, lease: Duration) -> Result<Held, StoreError> {
        Ok(self.make(key, |record, now, _| moves::extend(record, *lock, lease, now)))
    }

    async fn store_result(
        &self,
        key: &Key,
        lock: &Lock,
        result: &Completion,
        retention: Duration,
    ) -> Result<Held, StoreError> {
        Ok(self.make(key, |record, now, _| moves::store(record, *lock, result, retention, now)))
    }

    async fn release_lock(&self, key: &Key, lock: &Lock, effect: Effect) -> Result<Held, StoreError> {
        Ok(self.make(key, |record, now, _| moves::release(record, *lock, effect, now)))
    }

    fn watch(&self, key: &Key) -> Watch {
        self.notifier.watch(key)
    }

    async fn guarantees(&self) -> Result<Guarantees, StoreError> {
        Ok(Guarantees::none("reference"))
    }
}

#[async_trait]
impl<C: Clock> Upkeep for ReferenceStore<C> {
    async fn purge(&self, limit: usize) -> Result<Purged, StoreError> {
        let now = self.clock.now();
        let (mut removed, mut more) = (0, false);
        self.kept().records.retain(|_, record| {
            let expired = now >= record.forgotten_at();
            more |= expired && removed == limit;
            let goes = expired && removed < limit;
            removed += usize::from(goes);
            !goes
        });
        Ok(Purged { removed, more })
    }

    async fn stats(&self) -> Result<Stats, StoreError> {
        let now = self.clock.now();
        let mut stats = Stats::default();
        for record in self.kept().records.values() {
            stats.count(&Snapshot { record: record.clone(), now });
        }
        Ok(stats)
    }

    async fn list(&self, after: Option<&Key>, limit: usize) -> Result<Page, StoreError> {
        let now = self.clock.now();
        let kept = self.kept();
        let mut records = Vec::new();
        let live = kept.records.iter().filter(|(text, record)| {
            after.is_none_or(|after| text.as_str() > after.as_str()) && now < record.forgotten_at()
        });
        for (text, record) in live {
            if records.len() == limit {
                let next = records.last().map(|(key, _): &(Key, Snapshot)| key.clone());
                return Ok(Page { records, next });
            }
            // What is kept is kept under the texts of keys.
            if let Ok(key) = Key::parse(text) {
                records.push((key, Snapshot { record: record.clone(), now }));
            }
        }
        Ok(Page { records, next: None })
    }
}
