//! The moves that are explored.

use std::time::Duration;

use idempotency_core::moves::{self, Move};
use idempotency_core::{Acquired, Claim, Completion, Effect, Fence, Held, Lock, Record, Timestamp};

/// The four moves as functions: the core's own by default, or others that are to be held to the same
/// promises.
#[derive(Clone, Copy, Debug)]
pub struct Moves {
    /// As [`moves::acquire`].
    pub acquire: fn(Option<&Record>, &Claim, Timestamp, Fence) -> Move<Acquired>,
    /// As [`moves::extend`].
    pub extend: fn(Option<&Record>, Lock, Duration, Timestamp) -> Move<Held>,
    /// As [`moves::store`].
    pub store: fn(Option<&Record>, Lock, &Completion, Duration, Timestamp) -> Move<Held>,
    /// As [`moves::release`].
    pub release: fn(Option<&Record>, Lock, Effect, Timestamp) -> Move<Held>,
}

impl Default for Moves {
    fn default() -> Self {
        Self { acquire: moves::acquire, extend: moves::extend, store: moves::store, release: moves::release }
    }
}
