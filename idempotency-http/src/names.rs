//! The headers that are read and written.

use http::HeaderName;

/// The key, of a request.
///
/// draft-ietf-httpapi-idempotency-key-header-07, section 2.1.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// `true` on a response that was given before.
pub const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// What became of the key with this response: a [`Status`].
pub const IDEMPOTENCY_STATUS: HeaderName = HeaderName::from_static("idempotency-status");

/// How long the response will still be replayed, in whole seconds.
pub const IDEMPOTENCY_REMAINING: HeaderName = HeaderName::from_static("idempotency-remaining");

/// `unknown` on the response of a handler that ran after an attempt of which nobody knows whether it had
/// its effect.
pub const IDEMPOTENCY_PRIOR: HeaderName = HeaderName::from_static("idempotency-prior");

/// What became of the key with a response, as the header [`IDEMPOTENCY_STATUS`] says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Status {
    /// The handler ran, and its response is recorded: a retry gets it again.
    Recorded,
    /// The handler ran before; this is that response.
    Replayed,
    /// The handler ran, and that is recorded, but not the response: a retry is told so, and does not run.
    NotReplayable,
    /// The handler ran, but nothing could be recorded: a retry meets an attempt that is unknown.
    Unrecorded,
    /// The store could not be reached, and the handler ran all the same: a retry may run too.
    Unprotected,
    /// The handler ran and did nothing: a retry with the same key runs it again.
    Freed,
    /// The handler ran, and nobody knows whether it had its effect.
    Unknown,
    /// The request had no key, where it needs none: the handler ran without protection, and runs again each time.
    NoKey,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Recorded,
        Self::Replayed,
        Self::NotReplayable,
        Self::Unrecorded,
        Self::Unprotected,
        Self::Freed,
        Self::Unknown,
        Self::NoKey,
    ];

    /// What a header's value says; `None` for what this release does not know.
    #[must_use]
    pub fn of(value: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == value.trim_ascii())
    }

    /// The header's value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Recorded => "recorded",
            Self::Replayed => "replayed",
            Self::NotReplayable => "not-replayable",
            Self::Unrecorded => "unrecorded",
            Self::Unprotected => "unprotected",
            Self::Freed => "freed",
            Self::Unknown => "unknown",
            Self::NoKey => "no-key",
        }
    }
}
