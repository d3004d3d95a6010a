//! Encryption and compression round a codec.

use std::fmt;

use super::{Codec, CodecError, FormatError, Target};
use crate::key::Key;

/// Changes encoded bytes on their way to the store and back: encrypts, signs or compresses them.
///
/// The key's text is given along, to be bound to the bytes (as associated data, say), so that a
/// ciphertext copied under another key does not open there.
pub trait Transform: fmt::Debug + Send + Sync + 'static {
    /// Names the transformation, and the version of its secret where it has one, in a few bytes.
    fn id(&self) -> &str;

    /// Changes the bytes on their way to the store.
    ///
    /// # Errors
    /// Any; the operation's value is then given to its caller and recorded as not replayable.
    fn seal(&self, key: &Key, plain: &[u8]) -> Result<Vec<u8>, FormatError>;

    /// Changes them back.
    ///
    /// # Errors
    /// Any, where the bytes are not what [`Transform::seal`] made for this key.
    fn open(&self, key: &Key, sealed: &[u8]) -> Result<Vec<u8>, FormatError>;
}

/// A codec whose bytes go through a [`Transform`].
#[derive(Debug)]
pub struct Transformed<C, T> {
    codec: C,
    transform: T,
    id: String,
}

impl<C: Codec, T: Transform> Transformed<C, T> {
    /// Sends what `codec` writes through `transform`.
    #[must_use]
    pub fn new(codec: C, transform: T) -> Self {
        let id = format!("{}({})", transform.id(), codec.id());
        Self { codec, transform, id }
    }
}

impl<C: Codec, T: Transform> Codec for Transformed<C, T> {
    fn id(&self) -> &str {
        &self.id
    }

    fn encode(&self, key: &Key, value: &dyn erased_serde::Serialize, out: &mut Vec<u8>) -> Result<(), CodecError> {
        let mut plain = Vec::new();
        self.codec.encode(key, value, &mut plain)?;
        let sealed = self.transform.seal(key, &plain).map_err(CodecError::encode)?;
        out.extend_from_slice(&sealed);
        Ok(())
    }

    fn decode(&self, key: &Key, bytes: &[u8], into: &mut dyn Target) -> Result<(), CodecError> {
        let plain = self.transform.open(key, bytes).map_err(CodecError::decode)?;
        self.codec.decode(key, &plain, into)
    }
}
