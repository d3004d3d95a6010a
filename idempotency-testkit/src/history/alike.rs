//! Calls of which one stands for another.

use idempotency_core::Claim;

use super::search::Op;
use crate::call::Call;

/// For each of these calls, the last before it that asks just the same, by its place among them: its
/// caller had no answer, and asked again. Whatever may come of a call may come of the one before it, which
/// may have been carried out at all times at which it may have been.
pub(super) fn asked_before(ops: &[Op<'_>], unanswered: &[u32]) -> Vec<Option<usize>> {
    let op = |at: usize| &ops[unanswered[at] as usize];
    let before = |at: usize| {
        let is_before =
            |first: &usize| op(*first).window.from <= op(at).window.from && ask_the_same(op(*first).call, op(at).call);
        (0..at).rev().find(is_before)
    };
    (0..unanswered.len()).map(before).collect()
}

fn ask_the_same(one: &Call, other: &Call) -> bool {
    match (one, other) {
        (Call::Acquire(one), Call::Acquire(other)) => one.owner == other.owner && are_alike(one, other),
        (Call::Extend(one, lease), Call::Extend(other, as_long)) => (one, lease) == (other, as_long),
        (Call::Store(one, result, retention), Call::Store(other, same, as_long)) => {
            (one, result, retention) == (other, same, as_long)
        }
        (Call::Release(one, effect), Call::Release(other, same)) => (one, effect) == (other, same),
        _ => false,
    }
}

/// Whether two claims are the same but for their owners.
pub(super) fn are_alike(one: &Claim, other: &Claim) -> bool {
    let whole = |claim: &Claim| {
        let Claim { owner: _, fingerprint, lease, retention, unknown_retention, on_unknown, confirms, settles, .. } =
            *claim;
        (fingerprint, lease, retention, unknown_retention, on_unknown, confirms, settles)
    };
    whole(one) == whole(other) && one.context == other.context && one.attributes == other.attributes
}
