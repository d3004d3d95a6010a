//! How things stand with a key, for showing.

use std::time::Duration;

use crate::key::Key;
use crate::lock::OnUnknown;
use crate::outcome::Origin;
use crate::record::{Completion, Omitted, Phase, Prior, Snapshot, State};

/// How things stand with a key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// Nothing is known of it.
    Absent,
    /// The key was used for another request than this one; nothing of that is shown. A key that was
    /// parsed from its text has no request: give it the record's, by
    /// [`Key::with_fingerprint`](crate::Key::with_fingerprint).
    Mismatch,
    /// An attempt is running.
    InProgress {
        /// Its number.
        attempt: u32,
        /// How long ago it began, by the store's clock.
        age: Duration,
        /// The time left on its lease.
        remaining: Duration,
    },
    /// Nobody knows whether an attempt had its effect.
    Unknown {
        /// That attempt.
        prior: Prior,
        /// The strictest policy that any attempt asked for.
        on_unknown: OnUnknown,
    },
    /// The last attempt had no effect: the key is free.
    Released {
        /// Its number.
        attempt: u32,
    },
    /// The operation is done.
    Completed {
        /// By which attempt, when, and from where.
        origin: Origin,
        /// Why there is no value to replay, if there is none.
        omitted: Option<Omitted>,
    },
}

impl Status {
    pub(crate) fn of(found: Option<Snapshot>, key: &Key) -> Self {
        let Some(snapshot) = found else { return Self::Absent };
        let Snapshot { record, now } = &snapshot;
        let phase = record.phase(*now);
        if phase != Phase::Free && record.fingerprint != key.fingerprint() {
            return Self::Mismatch;
        }
        match phase {
            Phase::Live(remaining) => {
                Self::InProgress { attempt: record.attempt, age: record.acquired_at.until(*now), remaining }
            }
            Phase::Unknown(prior) => Self::Unknown { prior, on_unknown: record.on_unknown },
            Phase::Free => Self::Released { attempt: record.attempt },
            Phase::Completed => Self::Completed {
                origin: Origin::of(&snapshot),
                omitted: match &record.state {
                    State::Completed { result: Completion::Omitted(why), .. } => Some(*why),
                    State::Completed { .. }
                    | State::InProgress { .. }
                    | State::Unknown { .. }
                    | State::Released { .. } => None,
                },
            },
        }
    }
}
