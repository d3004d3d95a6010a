//! What a store keeps under a key.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use crate::fingerprint::Fingerprint;
use crate::lock::{Fence, Lock, OnUnknown, Owner};
use crate::note::{Attributes, Context};
use crate::time::Timestamp;

/// What a store keeps under a key. Only the [moves](crate::moves) make and change records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The request of the latest attempt.
    pub fingerprint: Fingerprint,
    /// The lock of the latest attempt, whether or not it still holds.
    pub lock: Lock,
    /// The number of the latest attempt, from 1.
    pub attempt: u32,
    /// The latest attempt whose outcome is unknown and that nobody has settled since.
    pub prior: Option<Prior>,
    /// The strictest policy that any attempt asked for.
    pub on_unknown: OnUnknown,
    /// When the latest attempt acquired the key.
    pub acquired_at: Timestamp,
    /// Where the latest attempt came from.
    pub context: Context,
    /// What the latest attempt wanted kept.
    pub attributes: Attributes,
    /// How things stand.
    pub state: State,
}

/// How things stand with a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// An attempt holds the lock, or held it when its lease ran out.
    InProgress {
        /// When the lease ends, if it is not renewed.
        lease_until: Timestamp,
        /// Whether the attempt may have run: always, unless it promised to confirm first and has not.
        confirmed: bool,
        /// How long the attempt is remembered once released.
        retention: Duration,
        /// How long the attempt is remembered once unknown.
        unknown_retention: Duration,
    },
    /// Nobody knows whether the attempt named in [`Record::prior`] had its effect.
    Unknown {
        /// When that is forgotten.
        until: Timestamp,
    },
    /// The latest attempt ended without an effect, or was settled: the key is free.
    Released {
        /// When that is forgotten.
        until: Timestamp,
    },
    /// The operation is done.
    Completed {
        /// When it was done.
        at: Timestamp,
        /// When the result is forgotten.
        until: Timestamp,
        /// The result.
        result: Completion,
    },
}

/// An attempt that ended without anyone knowing whether it had its effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prior {
    /// Its number.
    pub attempt: u32,
    /// Its fence. Whoever carries effects out can bar it by asking for a larger one.
    pub fence: Fence,
    /// When it ended.
    pub ended_at: Timestamp,
    /// How it ended.
    pub ended: Ended,
    /// Until when it is remembered; an attempt after it that asks for less does not shorten this.
    pub remembered_until: Timestamp,
}

/// How an unknown attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Its lease ran out: it crashed, hung, was cut off, or is merely slow.
    Lapsed,
    /// Its caller said that it does not know.
    Told,
}

/// What a completed attempt left.
#[derive(Clone, PartialEq, Eq)]
pub enum Completion {
    /// The encoded result, to be replayed.
    Value(Bytes),
    /// Only the fact; a duplicate is told why there is no value.
    Omitted(Omitted),
}

/// Shows the value's length only.
impl fmt::Debug for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(bytes) => write!(f, "Value({} bytes)", bytes.len()),
            Self::Omitted(why) => write!(f, "Omitted({why:?})"),
        }
    }
}

/// Why a completed attempt has no value to replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Omitted {
    /// Its caller asked that only the fact be kept.
    #[error("only the fact was to be kept")]
    ByChoice,
    /// The value could not be encoded, or not decoded again.
    #[error("its value could not be encoded and decoded again")]
    NotEncodable,
    /// The value was over the size limit.
    #[error("its value was over the size limit")]
    TooLarge,
    /// The store refused the value for good, as when it is full.
    #[error("the store would not take its value")]
    RefusedByStore,
    /// An operator settled the attempt as done.
    #[error("an operator settled it as done, without its value")]
    Settled,
}

/// A record as it was read, with the store's time of reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The record.
    pub record: Record,
    /// The store's clock when it was read; judge leases and retention by this, not by a local clock.
    pub now: Timestamp,
}

/// How a record stands at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// A live lease, with the time left on it.
    Live(Duration),
    /// An attempt is unknown.
    Unknown(Prior),
    /// Free to be acquired.
    Free,
    /// Done.
    Completed,
}

impl Record {
    /// When the store may forget this record: the end of its retention.
    #[must_use]
    pub fn forgotten_at(&self) -> Timestamp {
        match self.state {
            State::InProgress { lease_until, unknown_retention, .. } => {
                self.remembered_from(lease_until, unknown_retention)
            }
            State::Unknown { until } | State::Released { until } | State::Completed { until, .. } => until,
        }
    }

    /// The attempt that is unknown at `now`, if one is: its lease has lapsed, or its caller said so.
    #[must_use]
    pub fn unknown_at(&self, now: Timestamp) -> Option<Prior> {
        match self.phase(now) {
            Phase::Unknown(prior) => Some(prior),
            Phase::Live(_) | Phase::Free | Phase::Completed => None,
        }
    }

    pub(crate) fn phase(&self, now: Timestamp) -> Phase {
        match self.state {
            State::InProgress { lease_until, .. } if now < lease_until => Phase::Live(now.until(lease_until)),
            // Nothing ran under a lock that was to be confirmed and never was; what came before it stands.
            State::InProgress { confirmed: false, .. } => self.prior.map_or(Phase::Free, Phase::Unknown),
            State::InProgress { lease_until, .. } => {
                Phase::Unknown(self.as_prior(lease_until, Ended::Lapsed, self.forgotten_at()))
            }
            State::Unknown { until } => {
                Phase::Unknown(self.prior.unwrap_or_else(|| self.as_prior(until, Ended::Told, until)))
            }
            State::Released { .. } => Phase::Free,
            State::Completed { .. } => Phase::Completed,
        }
    }

    pub(crate) const fn as_prior(&self, ended_at: Timestamp, ended: Ended, remembered_until: Timestamp) -> Prior {
        Prior { attempt: self.attempt, fence: self.lock.fence, ended_at, ended, remembered_until }
    }

    /// When an attempt that becomes unknown at `ended_at` may be forgotten: not before one that was
    /// unknown already.
    pub(crate) fn remembered_from(&self, ended_at: Timestamp, unknown_retention: Duration) -> Timestamp {
        let own = ended_at.plus(unknown_retention);
        self.prior.map_or(own, |prior| prior.remembered_until.max(own))
    }

    pub(crate) fn is_in_progress_under(&self, lock: Lock) -> bool {
        self.lock == lock && matches!(self.state, State::InProgress { .. })
    }

    /// The encoded result; empty where there is none.
    pub(crate) fn value(&self) -> &[u8] {
        match &self.state {
            State::Completed { result: Completion::Value(value), .. } => value,
            State::InProgress { .. } | State::Unknown { .. } | State::Released { .. } | State::Completed { .. } => &[],
        }
    }

    pub(crate) fn owner(&self) -> Owner {
        self.lock.owner
    }
}
