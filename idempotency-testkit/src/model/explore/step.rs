//! What may happen next.

use std::fmt;
use std::time::Duration;

use idempotency_core::{Claim, Completion, Effect, Fingerprint, OnUnknown, Owner};

/// How long everything lasts, in ticks: small, and all different, so that none is taken for another.
pub(super) const LEASE: u64 = 2;
pub(super) const RETENTION: u64 = 3;
pub(super) const UNKNOWN_RETENTION: u64 = 4;
pub(super) const LONG_UNKNOWN_RETENTION: u64 = 7;

pub(super) const POLICIES: [OnUnknown; 3] = [OnUnknown::RunAgain, OnUnknown::Reconcile, OnUnknown::Refuse];
pub(super) const EFFECTS: [Effect; 3] = [Effect::None, Effect::Unknown, Effect::Settled];

pub(super) const fn ticks(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// What a claim asks for, but for its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) other_request: bool,
    pub(super) on_unknown: OnUnknown,
    pub(super) confirms: bool,
    pub(super) settles: bool,
    pub(super) unknown_retention: u64,
}

impl Asked {
    /// Each policy for one request: plain, to be remembered for long, to be confirmed, to settle; and
    /// each policy for another.
    pub(super) fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for on_unknown in POLICIES {
            let plain = Self {
                other_request: false,
                on_unknown,
                confirms: false,
                settles: false,
                unknown_retention: UNKNOWN_RETENTION,
            };
            all.push(plain);
            all.push(Self { unknown_retention: LONG_UNKNOWN_RETENTION, ..plain });
            all.push(Self { confirms: true, ..plain });
            all.push(Self { settles: true, ..plain });
            all.push(Self { other_request: true, ..plain });
        }
        all
    }

    pub(super) fn claim(self, owner: u8) -> Claim {
        let request: &[u8] = if self.other_request { b"other" } else { b"one" };
        Claim {
            owner: Owner::from_u128(u128::from(owner)),
            lease: ticks(LEASE),
            retention: ticks(RETENTION),
            unknown_retention: ticks(self.unknown_retention),
            on_unknown: self.on_unknown,
            confirms: self.confirms,
            settles: self.settles,
            ..Claim::new(Fingerprint::of_bytes(request))
        }
    }
}

/// What may happen next, to any key: a message that was sent now, or long ago, or again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The owner's claim with this number.
    Acquire {
        key: u8,
        owner: u8,
        asked: u8,
    },
    /// Under the lock with this number, of all ever granted: the key's own first, then those of other keys;
    /// the one after the last never was.
    Extend {
        key: u8,
        lock: u8,
    },
    Store {
        key: u8,
        lock: u8,
        value: u8,
    },
    Release {
        key: u8,
        lock: u8,
        effect: Effect,
    },
    /// The clock moves on.
    Tick,
    /// The store forgets a record whose time has come.
    Purge {
        key: u8,
    },
}

pub(super) fn value(value: u8) -> Completion {
    Completion::Value(vec![value].into())
}

/// A step in words.
pub(super) struct Told<'a>(pub(super) Step, pub(super) &'a [Asked]);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Step::Acquire { key, owner, asked } => {
                let asked = self.1[usize::from(asked)];
                write!(f, "key {key}: owner {owner} acquires (policy {:?}", asked.on_unknown)?;
                let words = [
                    (asked.other_request, "another request"),
                    (asked.confirms, "confirms"),
                    (asked.settles, "settles"),
                    (asked.unknown_retention == LONG_UNKNOWN_RETENTION, "to be remembered for long"),
                ];
                words.iter().filter(|(is_so, _)| *is_so).try_for_each(|(_, word)| write!(f, ", {word}"))?;
                f.write_str(")")
            }
            Step::Extend { key, lock } => write!(f, "key {key}: extend under grant {lock}"),
            Step::Store { key, lock, value } => write!(f, "key {key}: store value {value} under grant {lock}"),
            Step::Release { key, lock, effect } => {
                write!(f, "key {key}: release under grant {lock}, effect {effect:?}")
            }
            Step::Tick => f.write_str("a tick passes"),
            Step::Purge { key } => write!(f, "key {key}: its record, whose time has come, is purged"),
        }
    }
}
