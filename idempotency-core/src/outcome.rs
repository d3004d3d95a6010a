//! What a call gives back.

use std::ops::Deref;
use std::time::Duration;

use crate::codec::CodecError;
use crate::error::StoreError;
use crate::note::{Attributes, Context};
use crate::record::{Prior, Record, Snapshot, State};
use crate::time::Timestamp;

/// The operation's value, and how it came about. Dereferences to the value.
#[derive(Debug)]
#[must_use = "the value may not have been recorded: look at `how`, or ask `recorded()`"]
pub struct Outcome<T> {
    value: T,
    how: How,
    attempt: u32,
    prior: Option<Prior>,
}

/// How a value came about.
#[derive(Debug)]
#[non_exhaustive]
pub enum How {
    /// The operation ran now, and its result is recorded.
    Executed,
    /// It ran before; this is that result.
    Replayed(Box<Origin>),
    /// An earlier attempt had its effect, as reconciling found; its value is now recorded.
    Reconciled,
    /// The store could not be reached and the call was told to run all the same: a duplicate may run
    /// too.
    Unprotected(StoreError),
    /// The operation ran now, but its result is not recorded as a value to replay.
    Unrecorded(Unrecorded),
}

/// Why an operation's value is not recorded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unrecorded {
    /// The lock was lost while the operation ran: another attempt may have run too.
    #[error("the lock was lost while the operation ran")]
    LockLost,
    /// The store did not take the value. Unless it refused it for good, it is asked on in the
    /// background for as long as the lock holds.
    #[error("the store did not take the value: {0}")]
    Store(StoreError),
    /// The value cannot be encoded and decoded again. The fact is recorded.
    #[error("the value cannot be replayed: {0}")]
    NotEncodable(CodecError),
    /// The encoded value is over the size limit. The fact is recorded.
    #[error("the encoded value has {bytes} bytes; the limit is {limit}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
}

/// Where a replayed value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Origin {
    /// The attempt that made it.
    pub attempt: u32,
    /// When it was recorded, by the store's clock.
    pub completed_at: Timestamp,
    /// How long it will still be replayed.
    pub remaining: Duration,
    /// Where that attempt came from.
    pub context: Context,
    /// What it wanted kept.
    pub attributes: Attributes,
}

impl Origin {
    pub(crate) fn of(snapshot: &Snapshot) -> Self {
        let Record { attempt, context, attributes, state, acquired_at, .. } = &snapshot.record;
        let completed_at = match state {
            State::Completed { at, .. } => *at,
            State::InProgress { .. } | State::Unknown { .. } | State::Released { .. } => *acquired_at,
        };
        Self {
            attempt: *attempt,
            completed_at,
            remaining: snapshot.now.until(snapshot.record.forgotten_at()),
            context: context.clone(),
            attributes: attributes.clone(),
        }
    }
}

impl<T> Outcome<T> {
    pub(crate) const fn new(value: T, how: How, attempt: u32, prior: Option<Prior>) -> Self {
        Self { value, how, attempt, prior }
    }

    /// How the value came about.
    #[must_use]
    pub const fn how(&self) -> &How {
        &self.how
    }

    /// The value.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.value
    }

    /// The value and where it came from, if it was replayed.
    pub(crate) fn replayed(self) -> Result<(T, Origin), Self> {
        match self.how {
            How::Replayed(origin) => Ok((self.value, *origin)),
            how @ (How::Executed | How::Reconciled | How::Unprotected(_) | How::Unrecorded(_)) => {
                Err(Self { how, ..self })
            }
        }
    }

    /// The value and how it came about.
    #[must_use]
    pub fn into_parts(self) -> (T, How) {
        (self.value, self.how)
    }

    /// Whether the operation ran before, and not now.
    #[must_use]
    pub const fn is_replay(&self) -> bool {
        matches!(self.how, How::Replayed(_))
    }

    /// Where the value came from, if it was replayed.
    #[must_use]
    pub fn origin(&self) -> Option<&Origin> {
        match &self.how {
            How::Replayed(origin) => Some(origin),
            How::Executed | How::Reconciled | How::Unprotected(_) | How::Unrecorded(_) => None,
        }
    }

    /// The number of the attempt that made the value; 0 in an unprotected run.
    #[must_use]
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The unknown attempt after which the operation ran now, if there was one.
    #[must_use]
    pub const fn prior(&self) -> Option<Prior> {
        self.prior
    }

    /// The value if a duplicate will get it too, for callers that must not go on without.
    ///
    /// # Errors
    /// The value, where it was not recorded or the run was unprotected.
    pub fn recorded(self) -> Result<T, T> {
        match self.how {
            How::Executed | How::Replayed(_) | How::Reconciled => Ok(self.value),
            How::Unprotected(_) | How::Unrecorded(_) => Err(self.value),
        }
    }

    /// The same outcome with another value.
    pub fn map<U>(self, map: impl FnOnce(T) -> U) -> Outcome<U> {
        Outcome { value: map(self.value), how: self.how, attempt: self.attempt, prior: self.prior }
    }
}

impl<T> Deref for Outcome<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}
