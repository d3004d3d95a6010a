//! How records lie in the database.
//!
//! | Key | Value |
//! |---|---|
//! | `r` + the key's text | the record in its envelope, or the head of its pieces |
//! | `R` + SHA-256 of a long key's text | the text's length and the text, then as above |
//! | `c` + the record's own key + id + number | a piece of a long record |
//! | `x` + minute + the record's own key | says when the record may be forgotten, at the earliest |
//! | `mfence` | the fences' high-water mark |

use idempotency_core::{Key, envelope};
use sha2::{Digest, Sha256};

use crate::journal::{ChunkId, VALUE_LIMIT};

/// Where the fences' high-water mark is.
pub(crate) const FENCES_KEY: &[u8] = b"mfence";
/// Begins the keys of records; those of long keys begin with [`LONG`].
pub(crate) const SHORT: u8 = b'r';
pub(crate) const LONG: u8 = b'R';
/// Begins the keys of pieces.
pub(crate) const PIECE: u8 = b'c';
/// Begins the keys of the expiry index.
pub(crate) const INDEX: u8 = b'x';

/// Longer texts are kept under their digest: sled's keys should be short, and pieces and the index
/// add to them.
const LONGEST_TEXT: usize = 255;

const HEAD_MAGIC: &[u8; 4] = b"idch";
const HEAD: usize = 4 + size_of::<ChunkId>() + 4 + 4;

/// The database key of a record.
pub(crate) fn record_key(key: &Key) -> Vec<u8> {
    let text = key.as_str().as_bytes();
    if text.len() <= LONGEST_TEXT { [&[SHORT], text].concat() } else { [&[LONG][..], &Sha256::digest(text)].concat() }
}

/// The prefix of a record's pieces.
pub(crate) fn piece_prefix(record_key: &[u8]) -> Vec<u8> {
    [&[PIECE], record_key].concat()
}

/// The record's own key and the id in the key of a piece.
pub(crate) fn of_piece(piece_key: &[u8]) -> Option<(&[u8], ChunkId)> {
    let (rest, _number) = piece_key.split_last_chunk::<4>()?;
    let (rest, id) = rest.split_last_chunk::<{ size_of::<ChunkId>() }>()?;
    Some((rest.strip_prefix(&[PIECE])?, *id))
}

/// What the value of a record's key holds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Body<'a> {
    /// The record, in its envelope.
    Whole(&'a [u8]),
    /// The envelope is in pieces.
    Pieces { id: ChunkId, len: usize },
}

/// Bytes that are not as this module writes them.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Garbled(&'static str);

/// Puts the text of a long key before the body.
fn headed(key: &Key, body: &[u8]) -> Vec<u8> {
    let text = key.as_str().as_bytes();
    if text.len() <= LONGEST_TEXT {
        return body.to_vec();
    }
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes(), text, body].concat()
}

/// The value for a record whose envelope fits into it.
pub(crate) fn whole(key: &Key, envelope: &[u8]) -> Option<Vec<u8>> {
    let value = headed(key, envelope);
    (value.len() <= VALUE_LIMIT).then_some(value)
}

/// The value for a record whose envelope is in pieces.
pub(crate) fn pieces(key: &Key, id: &ChunkId, len: usize) -> Vec<u8> {
    let length = u32::try_from(len).unwrap_or(u32::MAX);
    let mut head = [&HEAD_MAGIC[..], id, &length.to_be_bytes()].concat();
    let checksum = checksum(key, &head);
    head.extend_from_slice(&checksum.to_be_bytes());
    headed(key, &head)
}

/// Splits the text of a long key off a value.
pub(crate) fn key_and_body<'a>(record_key: &'a [u8], value: &'a [u8]) -> Result<(&'a [u8], &'a [u8]), Garbled> {
    match record_key.split_first() {
        Some((&SHORT, text)) => Ok((text, value)),
        Some((&LONG, _)) => {
            let (length, rest) = value.split_first_chunk::<2>().ok_or(Garbled("a long key's text is cut off"))?;
            let length = usize::from(u16::from_be_bytes(*length));
            rest.split_at_checked(length).ok_or(Garbled("a long key's text is cut off"))
        }
        _ => Err(Garbled("the key is not that of a record")),
    }
}

/// Reads the value of a record's key.
pub(crate) fn body<'a>(key: &Key, record_key: &'a [u8], value: &'a [u8]) -> Result<Body<'a>, Garbled> {
    let (text, body) = key_and_body(record_key, value)?;
    if text != key.as_str().as_bytes() {
        return Err(Garbled("the long key's text is another's"));
    }
    let Some(rest) = body.strip_prefix(HEAD_MAGIC) else { return Ok(Body::Whole(body)) };
    let whole: &[u8; HEAD] =
        body.try_into().map_err(|_| Garbled("the head of a record in pieces has another length"))?;
    let (framed, kept) = whole.split_at(HEAD - 4);
    if checksum(key, framed).to_be_bytes() != kept {
        return Err(Garbled("the checksum of the head of a record in pieces does not fit"));
    }
    match rest.split_first_chunk() {
        Some((id, [a, b, c, d, ..])) => {
            Ok(Body::Pieces { id: *id, len: u32::from_be_bytes([*a, *b, *c, *d]) as usize })
        }
        _ => Err(Garbled("the head of a record in pieces is cut off")),
    }
}

fn checksum(key: &Key, head: &[u8]) -> u32 {
    envelope::checksum(key, head)
}
