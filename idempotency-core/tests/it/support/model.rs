//! A store that is the moves behind a mutex, and nothing else.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use idempotency_core::moves::{self, Move};
use idempotency_core::{
    Acquired, Claim, Clock, Completion, Effect, Fence, Guarantees, Held, IdempotencyStore, Key, Lock, Notifier, Page,
    Purged, Record, Snapshot, Stats, StoreError, Timestamp, Upkeep, Watch,
};
use tokio::time::Instant;

/// Tokio's time, which tests pause.
#[derive(Debug)]
pub(crate) struct TokioClock(Instant);

impl TokioClock {
    pub(crate) const START: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

    pub(crate) fn new() -> Self {
        Self(Instant::now())
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        Self::START.plus(self.0.elapsed())
    }
}

#[derive(Debug)]
pub(crate) struct Model {
    records: Mutex<HashMap<String, Record>>,
    fences: AtomicU64,
    notifier: Notifier,
    clock: TokioClock,
}

impl Model {
    pub(crate) fn new() -> Self {
        let records = Mutex::default();
        Self { records, fences: AtomicU64::new(1), notifier: Notifier::new(), clock: TokioClock::new() }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// What is kept under a key, expired or not.
    pub(crate) fn record(&self, key: &Key) -> Option<Record> {
        self.records.lock().unwrap().get(key.as_str()).cloned()
    }

    /// Changes what is kept, as no store should.
    pub(crate) fn tamper(&self, key: &Key, change: impl FnOnce(&mut Record)) {
        change(self.records.lock().unwrap().get_mut(key.as_str()).unwrap());
    }

    fn make<A>(&self, key: &Key, make: impl FnOnce(Option<&Record>, Timestamp) -> Move<A>) -> A {
        let mut records = self.records.lock().unwrap();
        let Move { answer, write } = make(records.get(key.as_str()), self.clock.now());
        if let Some(record) = write {
            records.insert(key.as_str().into(), record);
            drop(records);
            self.notifier.changed(key);
        }
        answer
    }
}

#[async_trait]
impl IdempotencyStore for Model {
    async fn get(&self, key: &Key) -> Result<Option<Snapshot>, StoreError> {
        let now = self.clock.now();
        let record = self.record(key);
        Ok(moves::read(record.as_ref(), now).map(|record| Snapshot { record: record.clone(), now }))
    }

    async fn acquire_lock(&self, key: &Key, claim: &Claim) -> Result<Acquired, StoreError> {
        let fence = Fence::new(self.fences.fetch_add(1, Ordering::Relaxed));
        Ok(self.make(key, |record, now| moves::acquire(record, claim, now, fence)))
    }

    async fn extend_lock(&self, key: &Key, lock: &Lock, lease: Duration) -> Result<Held, StoreError> {
        Ok(self.make(key, |record, now| moves::extend(record, *lock, lease, now)))
    }

    async fn store_result(
        &self,
        key: &Key,
        lock: &Lock,
        result: &Completion,
        retention: Duration,
    ) -> Result<Held, StoreError> {
        Ok(self.make(key, |record, now| moves::store(record, *lock, result, retention, now)))
    }

    async fn release_lock(&self, key: &Key, lock: &Lock, effect: Effect) -> Result<Held, StoreError> {
        Ok(self.make(key, |record, now| moves::release(record, *lock, effect, now)))
    }

    fn watch(&self, key: &Key) -> Watch {
        self.notifier.watch(key)
    }

    async fn guarantees(&self) -> Result<Guarantees, StoreError> {
        Ok(Guarantees::none("model"))
    }
}

#[async_trait]
impl Upkeep for Model {
    async fn purge(&self, limit: usize) -> Result<Purged, StoreError> {
        let now = self.clock.now();
        let mut removed = 0;
        self.records.lock().unwrap().retain(|_, record| {
            let stays = removed == limit || now < record.forgotten_at();
            removed += usize::from(!stays);
            stays
        });
        Ok(Purged { removed, more: removed == limit })
    }

    async fn stats(&self) -> Result<Stats, StoreError> {
        let now = self.clock.now();
        let mut stats = Stats::default();
        for record in self.records.lock().unwrap().values() {
            stats.count(&Snapshot { record: record.clone(), now });
        }
        Ok(stats)
    }

    async fn list(&self, _: Option<&Key>, limit: usize) -> Result<Page, StoreError> {
        let now = self.clock.now();
        let records = self.records.lock().unwrap();
        let all =
            records.iter().map(|(key, record)| (Key::parse(key).unwrap(), Snapshot { record: record.clone(), now }));
        Ok(Page { records: all.take(limit).collect(), next: None })
    }
}
