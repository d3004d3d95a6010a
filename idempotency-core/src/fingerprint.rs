//! What tells one request from another under the same key.

mod canonical;

use std::fmt;

use serde::Serialize;
use sha2::{Digest, Sha256};

/// A versioned digest of the request that a key stands for.
///
/// A key that comes again with another fingerprint is not a retry: it is answered *mismatch*, and
/// nothing runs. Fingerprints of two versions of the algorithm are never equal.
///
/// [`Fingerprint::of`] takes any [`Serialize`] and does not depend on how it would be written:
/// fields of a struct and entries of a map count in any order, `7u8` and `7u64` are one number, and
/// a struct's field that is `None` counts as absent, so that adding an optional field does not
/// change the fingerprint of the requests that lack it. The order of sequences counts; a `HashSet`
/// has none, so give a sorted one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    version: u8,
    digest: [u8; 32],
}

impl Fingerprint {
    /// Stands for "no fingerprint was given": equal to itself and to no other.
    pub const NONE: Self = Self { version: 0, digest: [0; 32] };

    /// The version that [`Fingerprint::of`], [`Fingerprint::of_bytes`] and [`Fingerprint::of_parts`] make:
    /// SHA-256 over the canonical form of the value.
    pub const VERSION: u8 = 1;

    /// The fingerprint of a value's content.
    ///
    /// # Errors
    /// [`FingerprintError`] where the value's own `Serialize` fails.
    pub fn of<T: Serialize + ?Sized>(request: &T) -> Result<Self, FingerprintError> {
        let mut canonical = Vec::with_capacity(128);
        request.serialize(canonical::Canonical::new(&mut canonical))?;
        Ok(Self::digest(b"value", &canonical))
    }

    /// The fingerprint of raw bytes, such as a request's body as it came.
    #[must_use]
    pub fn of_bytes(request: &[u8]) -> Self {
        Self::digest(b"bytes", request)
    }

    /// The fingerprint of several pieces of raw bytes, in this order; where one ends and the next begins
    /// counts. Nothing is copied.
    #[must_use]
    pub fn of_parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let hashed = parts.into_iter().fold(Self::hasher(b"parts"), |hasher, part| {
            hasher.chain_update((part.len() as u64).to_le_bytes()).chain_update(part)
        });
        Self { version: Self::VERSION, digest: hashed.finalize().into() }
    }

    /// Puts a fingerprint together again from what a store kept.
    #[must_use]
    pub const fn from_parts(version: u8, digest: [u8; 32]) -> Self {
        Self { version, digest }
    }

    /// The algorithm's version; 0 for [`Fingerprint::NONE`].
    #[must_use]
    pub const fn version(&self) -> u8 {
        self.version
    }

    /// The digest itself.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.digest
    }

    fn digest(kind: &[u8; 5], content: &[u8]) -> Self {
        Self { version: Self::VERSION, digest: Self::hasher(kind).chain_update(content).finalize().into() }
    }

    fn hasher(kind: &[u8; 5]) -> Sha256 {
        Sha256::new().chain_update(b"idempotency fingerprint 1 ").chain_update(kind)
    }
}

/// `v1:` and the first 16 hexadecimal digits; `none` where none was given.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NONE {
            return f.write_str("none");
        }
        write!(f, "v{}:", self.version)?;
        self.digest.iter().take(8).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// The value could not be read: its own `Serialize` failed.
#[derive(Debug, thiserror::Error)]
#[error("the request has no fingerprint, as serializing it failed: {0}")]
pub struct FingerprintError(String);

impl serde::ser::Error for FingerprintError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}
