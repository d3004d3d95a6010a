//! The key that goes to whoever carries the effect out.

use std::fmt;

use sha2::{Digest, Sha256};

use super::Key;

/// A key for the provider's own deduplication: the same for every attempt of one key and request.
///
/// It has the form of a UUID (version 8, RFC 9562 section 5.8), which the providers we know of take
/// (Stripe: up to 255 characters; Adyen: up to 64; others: a UUID), and shows nothing of the key.
/// Results should not be kept longer than the provider keeps its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DownstreamKey(String);

impl DownstreamKey {
    pub(super) fn new(key: &Key, call: &str) -> Self {
        let fingerprint = key.fingerprint();
        let digest = Sha256::new()
            .chain_update(b"idempotency downstream 1 ")
            .chain_update((key.as_str().len() as u64).to_be_bytes())
            .chain_update(key.as_str())
            .chain_update([fingerprint.version()])
            .chain_update(fingerprint.as_bytes())
            .chain_update(call)
            .finalize();
        let mut hex = String::with_capacity(36);
        for (at, byte) in digest.iter().take(16).enumerate() {
            let byte = match at {
                6 => byte & 0x0F | 0x80,
                8 => byte & 0x3F | 0x80,
                _ => *byte,
            };
            if matches!(at, 4 | 6 | 8 | 10) {
                hex.push('-');
            }
            hex.push_str(&format!("{byte:02x}"));
        }
        Self(hex)
    }

    /// The key as text, 36 characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DownstreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<DownstreamKey> for String {
    fn from(key: DownstreamKey) -> Self {
        key.0
    }
}
