//! What can go wrong: at a store, and in a run.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use crate::codec::CodecError;
use crate::key::{Key, KeyError};
use crate::lease::LeaseLost;
use crate::lock::OnUnknown;
use crate::note::InvalidNote;
use crate::record::{Omitted, Prior};
use crate::time::InvalidDuration;

/// A store could not do what it was asked. Whether it did it all the same is another question: see
/// [`StoreErrorKind::InDoubt`].
pub struct StoreError(Box<StoreErrorParts>);

struct StoreErrorParts {
    kind: StoreErrorKind,
    operation: &'static str,
    message: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// What kind of failure it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// The store cannot be reached, or is closed for now. Nothing was done.
    Unavailable,
    /// No answer came: it may have been done or not. Asking again with the same owner tells.
    InDoubt,
    /// There is no room for a new key or for this value.
    Full,
    /// The value is larger than the store takes.
    TooLarge,
    /// The store holds bytes under this key that are not the record they should be.
    Damaged,
    /// The store is closed for good, after a fault or a shutdown: open it anew.
    Closed,
    /// The store is not set up as it must be: a missing folder, a wrong password, a missing right.
    Misconfigured,
    /// The store has a defect, such as a panic.
    Internal,
}

impl StoreErrorKind {
    /// Whether the same call may succeed when it is sent again.
    #[must_use]
    pub const fn is_passing(self) -> bool {
        matches!(self, Self::Unavailable | Self::InDoubt)
    }
}

impl fmt::Display for StoreErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unavailable => "the store is unavailable",
            Self::InDoubt => "the store gave no answer",
            Self::Full => "the store is full",
            Self::TooLarge => "the value is larger than the store takes",
            Self::Damaged => "the store holds a damaged record",
            Self::Closed => "the store is closed",
            Self::Misconfigured => "the store is not set up as it must be",
            Self::Internal => "the store failed",
        })
    }
}

impl StoreError {
    /// An error of this kind in this operation (`acquire_lock`, …).
    #[must_use]
    pub fn new(kind: StoreErrorKind, operation: &'static str) -> Self {
        Self(Box::new(StoreErrorParts { kind, operation, message: None, source: None }))
    }

    /// Adds what, where and what to do. It must not hold a secret.
    #[must_use]
    pub fn with_message(mut self, message: impl Into<String>) -> Self {
        self.0.message = Some(message.into());
        self
    }

    /// Adds the driver's own error, which [`std::error::Error::source`] gives back.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// What kind of failure it was.
    #[must_use]
    pub fn kind(&self) -> StoreErrorKind {
        self.0.kind
    }

    /// The operation that failed.
    #[must_use]
    pub fn operation(&self) -> &'static str {
        self.0.operation
    }

    /// Whether the same call may succeed when it is sent again.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        self.0.kind.is_passing()
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.0.kind, self.0.operation)?;
        self.0.message.iter().try_for_each(|message| write!(f, ": {message}"))
    }
}

/// For whoever reads it where a program's `main` returns it: as `Display`, and then why, each thing once.
impl fmt::Debug for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            let why = error.to_string();
            if !said.contains(&why) {
                said = format!("{said}: {why}");
            }
            cause = error.source();
        }
        f.write_str(&said)
    }
}

impl StdError for StoreError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

/// Why a run has no value to give. `Err` always means that the caller does not hold the operation's
/// value; whether the operation ran is said variant by variant.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another attempt is running. This call ran nothing.
    #[error("{key} is in progress (attempt {attempt}); come back in {retry_after:?}")]
    InProgress {
        /// The key.
        key: Key,
        /// The attempt that runs.
        attempt: u32,
        /// The time left on its lease: by then it is done, renewed, or lapsed.
        retry_after: Duration,
    },
    /// The key was used for another request. Nothing ran, and nothing of that request is shown.
    #[error("{key} was used for another request; a new request needs a new key")]
    Mismatch {
        /// The key.
        key: Key,
    },
    /// An attempt ended without anyone knowing whether it had its effect, and the policy does not
    /// let this call run. Nothing ran.
    #[error(
        "nobody knows whether attempt {} of {key} had its effect (policy: {on_unknown:?}); \
         look, then settle the key", prior.attempt
    )]
    OutcomeUnknown {
        /// The key.
        key: Key,
        /// The unknown attempt.
        prior: Prior,
        /// The strictest policy that any attempt of the key asked for.
        on_unknown: OnUnknown,
    },
    /// The operation is done, but its value cannot be given back. It was not run again.
    #[error("attempt {attempt} of {key} is done, but its value cannot be replayed: {why}")]
    NotReplayable {
        /// The key.
        key: Key,
        /// The attempt that did it.
        attempt: u32,
        /// Why not.
        why: NotReplayable,
    },
    /// A setting of this call is not valid. Nothing ran.
    #[error(transparent)]
    Invalid(#[from] InvalidCall),
    /// The store failed before the operation ran. Nothing ran.
    #[error("nothing ran for {key}: {}", source.kind())]
    Store {
        /// The key.
        key: Key,
        /// The store's error.
        source: StoreError,
    },
    /// The operation ran in a transaction that is not known to be committed; the value it returned is
    /// gone with it. Where the error is [in doubt](StoreErrorKind::InDoubt), it may have been committed
    /// all the same; else nothing of it was. Calling again with the same key tells.
    #[error("{key} ran in a transaction that was not committed: {source}")]
    Uncommitted {
        /// The key.
        key: Key,
        /// Why not.
        source: StoreError,
    },
    /// An exclusive run lost its lock, and was stopped at its next await: another may be running by now.
    /// See [`Exclusive::keep_running_when_lost`](crate::Exclusive::keep_running_when_lost).
    #[error("run {attempt} of {key} lost its lock, as {why}, and was stopped; another may be running")]
    LockLost {
        /// The key.
        key: Key,
        /// The attempt that was stopped.
        attempt: u32,
        /// Why.
        why: LeaseLost,
    },
    /// The runtime shut down under a detached run: it may have been cut off at any point.
    #[error("the runtime shut down while {key} ran")]
    Shutdown {
        /// The key.
        key: Key,
    },
}

impl Error {
    /// The key that was called; `None` where a setting of the call was not valid.
    #[must_use]
    pub const fn key(&self) -> Option<&Key> {
        match self {
            Self::InProgress { key, .. }
            | Self::Mismatch { key }
            | Self::OutcomeUnknown { key, .. }
            | Self::NotReplayable { key, .. }
            | Self::Store { key, .. }
            | Self::Uncommitted { key, .. }
            | Self::LockLost { key, .. }
            | Self::Shutdown { key } => Some(key),
            Self::Invalid(_) => None,
        }
    }
}

/// Why a completed operation's value cannot be given back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotReplayable {
    /// There is no value in the record.
    #[error("{0}")]
    Omitted(Omitted),
    /// The value was stored as another type or schema, by another codec, or is damaged.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

/// A setting of a call that is not valid.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidCall {
    /// A duration is zero or overflows.
    #[error(transparent)]
    Duration(#[from] InvalidDuration),
    /// A context or attribute cannot be kept.
    #[error(transparent)]
    Note(#[from] InvalidNote),
    /// A job's name or slot cannot be part of a key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A policy for unknown slots was given for an exclusive run that has no slot.
    #[error("the policy {0:?} is about a slot, but the run has none: add `slot(…)`")]
    NoSlot(OnUnknown),
    /// The unknown retention is shorter than the retention.
    #[error("an unknown retention of {unknown:?} is shorter than the retention of {retention:?}")]
    UnknownRetention {
        /// The unknown retention.
        unknown: Duration,
        /// The retention.
        retention: Duration,
    },
    /// The policy is *reconcile*, but the call has no way to ask what happened.
    #[error("the policy is `Reconcile`, but the call has no `reconcile(…)`")]
    NothingToReconcileWith,
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    /// As drivers' errors are that say what their source says, too.
    #[derive(Debug, thiserror::Error)]
    #[error("it cannot be reached")]
    struct Outer(#[source] io::Error);

    #[test]
    fn a_stores_error_reads_where_main_returns_it() {
        let error = StoreError::new(StoreErrorKind::Unavailable, "open")
            .with_message("Redis at 127.0.0.1:6379: it cannot be reached")
            .with_source(Outer(io::Error::other("connection refused")));
        let said = "the store is unavailable (open): Redis at 127.0.0.1:6379: it cannot be reached: connection refused";
        assert_eq!(format!("{error:?}"), said);
        assert_eq!(format!("{error:#?}"), said);
    }
}
