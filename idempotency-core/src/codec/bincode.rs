//! The default codec.

use std::marker::PhantomData;

use bincode::config::{Config, standard};
use bincode::error::{DecodeError, EncodeError};
use bincode::serde::{encode_into_std_write, seed_decode_from_slice};
use serde::Serialize;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error as _};

use super::content::content_of;
use super::redact::redacted;
use super::{Codec, CodecError, Target};
use crate::key::Key;

/// No value is larger when decoded: a damaged length cannot ask for more.
const DECODE_LIMIT: usize = 64 * 1024 * 1024;

/// bincode 2: small and fast, not self-describing.
///
/// Types that look at the data to know what they are cannot be replayed from it: `serde_json::Value`,
/// enums with `#[serde(tag)]` or `untagged`, `flatten`, `skip_serializing_if`. Use `Json` for those
/// (feature `json`). It is found on the first run with such a value, not on its retry: the outcome
/// says that the value was not recorded. A type of which only some values are skipped is found only
/// when one is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bincode;

const fn config() -> impl Config {
    standard().with_limit::<DECODE_LIMIT>()
}

impl Codec for Bincode {
    fn id(&self) -> &str {
        "bincode2"
    }

    fn encode(&self, _: &Key, value: &dyn erased_serde::Serialize, out: &mut Vec<u8>) -> Result<(), CodecError> {
        encode(value, out)
    }

    fn decode(&self, _: &Key, bytes: &[u8], into: &mut dyn Target) -> Result<(), CodecError> {
        let (content, bytes) = split(bytes)?;
        read(Into(into), bytes)?;
        same(content, into.content())
    }
}

/// Appends any value's content, as a number, and its bytes.
pub(super) fn encode<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
    out.extend_from_slice(&content_of(value).to_le_bytes());
    encode_into_std_write(value, out, config()).map(drop).map_err(|error| {
        CodecError::encode(match error {
            EncodeError::OtherString(message) => redacted(&message),
            other => other.to_string(),
        })
    })
}

/// Reads a value from exactly these bytes, and sees that it is the one that was written.
pub(super) fn decode<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    let (content, bytes) = split(bytes)?;
    let value: T = read(PhantomData, bytes)?;
    same(content, content_of(&value))?;
    Ok(value)
}

fn split(bytes: &[u8]) -> Result<(u64, &[u8]), CodecError> {
    let (content, bytes) = bytes.split_first_chunk().ok_or_else(|| CodecError::decode("it is too short"))?;
    Ok((u64::from_le_bytes(*content), bytes))
}

fn read<'de, S: DeserializeSeed<'de>>(seed: S, bytes: &'de [u8]) -> Result<S::Value, CodecError> {
    let (value, read) = seed_decode_from_slice(seed, bytes, config()).map_err(|error| {
        CodecError::decode(match error {
            DecodeError::OtherString(message) => redacted(&message),
            other => other.to_string(),
        })
    })?;
    match bytes.len() - read {
        0 => Ok(value),
        left => Err(CodecError::decode(format!("{left} bytes are left over"))),
    }
}

const fn same(written: u64, read: u64) -> Result<(), CodecError> {
    if written == read { Ok(()) } else { Err(CodecError::Shape { stored: String::new(), asked: "value" }) }
}

struct Into<'a>(&'a mut dyn Target);

impl<'de> DeserializeSeed<'de> for Into<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        self.0.read(&mut <dyn erased_serde::Deserializer<'_>>::erase(from)).map_err(D::Error::custom)
    }
}
