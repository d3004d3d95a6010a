//! Where a request's key comes from.

use rand::RngExt;

use crate::header::{HeaderError, HeaderKey, LONGEST_KEY};

/// A key of the caller's own, as an extension of a request.
///
/// ```
/// # use idempotency_http::client::{ClientKey, reqwest_middleware::ClientWithMiddleware};
/// # fn example(client: ClientWithMiddleware) -> Result<(), Box<dyn std::error::Error>> {
/// let request = client.post("http://localhost/payments").with_extension(ClientKey::new("order-42-paid")?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientKey(HeaderKey);

impl ClientKey {
    /// Takes a key.
    ///
    /// # Errors
    /// [`HeaderError`]: empty, too long, or not of printable ASCII.
    pub fn new(key: impl Into<String>) -> Result<Self, HeaderError> {
        HeaderKey::new(key).map(Self)
    }

    /// A new random key: 122 random bits, written as a UUID of version 4.
    ///
    /// Whoever makes it before the first request can keep it with what is to be done.
    #[must_use]
    pub fn random() -> Self {
        Self(random())
    }

    /// The key.
    #[must_use]
    pub const fn key(&self) -> &HeaderKey {
        &self.0
    }

    pub(super) fn into_key(self) -> HeaderKey {
        self.0
    }
}

impl From<HeaderKey> for ClientKey {
    fn from(key: HeaderKey) -> Self {
        Self(key)
    }
}

/// The caller's name of a logical operation, as an extension of a request: its key is kept under it in the
/// [`KeyStore`](super::KeyStore), so that a restarted process sends the same one.
///
/// One name is one operation, for ever: `order-42`, not `order`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Operation(String);

/// A name that no operation has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an operation's name has 1 to {LONGEST_KEY} bytes; this one has {bytes}")]
#[non_exhaustive]
pub struct OperationError {
    /// How many it has.
    pub bytes: usize,
}

impl Operation {
    /// Takes a name of 1 to 255 bytes.
    ///
    /// # Errors
    /// [`OperationError`]: empty or too long.
    pub fn new(name: impl Into<String>) -> Result<Self, OperationError> {
        let name = name.into();
        match name.len() {
            1..=LONGEST_KEY => Ok(Self(name)),
            bytes => Err(OperationError { bytes }),
        }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }
}

/// A random key, as a UUID of version 4 is written (RFC 9562, section 5.4).
pub(super) fn random() -> HeaderKey {
    let mut bits: u128 = rand::rng().random();
    bits = (bits & !(0xf << 76)) | (0x4 << 76);
    bits = (bits & !(0x3 << 62)) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    let (a, b, c, d, e) = (&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
    HeaderKey::of_valid(format!("{a}-{b}-{c}-{d}-{e}"))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn random_keys_are_uuids_and_differ() {
        let keys: HashSet<String> = (0..10_000).map(|_| String::from(random())).collect();
        assert_eq!(keys.len(), 10_000);
        for key in &keys {
            assert!(HeaderKey::new(key.clone()).is_ok());
            let groups: Vec<&str> = key.split('-').collect();
            assert!(groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12]), "{key}");
            assert!(groups[2].starts_with('4') && "89ab".contains(&groups[3][..1]), "{key}");
        }
    }

    #[test]
    fn a_name_has_a_length() {
        assert_eq!(Operation::new("").unwrap_err().bytes, 0);
        assert_eq!(Operation::new("é".repeat(128)).unwrap_err().bytes, 256);
        assert_eq!(Operation::new("order 42\n").unwrap().name(), "order 42\n");
    }
}
