//! Keys, claims and times for tests of a store, as the suite uses them itself.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use idempotency_core::{Claim, Completion, Fingerprint, Key, ManualClock, Owner, Timestamp};

/// How long a [`claim`]'s lock holds.
pub const LEASE: Duration = Duration::from_secs(10);

/// How long what a [`claim`] leaves is remembered.
pub const RETENTION: Duration = Duration::from_secs(1000);

/// How long a [`claim`]'s attempt is remembered once it is unknown.
pub const UNKNOWN_RETENTION: Duration = Duration::from_secs(5000);

/// A store may tell expired records apart by the minute: after this long it can purge them.
pub const PURGED_BY: Duration = Duration::from_secs(180);

/// A clock that the test moves, in 2027.
#[must_use]
pub fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(Timestamp::from_micros(1_800_000_000_000_000)))
}

/// The key of operation `case` with this id, for no request in particular.
///
/// # Panics
/// Where it is no id.
#[must_use]
pub fn key(id: impl AsRef<[u8]>) -> Key {
    built(Key::new("case", id))
}

pub(crate) fn built(builder: idempotency_core::KeyBuilder) -> Key {
    builder.build().unwrap_or_else(|error| panic!("no key: {error}"))
}

/// A claim by this owner for one request, with the times above.
#[must_use]
pub fn claim(owner: u128) -> Claim {
    Claim {
        owner: Owner::from_u128(owner),
        lease: LEASE,
        retention: RETENTION,
        unknown_retention: UNKNOWN_RETENTION,
        ..Claim::new(Fingerprint::of_bytes(b"one"))
    }
}

/// The fingerprint of another request than [`claim`]'s.
#[must_use]
pub fn other_request() -> Fingerprint {
    Fingerprint::of_bytes(b"other")
}

/// A result with these bytes.
#[must_use]
pub fn value(bytes: impl Into<Bytes>) -> Completion {
    Completion::Value(bytes.into())
}
