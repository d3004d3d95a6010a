//! A store and the pure moves, given the same commands.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use idempotency_core::moves::{self, Move};
use idempotency_core::{
    Acquired, Claim, Completion, Effect, Fence, Held, IdempotencyStore, Key, Lock, Record, Snapshot,
};

use super::{Subject, same};

/// A store beside what it should hold.
#[derive(Debug)]
pub(crate) struct Pair<'a> {
    pub(crate) subject: &'a Subject,
    records: HashMap<String, Record>,
    highest: HashMap<String, Fence>,
    /// Which kinds of answers were seen.
    pub(crate) seen: BTreeSet<&'static str>,
}

impl<'a> Pair<'a> {
    pub(crate) fn new(subject: &'a Subject) -> Self {
        Self { subject, records: HashMap::new(), highest: HashMap::new(), seen: BTreeSet::new() }
    }

    /// What should be kept under a key.
    pub(crate) fn record(&self, key: &Key) -> Option<&Record> {
        self.records.get(key.as_str())
    }

    pub(crate) fn pass(&self, time: Duration) {
        self.subject.clock.advance(time);
    }

    pub(crate) async fn acquire(&mut self, key: &Key, claim: &Claim) -> Acquired {
        let answer = self.subject.store.acquire_lock(key, claim).await.unwrap();
        // The store's own fence, so that all else can be compared; it must have grown.
        let fence = match &answer {
            Acquired::Acquired(grant) => grant.lock.fence,
            _ => Fence::default(),
        };
        let known = self.record(key);
        let Move { answer: expected, write } = moves::acquire(known, claim, self.subject.now(), fence);
        same(&answer, &expected, &(key, claim, known));
        if let (Acquired::Acquired(grant), true) = (&answer, known.is_none_or(|known| known.lock.fence != fence)) {
            let highest = self.highest.insert(key.as_str().into(), grant.lock.fence);
            assert!(highest < Some(fence), "{key}: fence {fence} after {highest:?}");
        }
        self.seen.insert(kind(&answer));
        self.keep(key, write, &claim).await;
        answer
    }

    pub(crate) async fn extend(&mut self, key: &Key, lock: Lock, lease: Duration) -> Held {
        let held = self.subject.store.extend_lock(key, &lock, lease).await.unwrap();
        let expected = moves::extend(self.record(key), lock, lease, self.subject.now());
        self.held(key, held, expected, &("extend", lock)).await
    }

    pub(crate) async fn store(&mut self, key: &Key, lock: Lock, result: &Completion, retention: Duration) -> Held {
        let held = self.subject.store.store_result(key, &lock, result, retention).await.unwrap();
        let expected = moves::store(self.record(key), lock, result, retention, self.subject.now());
        self.held(key, held, expected, &("store", lock)).await
    }

    pub(crate) async fn release(&mut self, key: &Key, lock: Lock, effect: Effect) -> Held {
        let held = self.subject.store.release_lock(key, &lock, effect).await.unwrap();
        let expected = moves::release(self.record(key), lock, effect, self.subject.now());
        self.held(key, held, expected, &("release", lock, effect)).await
    }

    async fn held(&mut self, key: &Key, held: Held, expected: Move<Held>, what: &(dyn std::fmt::Debug + Sync)) -> Held {
        same(&held, &expected.answer, &(key, what));
        self.seen.insert(if held == Held::Held { "held" } else { "lost" });
        self.keep(key, expected.write, what).await;
        held
    }

    async fn keep(&mut self, key: &Key, write: Option<Record>, what: &(dyn std::fmt::Debug + Sync)) {
        if let Some(record) = write {
            self.records.insert(key.as_str().into(), record);
        }
        self.look(key, what).await;
    }

    /// The whole record is as it should be.
    pub(crate) async fn look(&self, key: &Key, what: &(dyn std::fmt::Debug + Sync)) {
        let now = self.subject.now();
        let expected = moves::read(self.record(key), now).map(|record| Snapshot { record: record.clone(), now });
        same(&self.subject.store.get(key).await.unwrap(), &expected, &(key, what));
    }

    /// What is past its retention may be gone from now on.
    pub(crate) fn forget_the_expired(&mut self) {
        let now = self.subject.now();
        self.records.retain(|_, record| now < record.forgotten_at());
    }
}

fn kind(answer: &Acquired) -> &'static str {
    match answer {
        Acquired::Acquired(grant) => match (grant.attempt, grant.prior) {
            (1, None) => "acquired",
            (1, Some(_)) => "a first attempt with a prior one",
            (_, None) => "acquired again",
            (_, Some(_)) => "taken over",
        },
        Acquired::InProgress { .. } => "in progress",
        Acquired::Completed(_) => "completed",
        Acquired::Mismatch => "mismatch",
        Acquired::Unknown { .. } => "unknown",
        Acquired::Ended => "ended",
    }
}
