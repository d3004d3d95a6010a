//! The moves: each change of a record as one pure function, without I/O.
//!
//! A store makes each move atomic: it reads the record, calls the function, writes what it says if
//! nobody changed the record meanwhile, and only then answers. A store in another language (a script, a
//! statement) says the same in it. Give every function what the store holds, expired or not. Rows marked ◆ in the comments are there
//! because without them a model of the moves found a key that ran twice unannounced, or a stale
//! caller that changed a record.

use std::time::Duration;

use crate::lock::{Claim, Effect, Fence, Lock, OnUnknown};
use crate::record::{Completion, Ended, Phase, Prior, Record, Snapshot, State};
use crate::time::Timestamp;

/// What [`acquire`] answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acquired {
    /// The lock is yours.
    Acquired(Grant),
    /// Another attempt holds the lock.
    InProgress {
        /// The number of that attempt.
        attempt: u32,
        /// The time left on its lease, which it may renew.
        remaining: Duration,
    },
    /// The operation is done; here is its record.
    Completed(Box<Snapshot>),
    /// The key stands for another request.
    Mismatch,
    /// An attempt is unknown, and this claim may not take over from it.
    Unknown {
        /// That attempt.
        prior: Prior,
        /// The strictest policy that any attempt of the key asked for.
        on_unknown: OnUnknown,
    },
    /// This owner's attempt is already over. An old message came late; there is no lock.
    Ended,
}

/// A lock, as [`acquire`] grants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The lock.
    pub lock: Lock,
    /// The attempt's number.
    pub attempt: u32,
    /// The attempt before it that is unknown, if there is one.
    pub prior: Option<Prior>,
}

/// What the holder of a lock is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// The lock was still held, or this very call had been carried out before.
    Held,
    /// The lock is not, or no longer, held. Nothing changed.
    Lost,
}

/// A move's outcome: what to answer, and what to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move<A> {
    /// What the caller is answered, once what it says is durable ◆.
    pub answer: A,
    /// The record to write in the same atomic step; `None` changes nothing.
    pub write: Option<Record>,
}

impl<A> Move<A> {
    const fn only(answer: A) -> Self {
        Self { answer, write: None }
    }

    const fn and_write(answer: A, record: Record) -> Self {
        Self { answer, write: Some(record) }
    }
}

/// What a store holds under a key at `now`: a record past its retention counts as absent.
#[must_use]
pub fn read(record: Option<&Record>, now: Timestamp) -> Option<&Record> {
    record.filter(|record| now < record.forgotten_at())
}

/// The only way to begin.
///
/// `record` is what the store holds, expired or not; `next_fence` is larger than every fence the
/// store has given out, or comes from its clock. The fence granted is also larger than the one that
/// `record` remembers.
#[must_use]
pub fn acquire(record: Option<&Record>, claim: &Claim, now: Timestamp, next_fence: Fence) -> Move<Acquired> {
    let fence = record.map_or(next_fence, |known| next_fence.max(known.lock.fence.next()));
    let Some(known) = read(record, now) else {
        return grant(claim, now, fence, 1, None, claim.on_unknown);
    };
    let phase = known.phase(now);
    if phase != Phase::Free && known.fingerprint != claim.fingerprint {
        return Move::only(Acquired::Mismatch);
    }
    if known.owner() == claim.owner {
        match known.state {
            State::InProgress { .. } => return same_lock_again(known, claim, now),
            // ◆ A late duplicate of an old message must not lock again.
            State::Released { .. } | State::Unknown { .. } => return Move::only(Acquired::Ended),
            State::Completed { .. } => {}
        }
    }
    let attempt = known.attempt.saturating_add(1);
    let strictest = known.on_unknown.max(claim.on_unknown);
    match phase {
        Phase::Free => grant(claim, now, fence, attempt, None, strictest),
        Phase::Completed => Move::only(Acquired::Completed(Box::new(Snapshot { record: known.clone(), now }))),
        Phase::Live(remaining) => Move::only(Acquired::InProgress { attempt: known.attempt, remaining }),
        Phase::Unknown(prior) => {
            // ◆ A claim looser than any before it does not take over.
            let allowed = claim.on_unknown != OnUnknown::Refuse && claim.on_unknown >= known.on_unknown;
            if claim.settles {
                grant(claim, now, fence, attempt, Some(prior), known.on_unknown)
            } else if allowed {
                grant(claim, now, fence, attempt, Some(prior), strictest)
            } else {
                Move::only(Acquired::Unknown { prior, on_unknown: strictest })
            }
        }
    }
}

fn grant(
    claim: &Claim,
    now: Timestamp,
    fence: Fence,
    attempt: u32,
    prior: Option<Prior>,
    on_unknown: OnUnknown,
) -> Move<Acquired> {
    let lock = Lock { owner: claim.owner, fence };
    let record = Record {
        fingerprint: claim.fingerprint,
        lock,
        attempt,
        prior,
        on_unknown,
        acquired_at: now,
        context: claim.context.clone(),
        attributes: claim.attributes.clone(),
        state: State::InProgress {
            lease_until: now.plus(claim.lease),
            confirmed: !claim.confirms,
            retention: claim.retention,
            unknown_retention: claim.unknown_retention,
        },
    };
    Move::and_write(Acquired::Acquired(Grant { lock, attempt, prior }), record)
}

/// The first answer was lost: the same lock, fence, attempt and prior ◆, with the lease counted anew.
fn same_lock_again(known: &Record, claim: &Claim, now: Timestamp) -> Move<Acquired> {
    let grant = Grant { lock: known.lock, attempt: known.attempt, prior: known.prior };
    Move::and_write(Acquired::Acquired(grant), with_lease(known, now.plus(claim.lease), None))
}

fn with_lease(known: &Record, until: Timestamp, confirm: Option<bool>) -> Record {
    let mut record = known.clone();
    if let State::InProgress { lease_until, confirmed, .. } = &mut record.state {
        *lease_until = until;
        *confirmed = confirm.unwrap_or(*confirmed);
    }
    record
}

/// Counts the lease anew from `now`, and confirms the lock.
#[must_use]
pub fn extend(record: Option<&Record>, lock: Lock, lease: Duration, now: Timestamp) -> Move<Held> {
    match read(record, now) {
        Some(known) if known.is_in_progress_under(lock) => {
            Move::and_write(Held::Held, with_lease(known, now.plus(lease), Some(true)))
        }
        _ => Move::only(Held::Lost),
    }
}

/// Makes an attempt's result the key's, and ends its lock.
#[must_use]
pub fn store(
    record: Option<&Record>,
    lock: Lock,
    result: &Completion,
    retention: Duration,
    now: Timestamp,
) -> Move<Held> {
    match read(record, now) {
        Some(known) if known.is_in_progress_under(lock) => {
            let state = State::Completed { at: now, until: now.plus(retention), result: result.clone() };
            Move::and_write(Held::Held, Record { prior: None, state, ..known.clone() })
        }
        // The answer was lost. The retention is not started again.
        Some(known) if known.lock == lock && matches!(known.state, State::Completed { .. }) => Move::only(Held::Held),
        _ => Move::only(Held::Lost),
    }
}

/// Ends an attempt without a result.
#[must_use]
pub fn release(record: Option<&Record>, lock: Lock, effect: Effect, now: Timestamp) -> Move<Held> {
    let Some(known) = read(record, now).filter(|known| known.lock == lock) else {
        return Move::only(Held::Lost);
    };
    match known.state {
        State::InProgress { retention, unknown_retention, .. } => {
            let until = known.remembered_from(now, unknown_retention);
            let unknown = State::Unknown { until };
            let released = State::Released { until: now.plus(retention) };
            let (prior, state) = match (effect, known.prior) {
                (Effect::Unknown, _) => (Some(known.as_prior(now, Ended::Told, until)), unknown),
                // ◆ This attempt can speak only for itself.
                (Effect::None, prior @ Some(_)) => (prior, unknown),
                (Effect::None, None) | (Effect::Settled, _) => (None, released),
            };
            Move::and_write(Held::Held, Record { prior, state, ..known.clone() })
        }
        State::Released { .. } | State::Unknown { .. } if ended_by(known, effect) => Move::only(Held::Held),
        State::Released { .. } | State::Unknown { .. } | State::Completed { .. } => Move::only(Held::Lost),
    }
}

/// Whether a record that is over is so by a release with this effect: the answer to it was lost.
fn ended_by(known: &Record, effect: Effect) -> bool {
    let own_word = known.prior.is_some_and(|prior| prior.attempt == known.attempt);
    match known.state {
        State::Released { .. } => effect != Effect::Unknown,
        State::Unknown { .. } if own_word => effect == Effect::Unknown,
        State::Unknown { .. } => effect == Effect::None,
        State::InProgress { .. } | State::Completed { .. } => false,
    }
}
