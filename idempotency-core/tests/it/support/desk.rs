//! One key's record under the moves alone.

use std::time::Duration;

use idempotency_core::moves::{self, Move};
use idempotency_core::{
    Acquired, Claim, Completion, Effect, Fence, Fingerprint, Grant, Held, Lock, OnUnknown, Owner, Record, Timestamp,
};

pub(crate) const LEASE: Duration = Duration::from_secs(10);
pub(crate) const RETENTION: Duration = Duration::from_secs(100);
pub(crate) const UNKNOWN_RETENTION: Duration = Duration::from_secs(1000);

/// One key's record, its clock and its store's fences.
#[derive(Clone, Debug)]
pub(crate) struct Desk {
    pub(crate) record: Option<Record>,
    pub(crate) now: Timestamp,
    /// The store's next fence. Held still, only what the record remembers makes fences grow.
    pub(crate) next_fence: u64,
}

/// A claim by this owner, for the first request, *run again*.
pub(crate) fn claim(owner: u128) -> Claim {
    Claim {
        owner: Owner::from_u128(owner),
        lease: LEASE,
        retention: RETENTION,
        unknown_retention: UNKNOWN_RETENTION,
        ..Claim::new(Fingerprint::of_bytes(b"one"))
    }
}

pub(crate) fn other_claim(owner: u128) -> Claim {
    Claim { fingerprint: Fingerprint::of_bytes(b"other"), ..claim(owner) }
}

pub(crate) fn with_policy(owner: u128, on_unknown: OnUnknown) -> Claim {
    Claim { on_unknown, ..claim(owner) }
}

pub(crate) fn result(text: &'static str) -> Completion {
    Completion::Value(text.as_bytes().into())
}

impl Desk {
    pub(crate) fn new() -> Self {
        Self { record: None, now: Timestamp::from_micros(1_000_000), next_fence: 1 }
    }

    fn apply<A>(&mut self, made: Move<A>) -> A {
        if let Some(record) = made.write {
            self.record = Some(record);
        }
        made.answer
    }

    pub(crate) fn acquire(&mut self, claim: &Claim) -> Acquired {
        let made = moves::acquire(self.record.as_ref(), claim, self.now, Fence::new(self.next_fence));
        self.apply(made)
    }

    /// Acquires, and says where it does not.
    #[track_caller]
    pub(crate) fn granted(&mut self, claim: &Claim) -> Grant {
        match self.acquire(claim) {
            Acquired::Acquired(grant) => grant,
            other => panic!("no lock: {other:?}"),
        }
    }

    pub(crate) fn extend(&mut self, lock: Lock) -> Held {
        let made = moves::extend(self.record.as_ref(), lock, LEASE, self.now);
        self.apply(made)
    }

    pub(crate) fn store(&mut self, lock: Lock, result: &Completion) -> Held {
        let made = moves::store(self.record.as_ref(), lock, result, RETENTION, self.now);
        self.apply(made)
    }

    pub(crate) fn release(&mut self, lock: Lock, effect: Effect) -> Held {
        let made = moves::release(self.record.as_ref(), lock, effect, self.now);
        self.apply(made)
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now = self.now.plus(time);
    }

    pub(crate) fn lapse(&mut self) {
        self.pass(LEASE);
    }

    /// What is kept, as far as it is not forgotten.
    pub(crate) fn read(&self) -> Option<&Record> {
        moves::read(self.record.as_ref(), self.now)
    }
}
