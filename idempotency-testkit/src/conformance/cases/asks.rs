//! All that can be asked of a key.

use idempotency_core::{Claim, Effect, Fence, Lock, OnUnknown, Owner};

use super::states::{FIRST, SECOND};
use crate::call::Call;
use crate::conformance::bench::{Bench, Times};
use crate::conformance::desk::Desk;
use crate::conformance::sample::{self, value};

const STRANGER: u128 = 3;

pub(super) const POLICIES: [OnUnknown; 3] = [OnUnknown::RunAgain, OnUnknown::Reconcile, OnUnknown::Refuse];

/// One call, under a lock that is known only once the key was brought to its state.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    what: What,
    times: Times,
}

#[derive(Clone, Debug)]
enum What {
    Acquire(Claim),
    Extend(Under),
    Store(Under),
    Release(Under, Effect),
}

/// Which lock is shown.
#[derive(Clone, Copy, Debug)]
enum Under {
    Last,
    First,
    /// The last owner's, with a fence that was never granted.
    AnotherFence,
    /// The last fence, under an owner that was never granted it.
    AnotherOwner,
}

impl Under {
    const ALL: [Self; 4] = [Self::Last, Self::First, Self::AnotherFence, Self::AnotherOwner];

    fn lock(self, desk: &Desk) -> Lock {
        let last = desk.last_lock();
        match self {
            Self::Last => last,
            Self::First => desk.locks.first().copied().unwrap_or(last),
            Self::AnotherFence => Lock { fence: Fence::next(last.fence), ..last },
            Self::AnotherOwner => Lock { owner: Owner::from_u128(STRANGER), ..last },
        }
    }
}

impl Ask {
    pub(super) fn call(&self, desk: &Desk) -> Call {
        match &self.what {
            What::Acquire(claim) => Call::Acquire(Box::new(claim.clone())),
            What::Extend(under) => Call::Extend(under.lock(desk), self.times.lease / 3),
            What::Store(under) => Call::Store(under.lock(desk), value("asked"), self.times.retention / 2),
            What::Release(under, effect) => Call::Release(under.lock(desk), *effect),
        }
    }
}

/// All of them: each owner, request, policy and kind of claim, and each method under each lock.
pub(super) fn all(bench: &Bench) -> Vec<Ask> {
    let mut all = Vec::new();
    for owner in [FIRST, SECOND, STRANGER] {
        for fingerprint in [sample::claim(owner).fingerprint, sample::other_request()] {
            for on_unknown in POLICIES {
                for (settles, confirms) in [(false, false), (true, false), (false, true), (true, true)] {
                    all.push(What::Acquire(Claim { on_unknown, settles, confirms, fingerprint, ..bench.claim(owner) }));
                }
            }
        }
    }
    for under in Under::ALL {
        all.push(What::Extend(under));
        all.push(What::Store(under));
        all.extend([Effect::None, Effect::Unknown, Effect::Settled].map(|effect| What::Release(under, effect)));
    }
    all.into_iter().map(|what| Ask { what, times: bench.times }).collect()
}
