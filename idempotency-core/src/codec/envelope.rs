//! The envelope in which every stored result sits.
//!
//! `iv`, version, codec id, type name, payload, checksum; each length before what has one. The type's
//! name is for people; what is compared is the codec's id.

use std::any::type_name;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;

use super::content::content_of;
use super::{AnyCodec, CodecError, Replay};
use crate::key::Key;
use crate::record::Omitted;

const MAGIC_AND_VERSION: [u8; 3] = [b'i', b'v', 1];
const CHECKSUM: usize = 4;

/// Why a value has no bytes.
#[derive(Debug)]
pub(crate) enum Unencodable {
    /// It does not encode, or does not decode again.
    Codec(CodecError),
    /// It is over the limit.
    TooLarge {
        /// Its encoded size.
        bytes: usize,
    },
}

impl Unencodable {
    pub(crate) const fn as_omitted(&self) -> Omitted {
        match self {
            Self::Codec(_) => Omitted::NotEncodable,
            Self::TooLarge { .. } => Omitted::TooLarge,
        }
    }
}

/// Encodes a value, and decodes it once to see that it can be replayed.
pub(crate) fn encode<T: Replay>(codec: &AnyCodec, key: &Key, value: &T, limit: usize) -> Result<Bytes, Unencodable> {
    let name = type_name::<T>();
    let sealed = unpanicked(CodecError::encode, || {
        let mut out = Vec::with_capacity(512);
        out.extend_from_slice(&MAGIC_AND_VERSION);
        push_short(&mut out, codec.id());
        push_short(&mut out, name);
        codec.encode(key, value, &mut out)?;
        let checksum = crc32fast::hash(&out);
        out.extend_from_slice(&checksum.to_le_bytes());
        Ok(out)
    });
    let sealed = sealed.map_err(|error| Unencodable::Codec(error.naming(name, name)))?;
    if sealed.len() > limit {
        return Err(Unencodable::TooLarge { bytes: sealed.len() });
    }
    match decode::<T>(codec, key, &sealed) {
        // What is kept takes no more room than it needs, as there may be millions.
        Ok(read) if codec.compares() || content_of(&read) == content_of(value) => Ok(Bytes::copy_from_slice(&sealed)),
        Ok(_) => Err(Unencodable::Codec(CodecError::Shape { stored: name.into(), asked: name })),
        Err(error) => Err(Unencodable::Codec(error)),
    }
}

/// Decodes a stored value.
pub(crate) fn decode<T: Replay>(codec: &AnyCodec, key: &Key, sealed: &[u8]) -> Result<T, CodecError> {
    let asked = type_name::<T>();
    let parts = Parts::of(sealed)?;
    if parts.codec != codec.id() {
        return Err(CodecError::OtherCodec { stored: parts.codec.into(), asked: codec.id().into() });
    }
    unpanicked(CodecError::decode, || codec.decode(key, parts.payload))
        .map_err(|error| error.naming(parts.type_name, asked))
}

/// Runs the value's own (de)serialization; a panic in it is an error, not the caller's end.
fn unpanicked<T>(
    panicked: fn(&'static str) -> CodecError,
    work: impl FnOnce() -> Result<T, CodecError>,
) -> Result<T, CodecError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(panicked("it panicked")))
}

fn push_short(out: &mut Vec<u8>, text: &str) {
    let kept = text.floor_char_boundary(usize::from(u8::MAX));
    out.push(u8::try_from(kept).unwrap_or(u8::MAX));
    out.extend_from_slice(&text.as_bytes()[..kept]);
}

struct Parts<'a> {
    codec: &'a str,
    type_name: &'a str,
    payload: &'a [u8],
}

impl<'a> Parts<'a> {
    fn of(sealed: &'a [u8]) -> Result<Self, CodecError> {
        let damaged = |what| CodecError::Damaged { bytes: sealed.len(), what };
        let rest = sealed.strip_prefix(&MAGIC_AND_VERSION).ok_or_else(|| damaged("it does not begin as one"))?;
        let (_, checksum) = sealed.split_last_chunk::<CHECKSUM>().ok_or_else(|| damaged("it is too short"))?;
        let framed = sealed.len() - CHECKSUM;
        if crc32fast::hash(&sealed[..framed]) != u32::from_le_bytes(*checksum) {
            return Err(damaged("its checksum does not fit"));
        }
        let rest = rest.get(..rest.len().saturating_sub(CHECKSUM)).unwrap_or_default();
        Self::read(rest).ok_or_else(|| damaged("its head is cut off"))
    }

    fn read(rest: &'a [u8]) -> Option<Self> {
        let (codec, rest) = split_short(rest)?;
        let (type_name, payload) = split_short(rest)?;
        Some(Self { codec, type_name, payload })
    }
}

fn split_short(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (&length, rest) = bytes.split_first()?;
    let (text, rest) = rest.split_at_checked(usize::from(length))?;
    Some((std::str::from_utf8(text).ok()?, rest))
}
