//! The default codec.

use bincode::config::{Config, standard};
use bincode::serde::{encode_into_std_write, seed_decode_from_slice};
use serde::Serialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _};

use super::{Codec, CodecError, Target};
use crate::key::Key;

/// No value is larger when decoded: a damaged length cannot ask for more.
const DECODE_LIMIT: usize = 64 * 1024 * 1024;

/// bincode 2: small and fast, not self-describing.
///
/// Types that look at the data to know what they are (`serde_json::Value`, untagged or internally
/// tagged enums, `skip_serializing_if`) encode but do not decode. That is found on the first run,
/// not on the first retry: the outcome says that the value was not recorded.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bincode;

const fn config() -> impl Config {
    standard().with_limit::<DECODE_LIMIT>()
}

impl Codec for Bincode {
    fn id(&self) -> &str {
        "bincode2"
    }

    fn is_self_describing(&self) -> bool {
        false
    }

    fn encode(&self, _: &Key, value: &dyn erased_serde::Serialize, out: &mut Vec<u8>) -> Result<(), CodecError> {
        encode(&value, out)
    }

    fn decode(&self, _: &Key, bytes: &[u8], into: &mut dyn Target) -> Result<(), CodecError> {
        decode(Into(into), bytes)
    }
}

/// Appends any value's bytes.
pub(super) fn encode<T: Serialize>(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
    encode_into_std_write(value, out, config()).map(drop).map_err(CodecError::encode)
}

/// Reads a value from exactly these bytes.
pub(super) fn decode<'de, S: DeserializeSeed<'de>>(seed: S, bytes: &'de [u8]) -> Result<S::Value, CodecError> {
    let (value, read) = seed_decode_from_slice(seed, bytes, config()).map_err(CodecError::decode)?;
    match bytes.len() - read {
        0 => Ok(value),
        left => Err(CodecError::decode(format!("{left} bytes are left over"))),
    }
}

struct Into<'a>(&'a mut dyn Target);

impl<'de> DeserializeSeed<'de> for Into<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        self.0.read(&mut <dyn erased_serde::Deserializer<'_>>::erase(from)).map_err(D::Error::custom)
    }
}
