//! Who holds a key, and what it asks for: owner, fence, lock and claim.

use std::fmt;
use std::time::Duration;

use crate::fingerprint::Fingerprint;
use crate::note::{Attributes, Context};

/// A random 128-bit id that a caller makes for one attempt.
///
/// Whoever asks again with the same owner is known as the same caller, so that a lost answer is
/// never taken for someone else's lock.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Owner(u128);

impl Owner {
    /// Makes a new one.
    #[must_use]
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// Puts an owner together again from what a store kept.
    #[must_use]
    pub const fn from_u128(id: u128) -> Self {
        Self(id)
    }

    /// The id as a number.
    #[must_use]
    pub const fn as_u128(self) -> u128 {
        self.0
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Owner({self})")
    }
}

/// A fencing token: grows strictly with every acquisition of a key, for as long as the store
/// remembers the key.
///
/// Whatever carries the effect out can keep the largest it has seen and reject a smaller one, and so
/// bar an attempt that was thought dead (Kleppmann, *How to do distributed locking*, 2016).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence(u64);

impl Fence {
    /// The fence with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The fence's number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The next larger fence.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One attempt's hold on a key: its owner *and* its fence, so that an owner that was granted a key
/// twice cannot act under its first grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lock {
    /// Who holds it.
    pub owner: Owner,
    /// Under which fence.
    pub fence: Fence,
}

/// What to do with a key whose last attempt ended without anyone knowing whether it had its effect.
///
/// Ordered from the loosest to the strictest. The strictest that any attempt of a key asked for
/// stays with the key's record: a looser claim later is answered *unknown*, not with a lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OnUnknown {
    /// Run it again: at least once, fenced, and told of the prior attempt.
    #[default]
    RunAgain,
    /// Ask what happened, under the lock, and only then run.
    Reconcile,
    /// Refuse until an operator settles it: at most once.
    Refuse,
}

/// What a caller asks a store for in
/// [`acquire_lock`](crate::IdempotencyStore::acquire_lock).
///
/// A claim is sent again, unchanged, whenever its answer was lost.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Who asks.
    pub owner: Owner,
    /// For which request.
    pub fingerprint: Fingerprint,
    /// How long the lock holds without renewal.
    pub lease: Duration,
    /// How long a released attempt is remembered.
    pub retention: Duration,
    /// How long an unknown attempt is remembered; never shorter than the retention.
    pub unknown_retention: Duration,
    /// What the caller would do with an unknown attempt.
    pub on_unknown: OnUnknown,
    /// Whether the caller confirms the lock by one extend before it runs. An unconfirmed lock whose
    /// lease ran out counts as released: nothing ran under it.
    pub confirms: bool,
    /// Whether an operator asks, to settle an unknown attempt. It takes over whatever policy the
    /// record has, and does not loosen it.
    pub settles: bool,
    /// Where the caller comes from.
    pub context: Context,
    /// What the caller wants kept with the record.
    pub attributes: Attributes,
}

impl Claim {
    /// A claim with a new owner and the library's defaults: a lease of 30 s, a retention of 24 h, an
    /// unknown retention of 30 days, *run again*, unconfirmed.
    #[must_use]
    pub fn new(fingerprint: Fingerprint) -> Self {
        Self {
            owner: Owner::random(),
            fingerprint,
            lease: defaults::LEASE,
            retention: defaults::RETENTION,
            unknown_retention: defaults::UNKNOWN_RETENTION,
            on_unknown: OnUnknown::default(),
            confirms: false,
            settles: false,
            context: Context::default(),
            attributes: Attributes::default(),
        }
    }
}

/// What is used where nothing else was said.
pub mod defaults {
    use std::time::Duration;

    /// How long a lock holds without renewal.
    pub const LEASE: Duration = Duration::from_secs(30);
    /// How long a result is replayed.
    pub const RETENTION: Duration = Duration::from_secs(24 * 60 * 60);
    /// How long an unknown attempt is remembered.
    pub const UNKNOWN_RETENTION: Duration = Duration::from_secs(30 * 24 * 60 * 60);
    /// How long a run's lock is renewed at the most.
    pub const MAX_RUN: Duration = Duration::from_secs(60 * 60);
    /// How long a run waits for its store before the operation, and again after it.
    pub const STORE_LIMIT: Duration = Duration::from_secs(5);
    /// The largest encoded result that is kept, in bytes.
    pub const RESULT_LIMIT: usize = 1024 * 1024;
}

/// What an attempt that ends without a result says of its effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// It surely had none: the key is free again, unless an attempt before it is still unknown.
    None,
    /// Nobody knows: the key becomes unknown at once.
    Unknown,
    /// An operator, or whoever else looked, vouches for this attempt and all before it: the key is
    /// free.
    Settled,
}
