//! What is asked of a store at random, one command at a time.

use std::fmt;
use std::time::Duration;

use idempotency_core::{Claim, Completion, Effect, Fence, Lock, Omitted, OnUnknown, Owner};

use crate::call::Call;
use crate::conformance::bench::Times;
use crate::conformance::sample;

/// A time by name, so that commands read the same on any clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Span {
    Moment,
    ThirdOfALease,
    Lease,
    ShortRetention,
    Retention,
    UnknownRetention,
}

impl Span {
    pub(super) fn of(self, times: Times) -> Duration {
        match self {
            Self::Moment => Duration::from_micros(1),
            Self::ThirdOfALease => times.lease / 3,
            Self::Lease => times.lease,
            Self::ShortRetention => times.retention / 20,
            Self::Retention => times.retention,
            Self::UnknownRetention => times.unknown_retention,
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Moment => "1 µs",
            Self::ThirdOfALease => "a third of a lease",
            Self::Lease => "a lease",
            Self::ShortRetention => "a short retention",
            Self::Retention => "a retention",
            Self::UnknownRetention => "an unknown retention",
        })
    }
}

/// A claim's arguments.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claiming {
    pub(super) owner: u8,
    pub(super) other_request: bool,
    pub(super) on_unknown: OnUnknown,
    pub(super) confirms: bool,
    pub(super) settles: bool,
    pub(super) lease: Span,
    pub(super) retention: Span,
    pub(super) unknown_retention: Span,
}

impl Claiming {
    fn claim(self, times: Times) -> Claim {
        let claim = sample::claim(u128::from(self.owner));
        Claim {
            fingerprint: if self.other_request { sample::other_request() } else { claim.fingerprint },
            lease: self.lease.of(times),
            retention: self.retention.of(times),
            unknown_retention: self.unknown_retention.of(times).max(self.retention.of(times)),
            on_unknown: self.on_unknown,
            confirms: self.confirms,
            settles: self.settles,
            ..claim
        }
    }
}

impl fmt::Display for Claiming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "owner {} for {}", self.owner, self.lease)?;
        if self.on_unknown != OnUnknown::RunAgain {
            write!(f, ", policy {:?}", self.on_unknown)?;
        }
        let words = [(self.other_request, "another request"), (self.confirms, "confirms"), (self.settles, "settles")];
        words.iter().filter(|(is_so, _)| *is_so).try_for_each(|(_, word)| write!(f, ", {word}"))?;
        write!(f, "; to be remembered {}, {} if unknown", self.retention, self.unknown_retention)
    }
}

/// Which lock a command shows.
#[derive(Clone, Copy, Debug)]
pub(super) enum Which {
    /// So many grants before the last one of the key.
    Granted(usize),
    /// One that was never granted, by an owner that may hold another.
    Never(u8),
}

impl Which {
    fn lock(self, locks: &[Lock]) -> Option<Lock> {
        match self {
            Self::Granted(back) => locks.iter().rev().nth(back).copied(),
            Self::Never(owner) => {
                let fence = locks.last().map_or(Fence::new(7), |last| last.fence.next());
                Some(Lock { owner: Owner::from_u128(u128::from(owner)), fence })
            }
        }
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Granted(0) => f.write_str("its latest lock"),
            Self::Granted(back) => write!(f, "the lock {back} before its latest"),
            Self::Never(owner) => write!(f, "a lock never granted (owner {owner})"),
        }
    }
}

/// What is stored.
#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    Bytes(u32),
    Nothing(Omitted),
}

impl What {
    fn completion(self) -> Completion {
        match self {
            Self::Bytes(length) => Completion::Value((0..length).map(|at| (at % 251) as u8).collect()),
            Self::Nothing(why) => Completion::Omitted(why),
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(length) => write!(f, "a value of {length} bytes"),
            Self::Nothing(why) => write!(f, "no value ({why:?})"),
        }
    }
}

/// What is done to a key.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ask {
    Acquire(Claiming),
    Extend(Which, Span),
    Store(Which, What, Span),
    Release(Which, Effect),
    /// The call so many before the key's last one, once more: a late duplicate.
    Again(usize),
}

impl Ask {
    /// The call, where its lock was granted, or the call it repeats was made.
    pub(super) fn call(self, locks: &[Lock], calls: &[Call], times: Times) -> Option<Call> {
        Some(match self {
            Self::Acquire(claiming) => Call::Acquire(Box::new(claiming.claim(times))),
            Self::Extend(which, lease) => Call::Extend(which.lock(locks)?, lease.of(times)),
            Self::Store(which, what, retention) => {
                Call::Store(which.lock(locks)?, what.completion(), retention.of(times))
            }
            Self::Release(which, effect) => Call::Release(which.lock(locks)?, effect),
            Self::Again(back) => calls.iter().rev().nth(back)?.clone(),
        })
    }
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Acquire(claiming) => write!(f, "acquire_lock by {claiming}"),
            Self::Extend(which, lease) => write!(f, "extend_lock under {which}, by {lease}"),
            Self::Store(which, what, retention) => write!(f, "store_result under {which}: {what}, for {retention}"),
            Self::Release(which, effect) => write!(f, "release_lock under {which}: effect {effect:?}"),
            Self::Again(0) => f.write_str("its last call once more"),
            Self::Again(back) => write!(f, "the call {back} before its last once more"),
        }
    }
}

/// One command to a store.
#[derive(Clone, Copy, Debug)]
pub(super) enum Command {
    /// Asks something of a key; if its answer is lost, asks again.
    Ask { key: usize, ask: Ask, lost: bool },
    /// Time passes.
    Pass(Span),
    /// The clock is set back.
    Back(Span),
    /// Whatever may be forgotten is removed.
    Purge,
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ask { key, ask, lost } => {
                write!(f, "key {key}: {ask}{}", if *lost { "; the answer is lost, and it is sent again" } else { "" })
            }
            Self::Pass(span) => write!(f, "{span} passes"),
            Self::Back(span) => write!(f, "the clock is set back by {span}"),
            Self::Purge => f.write_str("purge"),
        }
    }
}
