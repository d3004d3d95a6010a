//! The store.

use std::collections::BinaryHeap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use dashmap::{DashMap, Entry};
use idempotency_core::moves::{self, Move};
use idempotency_core::{
    Acquired, Answer, Claim, Clock, ClockSource, Completion, Effect, Fence, FenceSource, Guarantees, Held,
    IdempotencyStore, Key, Lock, Notifier, Page, Purged, Record, Snapshot, State, Stats, StoreError, StoreErrorKind,
    SystemClock, Timestamp, Upkeep, Watch,
};

use crate::expiry::Expiry;

/// How many keys a store holds unless told otherwise.
pub const DEFAULT_CAPACITY: usize = 10_000_000;

/// How many records at the most each new key sweeps out that may be forgotten.
const SWEPT_A_KEY: usize = 4;

/// An idempotency store in this process's memory.
///
/// Cloning is not offered: share one in an [`Arc`], or through a handle. Records whose retention has
/// ended are swept out as new keys come; a lock whose process lives on but never came back (a
/// dropped run) is remembered for its unknown retention, and goes with [`Upkeep::purge`].
pub struct MemoryStore<C = SystemClock> {
    // Boxed, so that a table that grows moves pointers, not records: the longest pause of an insert
    // was seen to fall from 12 ms to 0.1 ms at 500,000 keys.
    records: DashMap<Arc<str>, Box<Kept>>,
    held: AtomicUsize,
    capacity: usize,
    expiry: Expiry,
    fences: AtomicU64,
    notifier: Notifier,
    clock: C,
}

/// A record, and when its key is next in the expiry queue, if it is: one entry a key, but for a key
/// that comes to be forgotten earlier than was thought.
#[derive(Debug)]
struct Kept {
    record: Record,
    queued_for: Option<Timestamp>,
}

/// Shows how many keys there are, and nothing of them.
impl<C: fmt::Debug> fmt::Debug for MemoryStore<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = self.held.load(Ordering::Relaxed);
        f.debug_struct("MemoryStore")
            .field("keys", &held)
            .field("capacity", &self.capacity)
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}

impl MemoryStore {
    /// An empty store on the system's clock, for up to [`DEFAULT_CAPACITY`] keys.
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(SystemClock::new())
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl<C: Clock> MemoryStore<C> {
    /// An empty store on a clock of choice.
    #[must_use]
    pub fn with_clock(clock: C) -> Self {
        Self {
            records: DashMap::with_shard_amount(64),
            held: AtomicUsize::new(0),
            capacity: DEFAULT_CAPACITY,
            expiry: Expiry::new(),
            // From the wall clock's microseconds, so that fences of the process before this one,
            // which whoever carries effects out may remember, are smaller.
            fences: AtomicU64::new(Timestamp::from(SystemTime::now()).as_micros()),
            notifier: Notifier::new(),
            clock,
        }
    }

    /// Sets how many keys the store holds at the most. When it is full of records that may not be
    /// forgotten yet, new keys are refused.
    #[must_use]
    pub fn with_capacity(self, keys: usize) -> Self {
        Self { capacity: keys, ..self }
    }

    /// Makes a move on a key that the store knows, if it does.
    fn on_known<A>(&self, key: &Key, lost: A, make: impl FnOnce(&Record, Timestamp) -> Move<A>) -> A {
        let now = self.clock.now();
        let Some(mut kept) = self.records.get_mut(key.as_str()) else { return lost };
        let Move { answer, write } = make(&kept.record, now);
        let Some(record) = write else { return answer };
        kept.record = record;
        let over = !matches!(kept.record.state, State::InProgress { .. });
        if over {
            self.queue(key.to_shared_str(), &mut kept);
        }
        drop(kept);
        if over {
            self.notifier.changed(key);
        }
        answer
    }

    /// Sees to it that a key is looked at when its record may be forgotten.
    fn queue(&self, key: Arc<str>, kept: &mut Kept) {
        let at = kept.record.forgotten_at();
        if kept.queued_for.is_none_or(|queued_for| at < queued_for) {
            kept.queued_for = Some(at);
            self.expiry.add(at, key);
        }
    }

    fn acquire(&self, key: &Key, claim: &Claim) -> Result<Acquired, StoreError> {
        let now = self.clock.now();
        // A replay needs no more than a shared lock on its shard.
        if let Some(known) = self.records.get(key.as_str())
            && matches!(known.record.state, State::Completed { .. })
        {
            let Move { answer, write } = moves::acquire(Some(&known.record), claim, now, Fence::default());
            if write.is_none() {
                return Ok(answer);
            }
        }
        self.sweep(now);
        let fence = Fence::new(self.fences.fetch_add(1, Ordering::Relaxed));
        match self.records.entry(key.to_shared_str()) {
            Entry::Occupied(mut known) => {
                let Move { answer, write } = moves::acquire(Some(&known.get().record), claim, now, fence);
                if let Some(record) = write {
                    known.get_mut().record = record;
                }
                Ok(answer)
            }
            Entry::Vacant(free) => {
                let Move { answer, write } = moves::acquire(None, claim, now, fence);
                if let Some(record) = write {
                    self.make_room()?;
                    free.insert(Box::new(Kept { record, queued_for: None }));
                }
                Ok(answer)
            }
        }
    }

    fn make_room(&self) -> Result<(), StoreError> {
        if self.held.fetch_add(1, Ordering::Relaxed) < self.capacity {
            return Ok(());
        }
        self.held.fetch_sub(1, Ordering::Relaxed);
        let message = format!(
            "it holds {} keys, its capacity, and no result that may be forgotten yet; \
             `purge` also finds locks that lapsed so long ago",
            self.capacity
        );
        Err(StoreError::new(StoreErrorKind::Full, "acquire_lock").with_message(message))
    }

    /// Forgets a few records whose time has come; as many as it takes where the store is full.
    fn sweep(&self, now: Timestamp) {
        let mut gone = false;
        loop {
            let due = self.expiry.take_due(now, SWEPT_A_KEY);
            if due.is_empty() {
                return;
            }
            for (at, key) in due {
                gone |= self.look_at(at, &key, now);
            }
            if gone || self.held.load(Ordering::Relaxed) < self.capacity {
                return;
            }
        }
    }

    /// Forgets a key that comes up in the queue, or queues it again. Whether it is gone.
    fn look_at(&self, queued_for: Timestamp, key: &Arc<str>, now: Timestamp) -> bool {
        if self.forget(key, now) {
            return true;
        }
        if let Some(mut kept) = self.records.get_mut(key)
            && kept.queued_for == Some(queued_for)
        {
            kept.queued_for = None;
            // One in progress is queued when its attempt ends.
            if !matches!(kept.record.state, State::InProgress { .. }) {
                self.queue(key.clone(), &mut kept);
            }
        }
        false
    }

    fn forget(&self, key: &str, now: Timestamp) -> bool {
        let gone = self.records.remove_if(key, |_, kept| now >= kept.record.forgotten_at()).is_some();
        self.held.fetch_sub(usize::from(gone), Ordering::Relaxed);
        gone
    }

    fn snapshot(&self, record: &Record, now: Timestamp) -> Snapshot {
        Snapshot { record: record.clone(), now }
    }
}

#[async_trait]
impl<C: Clock> IdempotencyStore for MemoryStore<C> {
    async fn get(&self, key: &Key) -> Result<Option<Snapshot>, StoreError> {
        let now = self.clock.now();
        let found = self.records.get(key.as_str());
        Ok(moves::read(found.as_ref().map(|kept| &kept.record), now).map(|record| self.snapshot(record, now)))
    }

    async fn acquire_lock(&self, key: &Key, claim: &Claim) -> Result<Acquired, StoreError> {
        self.acquire(key, claim)
    }

    async fn extend_lock(&self, key: &Key, lock: &Lock, lease: Duration) -> Result<Held, StoreError> {
        Ok(self.on_known(key, Held::Lost, |known, now| moves::extend(Some(known), *lock, lease, now)))
    }

    async fn store_result(
        &self,
        key: &Key,
        lock: &Lock,
        result: &Completion,
        retention: Duration,
    ) -> Result<Held, StoreError> {
        Ok(self.on_known(key, Held::Lost, |known, now| moves::store(Some(known), *lock, result, retention, now)))
    }

    async fn release_lock(&self, key: &Key, lock: &Lock, effect: Effect) -> Result<Held, StoreError> {
        Ok(self.on_known(key, Held::Lost, |known, now| moves::release(Some(known), *lock, effect, now)))
    }

    fn watch(&self, key: &Key) -> Watch {
        self.notifier.watch(key)
    }

    async fn guarantees(&self) -> Result<Guarantees, StoreError> {
        let forgets = || Answer::No("records are in this process's memory: use `sled:`".into());
        let mut found = Guarantees::none("memory");
        found.shared = forgets();
        found.survives_process_crash = forgets();
        found.survives_machine_crash = forgets();
        found.survives_failover = forgets();
        found.clock = ClockSource::Process;
        found.fences = FenceSource::Counter;
        Ok(found)
    }
}

#[async_trait]
impl<C: Clock> Upkeep for MemoryStore<C> {
    async fn purge(&self, limit: usize) -> Result<Purged, StoreError> {
        let now = self.clock.now();
        let expired = self.records.iter().filter(|entry| now >= entry.value().record.forgotten_at());
        let mut keys: Vec<Arc<str>> = expired.map(|entry| entry.key().clone()).take(limit.saturating_add(1)).collect();
        let more = keys.len() > limit;
        keys.truncate(limit);
        Ok(Purged { removed: keys.iter().filter(|key| self.forget(key, now)).count(), more })
    }

    async fn stats(&self) -> Result<Stats, StoreError> {
        let now = self.clock.now();
        let mut stats = Stats::default();
        self.records.iter().for_each(|entry| stats.count(&self.snapshot(&entry.value().record, now)));
        Ok(stats)
    }

    async fn list(&self, after: Option<&Key>, limit: usize) -> Result<Page, StoreError> {
        let now = self.clock.now();
        // The first keys after `after`, in a heap of one more than is asked for.
        let mut first = BinaryHeap::new();
        for entry in &self.records {
            let wanted = after.is_none_or(|after| &**entry.key() > after.as_str());
            if wanted && now < entry.value().record.forgotten_at() {
                first.push(entry.key().clone());
                if first.len() > limit.saturating_add(1) {
                    first.pop();
                }
            }
        }
        let mut keys = first.into_sorted_vec();
        let more = keys.len() > limit;
        keys.truncate(limit);
        let mut records = Vec::new();
        for text in keys {
            // Keys in the map are those of `Key`s.
            let Ok(key) = Key::parse(&*text) else { continue };
            if let Some(kept) = self.records.get(&*text) {
                records.push((key, self.snapshot(&kept.record, now)));
            }
        }
        let next = records.last().filter(|_| more).map(|(key, _)| key.clone());
        Ok(Page { records, next })
    }
}

#[cfg(test)]
mod tests {
    use idempotency_core::{Effect, Error, Idempotency, ManualClock};

    use super::*;

    #[tokio::test]
    async fn a_key_that_is_tried_for_ever_is_queued_a_few_times() {
        let store = Arc::new(MemoryStore::with_clock(ManualClock::default()).with_capacity(10));
        let handle = Idempotency::new(store.clone());
        let key = Key::new("payment:create", "ord_42").build().unwrap();
        for n in 0..1000 {
            let effect = if n % 2 == 0 { Effect::Unknown } else { Effect::None };
            let call = handle.call(&key).effect_of(move |_: &Error| effect);
            let run = call.run(async |_| Err::<u32, _>(Error::Shutdown { key: key.clone() })).await;
            assert!(run.is_err());
            store.clock.advance(Duration::from_secs(1));
        }
        assert!(store.expiry.len() <= 2, "{} entries of one key", store.expiry.len());
    }
}
