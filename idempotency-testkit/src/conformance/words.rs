//! Calls with their arguments, as one readable line.

use std::time::Duration;

use idempotency_core::{Claim, Fingerprint, Lock, OnUnknown};

use super::sample;
use crate::call::Call;

/// A call with what tells it from others: `acquire_lock by owner 2 (refuse; confirms)`.
pub(crate) fn line(call: &Call) -> String {
    match call {
        Call::Get => "get".into(),
        Call::Acquire(claim) => format!("acquire_lock by {}", of_claim(claim)),
        Call::Extend(lock, lease) => format!("{call} under {} for {lease:?}", of_lock(*lock)),
        Call::Store(lock, _, retention) => format!("{call} under {} for {retention:?}", of_lock(*lock)),
        Call::Release(lock, _) => format!("{call} under {}", of_lock(*lock)),
    }
}

pub(crate) fn of_lock(lock: Lock) -> String {
    format!("owner {:x}'s lock, fence {}", lock.owner.as_u128(), lock.fence)
}

pub(crate) fn of_claim(claim: &Claim) -> String {
    let mut more = vec![format!("lease {:?}", claim.lease)];
    match claim.on_unknown {
        OnUnknown::RunAgain => {}
        OnUnknown::Reconcile => more.push("policy reconcile".into()),
        OnUnknown::Refuse => more.push("policy refuse".into()),
    }
    if claim.fingerprint != sample::claim(0).fingerprint {
        more.push(request(claim.fingerprint).into());
    }
    if claim.confirms {
        more.push("confirms".into());
    }
    if claim.settles {
        more.push("settles".into());
    }
    format!("owner {:x} ({})", claim.owner.as_u128(), more.join(", "))
}

fn request(fingerprint: Fingerprint) -> &'static str {
    if fingerprint == Fingerprint::NONE { "no request" } else { "another request" }
}

/// A moment relative to another: `+10s`, `-1.5s`.
pub(crate) fn moment(now: idempotency_core::Timestamp, start: idempotency_core::Timestamp) -> String {
    let (sign, distance): (_, Duration) = if now < start { ('-', now.until(start)) } else { ('+', now.since(start)) };
    format!("{sign}{distance:?}")
}
