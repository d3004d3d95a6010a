//! The name of one logical operation.

mod builder;
mod downstream;
mod text;

use std::fmt;
use std::sync::Arc;

pub use builder::KeyBuilder;
pub use downstream::DownstreamKey;

use crate::fingerprint::{Fingerprint, FingerprintError};
use crate::time::InvalidDuration;

/// The longest part of a key, in bytes of UTF-8.
pub const LONGEST_PART: usize = 255;

/// The most parts an id may have.
pub const MOST_ID_PARTS: usize = 4;

/// The name of one logical operation, and the fingerprint of the request it stands for.
///
/// A key is made of a *scope* (a tenant, an API key, a user; optional), an *operation*
/// (`payment:create`) and an *id* of one to [`MOST_ID_PARTS`] parts (`ord_42`). Two keys are one
/// operation exactly if all their parts are equal, whatever bytes the parts hold: the parts are
/// escaped, then joined, so that no choice of parts collides with another.
///
/// Every part has 1 to [`LONGEST_PART`] bytes of UTF-8 without control characters. This is checked
/// once, when the key is built. Cloning a key is cheap.
///
/// ```
/// use idempotency_core::Key;
///
/// let key = Key::new("payment:create", "ord_42").scope("tenant-7").request(&("EUR", 1999)).build()?;
/// assert_eq!(key.as_str(), "tenant-7/payment:create/ord_42");
/// # Ok::<(), idempotency_core::KeyError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// Scope, operation and id parts, escaped and joined by `/`; the scope is empty where none is.
    text: Arc<str>,
    fingerprint: Fingerprint,
}

impl Key {
    /// Begins a key from an operation and the first part of its id, as strings or as bytes.
    #[expect(clippy::new_ret_no_self, reason = "a key is checked when its builder is done")]
    pub fn new(operation: impl AsRef<[u8]>, id: impl AsRef<[u8]>) -> KeyBuilder {
        KeyBuilder::new(operation.as_ref(), id.as_ref())
    }

    /// Begins the key of a payment's step: `Key::payment("create", order)` is operation
    /// `payment:create` of that order.
    pub fn payment(step: impl AsRef<str>, order: impl AsRef<[u8]>) -> KeyBuilder {
        Self::new(format!("payment:{}", step.as_ref()), order)
    }

    /// Begins the key of one refund of an order.
    ///
    /// The refund has an id of its own: under a key of the order alone, a second partial refund
    /// would be answered with the first.
    pub fn refund(order: impl AsRef<[u8]>, refund: impl AsRef<[u8]>) -> KeyBuilder {
        Self::new("payment:refund", order).part(refund)
    }

    /// Begins the key of a provider's callback (a webhook, an IPN) about one transaction.
    pub fn callback(provider: impl AsRef<[u8]>, transaction: impl AsRef<[u8]>) -> KeyBuilder {
        Self::new("callback", provider).part(transaction)
    }

    /// Begins the key of one slot of a job's schedule: every moment within the same period of
    /// length `every`, counted from 1970, gives the same key.
    pub fn schedule_slot(
        job: impl AsRef<[u8]>,
        at: impl Into<crate::Timestamp>,
        every: std::time::Duration,
    ) -> KeyBuilder {
        builder::schedule_slot(job.as_ref(), at.into(), every)
    }

    /// Begins a key for callers that bring none: its id is the payload's own digest, so the same
    /// payload is the same operation. Two intended operations with equal payloads are one.
    pub fn from_payload<T: serde::Serialize + ?Sized>(operation: impl AsRef<[u8]>, payload: &T) -> KeyBuilder {
        builder::from_payload(operation.as_ref(), payload)
    }

    /// Reads a key's text, as [`Key::as_str`] gives it. The text has no fingerprint.
    ///
    /// # Errors
    /// [`KeyError`] where the text is not that of a key.
    pub fn parse(text: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        text::parse(text.as_ref())
    }

    /// The whole key as one readable, unambiguous text: `scope/operation/id`, with `%` and `/`
    /// inside a part written as `%25` and `%2F`. Stores keep records under this.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// [`Key::as_str`], shared: for stores that keep it in memory.
    #[must_use]
    pub fn to_shared_str(&self) -> Arc<str> {
        self.text.clone()
    }

    /// The scope, if the key has one.
    #[must_use]
    pub fn scope(&self) -> Option<String> {
        Some(self.nth_part(0)).filter(|scope| !scope.is_empty())
    }

    /// The operation, such as `payment:create`.
    #[must_use]
    pub fn operation(&self) -> String {
        self.nth_part(1)
    }

    /// The parts of the id.
    pub fn id_parts(&self) -> impl Iterator<Item = String> {
        self.text.split('/').skip(2).map(text::unescape)
    }

    /// The fingerprint of the request; [`Fingerprint::NONE`] where none was given.
    #[must_use]
    pub const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The same operation for another request.
    #[must_use]
    pub fn with_fingerprint(self, fingerprint: Fingerprint) -> Self {
        Self { fingerprint, ..self }
    }

    /// The key to send to whoever carries the effect out, so that it can deduplicate too.
    ///
    /// The same for every attempt of this key and request, and different for any other.
    #[must_use]
    pub fn downstream(&self) -> DownstreamKey {
        DownstreamKey::new(self, "")
    }

    /// As [`Key::downstream`], for one of several calls that the operation makes.
    #[must_use]
    pub fn downstream_for(&self, call: &str) -> DownstreamKey {
        DownstreamKey::new(self, call)
    }

    fn nth_part(&self, n: usize) -> String {
        self.text.split('/').nth(n).map(text::unescape).unwrap_or_default()
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}, {})", self.text, self.fingerprint)
    }
}

/// Why a key could not be built. Nothing of the part's content is shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// A part has no bytes.
    #[error("the key's {part} is empty")]
    Empty {
        /// Which part.
        part: &'static str,
    },
    /// A part has more than [`LONGEST_PART`] bytes.
    #[error("the key's {part} has {bytes} bytes; the most are {LONGEST_PART}")]
    TooLong {
        /// Which part.
        part: &'static str,
        /// How many bytes it has.
        bytes: usize,
    },
    /// A part has a control character.
    #[error("the key's {part} has the control character U+{:04X} at byte {at}", u32::from(*found))]
    ControlCharacter {
        /// Which part.
        part: &'static str,
        /// The byte it begins at.
        at: usize,
        /// The character.
        found: char,
    },
    /// A part is not UTF-8.
    #[error("the key's {part} is not UTF-8 from byte {at} on")]
    NotUtf8 {
        /// Which part.
        part: &'static str,
        /// The first byte that is not.
        at: usize,
    },
    /// The id has more than [`MOST_ID_PARTS`] parts.
    #[error("the key's id has {parts} parts; the most are {MOST_ID_PARTS}")]
    TooManyParts {
        /// How many it has.
        parts: usize,
    },
    /// A text given to [`Key::parse`] is not a key's.
    #[error("not the text of a key: {0}")]
    NotAKey(&'static str),
    /// The request's fingerprint could not be made.
    #[error(transparent)]
    Fingerprint(#[from] FingerprintError),
    /// A schedule's period is zero or overflows.
    #[error(transparent)]
    Period(#[from] InvalidDuration),
}
