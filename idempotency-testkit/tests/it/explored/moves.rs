//! Moves with one rule left out: the core's own, with what they are shown or what they write changed.

use std::time::Duration;

use idempotency_core::moves::{self, Move};
use idempotency_core::{
    Acquired, Claim, Completion, Effect, Fence, Held, Lock, OnUnknown, Owner, Record, State, Timestamp,
};
use idempotency_testkit::Rule;
use idempotency_testkit::model::Moves;

/// The rule that is left out, the moves without it, the promise that breaks, and in how many steps.
pub(crate) fn table() -> Vec<(&'static str, Moves, Rule, usize)> {
    let right = Moves::default();
    vec![
        ("a lock is owner and fence: extend", Moves { extend: extend_by_owner, ..right }, Rule::Fenced, 2),
        ("a lock is owner and fence: store", Moves { store: store_by_owner, ..right }, Rule::Fenced, 2),
        ("a lock is owner and fence: release", Moves { release: release_by_owner, ..right }, Rule::Fenced, 2),
        ("a fence is larger than the remembered one", Moves { acquire: fence_as_given, ..right }, Rule::FencesGrow, 3),
        (
            "the record keeps the prior attempt",
            Moves { acquire: prior_is_told_once, ..right },
            Rule::UnknownIsNeverSilent,
            4,
        ),
        (
            "an ended owner does not lock again",
            Moves { acquire: an_old_claim_locks_again, ..right },
            Rule::EndedStaysEnded,
            3,
        ),
        (
            "the strictest policy stays",
            Moves { acquire: the_last_policy_counts, ..right },
            Rule::StrictestPolicyStays,
            3,
        ),
        ("an attempt speaks for itself", Moves { release: speaks_for_all, ..right }, Rule::UnknownIsNeverSilent, 5),
        ("settling needs the lock", Moves { release: settles_without_a_lock, ..right }, Rule::Fenced, 2),
        ("an attempt's memory is not shortened", Moves { acquire: forgets_how_long, ..right }, Rule::TimesAreKept, 3),
        ("a lapsed lock is unknown", Moves { acquire: lapsed_is_free, ..right }, Rule::UnknownIsNeverSilent, 4),
        ("a live lock is held", Moves { acquire: takes_over_the_living, ..right }, Rule::OneLiveHolder, 2),
        ("a result is never locked", Moves { acquire: locks_a_result, ..right }, Rule::NoLockOverAResult, 3),
        ("requests are compared", Moves { acquire: compares_no_requests, ..right }, Rule::NoCrossTalk, 2),
        ("a result is not stored over", Moves { store: stores_over_a_result, ..right }, Rule::ResultsDoNotChange, 3),
        (
            "a retention is not started again",
            Moves { store: starts_the_retention_again, ..right },
            Rule::ResultsDoNotChange,
            4,
        ),
        (
            "a repeated release is held",
            Moves { release: a_repeated_release_is_lost, ..right },
            Rule::LostAnswersAreRecognised,
            3,
        ),
        ("an extension confirms", Moves { extend: leaves_unconfirmed, ..right }, Rule::NoCrossTalk, 5),
        (
            "settling does not loosen the policy",
            Moves { acquire: settling_loosens, ..right },
            Rule::StrictestPolicyStays,
            5,
        ),
    ]
}

type Kept<'a> = Option<&'a Record>;

fn with<'a>(record: Kept<'a>, change: impl FnOnce(&mut Record)) -> Option<Record> {
    let mut record = record.cloned()?;
    change(&mut record);
    Some(record)
}

/// The record's own lock, where the owner shown is its owner.
fn by_owner(record: Kept<'_>, lock: Lock) -> Lock {
    record.filter(|record| record.lock.owner == lock.owner).map_or(lock, |record| record.lock)
}

fn extend_by_owner(record: Kept<'_>, lock: Lock, lease: Duration, now: Timestamp) -> Move<Held> {
    moves::extend(record, by_owner(record, lock), lease, now)
}

fn store_by_owner(
    record: Kept<'_>,
    lock: Lock,
    result: &Completion,
    retention: Duration,
    now: Timestamp,
) -> Move<Held> {
    moves::store(record, by_owner(record, lock), result, retention, now)
}

fn release_by_owner(record: Kept<'_>, lock: Lock, effect: Effect, now: Timestamp) -> Move<Held> {
    moves::release(record, by_owner(record, lock), effect, now)
}

fn fence_as_given(record: Kept<'_>, claim: &Claim, now: Timestamp, next_fence: Fence) -> Move<Acquired> {
    let before = record.map_or(Fence::default(), |record| record.lock.fence);
    let mut made = moves::acquire(record, claim, now, next_fence);
    if let (Acquired::Acquired(grant), Some(write)) = (&mut made.answer, &mut made.write)
        && grant.lock.fence > before
    {
        (grant.lock.fence, write.lock.fence) = (next_fence, next_fence);
    }
    made
}

fn prior_is_told_once(record: Kept<'_>, claim: &Claim, now: Timestamp, next_fence: Fence) -> Move<Acquired> {
    let mut made = moves::acquire(record, claim, now, next_fence);
    if let Some(write) = &mut made.write {
        write.prior = None;
    }
    made
}

fn an_old_claim_locks_again(record: Kept<'_>, claim: &Claim, now: Timestamp, next_fence: Fence) -> Move<Acquired> {
    let changed = with(record, |record| {
        if matches!(record.state, State::Released { .. } | State::Unknown { .. }) {
            record.lock.owner = Owner::from_u128(99);
        }
    });
    moves::acquire(changed.as_ref(), claim, now, next_fence)
}

fn the_last_policy_counts(record: Kept<'_>, claim: &Claim, now: Timestamp, next_fence: Fence) -> Move<Acquired> {
    moves::acquire(with(record, |record| record.on_unknown = OnUnknown::RunAgain).as_ref(), claim, now, next_fence)
}

fn speaks_for_all(record: Kept<'_>, lock: Lock, effect: Effect, now: Timestamp) -> Move<Held> {
    let in_progress = record.is_some_and(|record| matches!(record.state, State::InProgress { .. }));
    let said = if in_progress && effect == Effect::None { Effect::Settled } else { effect };
    moves::release(record, lock, said, now)
}

fn settles_without_a_lock(record: Kept<'_>, lock: Lock, effect: Effect, now: Timestamp) -> Move<Held> {
    let shown = record.filter(|_| effect == Effect::Settled).map_or(lock, |record| record.lock);
    moves::release(record, shown, effect, now)
}

fn forgets_how_long(record: Kept<'_>, claim: &Claim, now: Timestamp, next_fence: Fence) -> Move<Acquired> {
    let mut made = moves::acquire(record, claim, now, next_fence);
    if let (Acquired::Acquired(grant), Some(write)) = (&mut made.answer, &mut made.write) {
        for prior in [&mut grant.prior, &mut write.prior].into_iter().flatten() {
            prior.remembered_until = now;
        }
    }
    made
}

fn lapsed_is_free(record: Kept<'_>, claim: &Claim, now: Timestamp, next_fence: Fence) -> Move<Acquired> {
    let changed = with(record, |record| {
        if matches!(record.state, State::InProgress { lease_until, .. } if lease_until <= now) {
            record.state = State::Released { until: record.forgotten_at() };
        }
    });
    moves::acquire(changed.as_ref().filter(|known| known.lock.owner != claim.owner).or(record), claim, now, next_fence)
}

fn takes_over_the_living(record: Kept<'_>, claim: &Claim, now: Timestamp, next_fence: Fence) -> Move<Acquired> {
    let changed = with(record, |record| {
        if let State::InProgress { lease_until, .. } = &mut record.state {
            *lease_until = now;
        }
    });
    moves::acquire(changed.as_ref(), claim, now, next_fence)
}

fn locks_a_result(record: Kept<'_>, claim: &Claim, now: Timestamp, next_fence: Fence) -> Move<Acquired> {
    let changed = with(record, |record| {
        if let State::Completed { until, .. } = record.state
            && record.lock.owner != claim.owner
        {
            record.state = State::Released { until };
        }
    });
    moves::acquire(changed.as_ref(), claim, now, next_fence)
}

fn compares_no_requests(record: Kept<'_>, claim: &Claim, now: Timestamp, next_fence: Fence) -> Move<Acquired> {
    moves::acquire(with(record, |record| record.fingerprint = claim.fingerprint).as_ref(), claim, now, next_fence)
}

fn is_stored_by(record: Kept<'_>, lock: Lock, now: Timestamp) -> bool {
    let live = moves::read(record, now);
    live.is_some_and(|record| record.lock == lock && matches!(record.state, State::Completed { .. }))
}

fn stores_over_a_result(
    record: Kept<'_>,
    lock: Lock,
    result: &Completion,
    retention: Duration,
    now: Timestamp,
) -> Move<Held> {
    if !is_stored_by(record, lock, now) {
        return moves::store(record, lock, result, retention, now);
    }
    let write = with(record, |record| {
        if let State::Completed { result: kept, .. } = &mut record.state {
            *kept = result.clone();
        }
    });
    Move { answer: Held::Held, write }
}

fn starts_the_retention_again(
    record: Kept<'_>,
    lock: Lock,
    result: &Completion,
    retention: Duration,
    now: Timestamp,
) -> Move<Held> {
    if !is_stored_by(record, lock, now) {
        return moves::store(record, lock, result, retention, now);
    }
    let write = with(record, |record| {
        if let State::Completed { until, .. } = &mut record.state {
            *until = now.plus(retention);
        }
    });
    Move { answer: Held::Held, write }
}

fn a_repeated_release_is_lost(record: Kept<'_>, lock: Lock, effect: Effect, now: Timestamp) -> Move<Held> {
    let in_progress = record.filter(|record| matches!(record.state, State::InProgress { .. }));
    moves::release(in_progress, lock, effect, now)
}

fn leaves_unconfirmed(record: Kept<'_>, lock: Lock, lease: Duration, now: Timestamp) -> Move<Held> {
    let was = record.is_some_and(|record| matches!(record.state, State::InProgress { confirmed: true, .. }));
    let mut made = moves::extend(record, lock, lease, now);
    if let Some(State::InProgress { confirmed, .. }) = made.write.as_mut().map(|write| &mut write.state) {
        *confirmed = was;
    }
    made
}

fn settling_loosens(record: Kept<'_>, claim: &Claim, now: Timestamp, next_fence: Fence) -> Move<Acquired> {
    let mut made = moves::acquire(record, claim, now, next_fence);
    if let Some(write) = made.write.as_mut().filter(|write| claim.settles && write.prior.is_some()) {
        write.on_unknown = write.on_unknown.min(claim.on_unknown);
    }
    made
}
