//! Which attempts there were, as far as the answers tell.

use idempotency_core::{Acquired, Fence, Held, Lock, Owner, Prior, Record};

use super::search::Op;
use crate::call::{Answer, Call};

/// The attempts that the answers tell of, early and late ones; none, where a record may be forgotten in
/// between.
///
/// For as long as a key is remembered, its attempts are counted up, each has one lock, and their fences
/// grow. So an order that makes an attempt another's than a later answer has it, or that has come to a
/// later attempt than an answer that is still to be placed, need not be gone on with. Without that, a
/// search tries what each unanswered acquisition may have done in each place, for as many attempts as
/// there are such calls, and finds only at the end that none of it fits.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    told: Vec<(u32, Fence, Option<Owner>)>,
    are_remembered: bool,
    /// Whether the answers alone, in whatever order, cannot all be true.
    contradict: bool,
}

impl Attempts {
    /// By all answers but the one of the event that is to be explained: that one is to be come to, and
    /// not to be right.
    pub(super) fn told(ops: &[Op<'_>], explain: Option<u32>) -> Self {
        if may_be_forgotten(ops) {
            return Self::default();
        }
        let mut told = Vec::new();
        for op in ops.iter().filter(|op| explain != Some(op.answered)) {
            let (latest, prior) = op.told();
            told.extend(latest.map(|(attempt, Lock { owner, fence })| (attempt, fence, Some(owner))));
            told.extend(prior.map(|Prior { attempt, fence, .. }| (attempt, fence, None)));
        }
        told.sort_unstable_by_key(|(attempt, fence, owner)| (*attempt, *fence, owner.map(Owner::as_u128)));
        told.dedup();
        let follow = |pair: &[(u32, Fence, Option<Owner>)]| {
            let [(before, smaller, one), (attempt, fence, other)] = pair else { return true };
            before.cmp(attempt) == smaller.cmp(fence) && (before != attempt || one.is_none() || one == other)
        };
        let contradict = !told.windows(2).all(follow);
        Self { told, are_remembered: true, contradict }
    }

    /// Whether this may be kept at any time.
    pub(super) fn may_include(&self, record: &Record) -> bool {
        let Lock { owner: holder, fence: given } = record.lock;
        let before = self.told.partition_point(|(attempt, ..)| *attempt < record.attempt);
        let (before, rest) = self.told.split_at(before);
        let (same, after) = rest.split_at(rest.partition_point(|(attempt, ..)| *attempt == record.attempt));
        // A fence that nobody tells is thought as small as may be, so that the order holds for it, too.
        !self.contradict
            && before.last().is_none_or(|(_, fence, _)| *fence < given)
            && same.iter().all(|(_, fence, owner)| *fence == given && owner.is_none_or(|owner| owner == holder))
            && after.first().is_none_or(|(_, fence, _)| *fence > given)
    }

    /// Whether this may be kept before an answer is given, as far as its attempt goes.
    pub(super) fn may_come_before(&self, record: &Record, op: &Op<'_>) -> bool {
        !self.are_remembered
            || match (op.call, op.answer) {
                (_, Some(Answer::Found(None))) => false,
                (_, Some(Answer::Found(Some(found)) | Answer::Acquired(Acquired::Completed(found)))) => {
                    record.attempt <= found.record.attempt
                }
                (_, Some(Answer::Acquired(Acquired::Acquired(grant)))) => record.attempt <= grant.attempt,
                (_, Some(Answer::Acquired(Acquired::InProgress { attempt, .. }))) => record.attempt <= *attempt,
                (
                    Call::Extend(lock, _) | Call::Store(lock, ..) | Call::Release(lock, _),
                    Some(Answer::Held(Held::Held)),
                ) => record.lock.fence <= lock.fence,
                _ => true,
            }
    }
}

/// Whether a record may be forgotten before the last call: not if all of them took less time than
/// anything is kept for.
fn may_be_forgotten(ops: &[Op<'_>]) -> bool {
    let kept = ops.iter().filter_map(|op| match op.call {
        Call::Acquire(claim) => Some(claim.retention.min(claim.unknown_retention)),
        Call::Store(_, _, retention) => Some(*retention),
        Call::Get | Call::Extend(..) | Call::Release(..) => None,
    });
    let begun = ops.iter().map(|op| op.window.from).min();
    // An unanswered call is thought no later than it was sent, or than one that was answered.
    let ended = ops.iter().map(|op| if op.answer.is_some() { op.window.to } else { op.window.from }).max();
    match (begun, ended, kept.min()) {
        (Some(begun), Some(ended), Some(kept)) => begun.plus(kept) <= ended,
        _ => true,
    }
}
