//! Histories written by hand, one call after another or side by side.

use std::time::Duration;

use bytes::Bytes;
use idempotency_core::{
    Acquired, Claim, Completion, Effect, Fence, Fingerprint, Grant, Held, Key, Lock, OnUnknown, Owner, Prior, Record,
    Snapshot, State, StoreErrorKind, Timestamp, moves,
};
use idempotency_testkit::history::{CallId, Checked, History, Impossible, Verdict};
use idempotency_testkit::{Answer, Call};

use crate::random::micros;

/// A history of one key by hand, with a clock of its own.
pub(crate) struct Hand {
    pub(crate) history: History,
    now: u64,
    /// What a store that keeps the contract keeps, by what was done so far.
    pub(crate) kept: Option<Record>,
    fences: u64,
}

impl Hand {
    pub(crate) fn new() -> Self {
        Self { history: History::new(), now: 1_000, kept: None, fences: 0 }
    }

    pub(crate) fn key() -> Key {
        Key::new("payment:create", "ord_42").build().unwrap()
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.now)
    }

    pub(crate) fn wait(&mut self, by: u64) -> &mut Self {
        self.now += by;
        self
    }

    /// The store's clock is put back.
    pub(crate) const fn put_back(&mut self, by: u64) {
        self.now -= by;
    }

    pub(crate) fn send(&mut self, client: &str, call: &Call) -> CallId {
        self.now += 1;
        self.history.sent(&Self::key(), client, call.clone(), self.now())
    }

    pub(crate) fn answer(&mut self, call: CallId, answer: Answer) {
        self.history.answered(call, self.now(), Ok(answer));
    }

    pub(crate) fn fail(&mut self, call: CallId, kind: StoreErrorKind) {
        self.history.answered(call, self.now(), Err(kind));
    }

    /// What the contract answers, and makes of what is kept.
    pub(crate) fn carry_out(&mut self, call: &Call) -> Answer {
        self.fences += 1;
        let made = call.by_the_moves(self.kept.as_ref(), self.now(), Fence::new(self.fences));
        self.kept = made.write.or(self.kept.take());
        made.answer
    }

    /// A call that is answered by the contract, at once.
    pub(crate) fn right(&mut self, client: &str, call: &Call) -> Answer {
        let id = self.send(client, call);
        let answer = self.carry_out(call);
        self.answer(id, answer.clone());
        answer
    }

    /// A call that is answered otherwise.
    pub(crate) fn wrong(&mut self, client: &str, call: &Call, answer: Answer) {
        let id = self.send(client, call);
        self.answer(id, answer);
    }

    /// A call that is carried out, or not, and whose answer is lost.
    pub(crate) fn lost(&mut self, client: &str, call: &Call, happens: bool) {
        self.send(client, call);
        if happens {
            self.carry_out(call);
        }
    }

    pub(crate) fn granted(&mut self, client: &str, claim: &Claim) -> Grant {
        self.right(client, &acquire(claim)).granted().unwrap()
    }

    pub(crate) fn check(&self) -> Result<Checked, Verdict> {
        self.history.check()
    }

    pub(crate) fn impossible(&self) -> Impossible {
        match self.check() {
            Err(Verdict::Impossible(impossible)) => *impossible,
            other => panic!("{other:?}"),
        }
    }

    /// The attempt that is unknown now.
    pub(crate) fn unknown(&self) -> Option<Prior> {
        self.kept.as_ref()?.unknown_at(self.now())
    }

    /// The record as it is read now.
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot { record: moves::read(self.kept.as_ref(), self.now()).unwrap().clone(), now: self.now() }
    }
}

pub(crate) fn claim(owner: u128) -> Claim {
    Claim {
        owner: Owner::from_u128(owner),
        lease: micros(100),
        retention: micros(1_000),
        unknown_retention: micros(2_000),
        ..Claim::new(Fingerprint::NONE)
    }
}

pub(crate) fn strict(owner: u128) -> Claim {
    Claim { on_unknown: OnUnknown::Refuse, ..claim(owner) }
}

pub(crate) fn acquire(claim: &Claim) -> Call {
    Call::Acquire(Box::new(claim.clone()))
}

pub(crate) fn store(lock: Lock, value: &'static str) -> Call {
    Call::Store(lock, Completion::Value(Bytes::from(value)), micros(1_000))
}

pub(crate) fn extend(lock: Lock) -> Call {
    Call::Extend(lock, micros(100))
}

pub(crate) const fn release(lock: Lock, effect: Effect) -> Call {
    Call::Release(lock, effect)
}

pub(crate) fn lock(owner: u128, fence: u64) -> Lock {
    Lock { owner: Owner::from_u128(owner), fence: Fence::new(fence) }
}

pub(crate) fn grant(owner: u128, fence: u64, attempt: u32, prior: Option<Prior>) -> Answer {
    Answer::Acquired(Acquired::Acquired(Grant { lock: lock(owner, fence), attempt, prior }))
}

pub(crate) const fn acquired(acquired: Acquired) -> Answer {
    Answer::Acquired(acquired)
}

pub(crate) fn found(snapshot: Snapshot) -> Answer {
    Answer::Found(Some(Box::new(snapshot)))
}

pub(crate) const HELD: Answer = Answer::Held(Held::Held);
pub(crate) const LOST: Answer = Answer::Held(Held::Lost);

pub(crate) fn with_value(mut snapshot: Snapshot, value: &'static str) -> Snapshot {
    if let State::Completed { result, .. } = &mut snapshot.record.state {
        *result = Completion::Value(Bytes::from(value));
    }
    snapshot
}

pub(crate) const fn remaining(attempt: u32, remaining: Duration) -> Answer {
    Answer::Acquired(Acquired::InProgress { attempt, remaining })
}
