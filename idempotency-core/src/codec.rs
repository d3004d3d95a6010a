//! Results to bytes and back.

mod bincode;
mod content;
mod envelope;
#[cfg(feature = "json")]
mod json;
mod redact;
mod transform;

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::bincode::Bincode;
#[cfg(feature = "json")]
pub use self::json::Json;
pub use self::transform::{Transform, Transformed};
pub(crate) use envelope::{Unencodable, decode, encode};

use crate::key::Key;

/// A value that can be stored and given back: whatever serde writes and reads.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be kept and given to a duplicate",
    note = "derive `serde::Serialize` and `serde::Deserialize` for it; it must own all it holds"
)]
pub trait Replay: Serialize + DeserializeOwned + Send {}

impl<T: Serialize + DeserializeOwned + Send> Replay for T {}

/// Turns results into bytes and back.
///
/// [`Bincode`] is the default: small and fast, but a value must come back as the very type it was.
/// With the feature `json`, `Json` is for values that change shape between releases or that people
/// read. [`Transformed`] wraps a codec to encrypt or compress what it writes.
///
/// What a codec writes is kept in an envelope with its id, the type's name and a checksum, so that a
/// codec is never given damaged bytes or those of another. A format that does not say what it holds
/// must itself see that it reads what it wrote, as [`Bincode`] does: see [`Target::content`].
pub trait Codec: fmt::Debug + Send + Sync + 'static {
    /// Names the format, in 1 to 64 bytes. Results of another id are not decoded.
    fn id(&self) -> &str;

    /// Appends the value's bytes to `out`.
    ///
    /// # Errors
    /// [`CodecError::Encode`]
    fn encode(&self, key: &Key, value: &dyn erased_serde::Serialize, out: &mut Vec<u8>) -> Result<(), CodecError>;

    /// Reads the value from exactly these bytes.
    ///
    /// # Errors
    /// [`CodecError::Decode`], also where bytes are left over.
    fn decode(&self, key: &Key, bytes: &[u8], into: &mut dyn Target) -> Result<(), CodecError>;
}

/// Where a decoded value goes.
pub trait Target {
    /// Reads the value from a deserializer.
    ///
    /// # Errors
    /// The deserializer's.
    fn read(&mut self, from: &mut dyn erased_serde::Deserializer<'_>) -> Result<(), erased_serde::Error>;

    /// The content of the value that was read, as one number: equal to [`content_of`] the value that
    /// was written, unless it was read wrongly.
    fn content(&self) -> u64;
}

/// The content of a value as one number: the names, types and values of all that it is made of, in
/// any order of the elements of its sequences and maps. For codecs of formats that do not say what
/// they hold; no secret should be guessed from it, so it belongs inside of what is encrypted.
#[must_use]
pub fn content_of(value: &dyn erased_serde::Serialize) -> u64 {
    content::content_of(value)
}

/// A result could not be encoded or decoded. Nothing of the value is shown: what serde says of it is
/// cut to names of types and fields.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The value does not encode.
    #[error("the value of type {type_name} does not encode: {source}")]
    Encode {
        /// The value's type.
        type_name: &'static str,
        /// The format's own error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The bytes do not decode as this type.
    #[error("the stored {stored} does not decode as {asked}: {source}")]
    Decode {
        /// The type that was stored.
        stored: String,
        /// The type that was asked for.
        asked: &'static str,
        /// The format's own error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The bytes read as another value than was written: the types differ in a field, a variant or a
    /// number's type, or one field is skipped.
    #[error(
        "the stored {stored} reads as another value as {asked}: they differ in a field, a variant or a number's type"
    )]
    Shape {
        /// The type that was stored.
        stored: String,
        /// The type that was asked for.
        asked: &'static str,
    },
    /// Another codec wrote it.
    #[error("the result was stored by codec `{stored}`, but is read by `{asked}`")]
    OtherCodec {
        /// The codec that stored it.
        stored: String,
        /// The codec that was to read it.
        asked: String,
    },
    /// The bytes are no stored result, or damaged.
    #[error("the stored result of {bytes} bytes is damaged: {what}")]
    Damaged {
        /// How many bytes there are.
        bytes: usize,
        /// What is wrong with them.
        what: &'static str,
    },
}

/// The codec of a handle. Our own are known by name: they need not go through erased types, which cost
/// a small value as much as everything else.
#[derive(Clone, Debug)]
pub(crate) enum AnyCodec {
    Bincode,
    #[cfg(feature = "json")]
    Json,
    Other(Arc<dyn Codec>),
}

impl AnyCodec {
    pub(crate) fn new(codec: impl Codec) -> Self {
        // `C` is a type of its own, so this is known when the program is built.
        match &codec as &dyn Any {
            known if known.is::<Bincode>() => Self::Bincode,
            #[cfg(feature = "json")]
            known if known.is::<Json>() => Self::Json,
            _ => Self::Other(Arc::new(codec)),
        }
    }

    fn id(&self) -> &str {
        match self {
            Self::Bincode => Bincode.id(),
            #[cfg(feature = "json")]
            Self::Json => Json.id(),
            Self::Other(codec) => codec.id(),
        }
    }

    /// Whether the codec itself sees that it reads what it wrote.
    const fn compares(&self) -> bool {
        matches!(self, Self::Bincode)
    }

    fn encode<T: Serialize>(&self, key: &Key, value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        match self {
            Self::Bincode => self::bincode::encode(value, out),
            #[cfg(feature = "json")]
            Self::Json => self::json::encode(value, out),
            Self::Other(codec) => codec.encode(key, value, out),
        }
    }

    fn decode<T: Serialize + DeserializeOwned>(&self, key: &Key, bytes: &[u8]) -> Result<T, CodecError> {
        match self {
            Self::Bincode => self::bincode::decode(bytes),
            #[cfg(feature = "json")]
            Self::Json => self::json::decode(bytes),
            Self::Other(codec) => {
                let mut slot = Slot(None);
                codec.decode(key, bytes, &mut slot)?;
                slot.0.ok_or_else(|| CodecError::decode("the codec gave no value"))
            }
        }
    }
}

struct Slot<T>(Option<T>);

impl<T: Serialize + DeserializeOwned> Target for Slot<T> {
    fn read(&mut self, from: &mut dyn erased_serde::Deserializer<'_>) -> Result<(), erased_serde::Error> {
        self.0 = Some(erased_serde::deserialize(from)?);
        Ok(())
    }

    fn content(&self) -> u64 {
        self.0.as_ref().map_or(0, content::content_of)
    }
}

/// Any failure of a format, before it is known for which type.
pub(crate) type FormatError = Box<dyn std::error::Error + Send + Sync>;

impl CodecError {
    /// A failure to encode, for codecs.
    pub fn encode(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Encode { type_name: "value", source: source.into() }
    }

    /// A failure to decode, for codecs.
    pub fn decode(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Decode { stored: "value".into(), asked: "value", source: source.into() }
    }

    /// Names the types, which a codec does not know.
    fn naming(self, stored: &str, asked: &'static str) -> Self {
        match self {
            Self::Encode { source, .. } => Self::Encode { type_name: asked, source },
            Self::Decode { source, .. } => Self::Decode { stored: stored.into(), asked, source },
            Self::Shape { .. } => Self::Shape { stored: stored.into(), asked },
            other @ (Self::OtherCodec { .. } | Self::Damaged { .. }) => other,
        }
    }
}
