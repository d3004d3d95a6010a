//! Records as bytes, for stores that keep bytes.
//!
//! Magic, format version, length, content, checksum. The checksum (CRC-32, so that every single
//! flipped bit is found) covers the key too: a record that strayed under another key is damage.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::fingerprint::Fingerprint;
use crate::key::Key;
use crate::lock::{Fence, Lock, OnUnknown, Owner};
use crate::note::{Attributes, Context, InvalidNote};
use crate::record::{Completion, Ended, Omitted, Prior, Record, State};
use crate::time::Timestamp;

const MAGIC: [u8; 4] = *b"idem";
const VERSION: u8 = 1;
/// Magic, version, and the content's length.
const HEAD: usize = 4 + 1 + 4;
const CHECKSUM: usize = 4;
/// No content comes near it, as the value stands apart: a damaged length cannot ask for more.
const CONTENT_LIMIT: usize = 1 << 20;

/// Bytes that are not the record they should be. Nothing of their content is shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// The bytes do not begin as a record does: something else wrote them.
    #[error("{found} bytes that are no record of this library (its first four bytes are `idem`)")]
    Foreign {
        /// How many bytes there are.
        found: usize,
    },
    /// A version this library does not know: a newer one wrote it.
    #[error("a record of format version {found}, but this library knows only version {VERSION}")]
    Version {
        /// The version found.
        found: u8,
    },
    /// There are too few or too many bytes.
    #[error("a record of {found} bytes that should have {expected}")]
    Length {
        /// How many bytes there should be.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// The checksum does not fit the key and the bytes.
    #[error("a record whose checksum is {found:08x} but should be {expected:08x}: damaged, or another key's")]
    Checksum {
        /// The checksum of what is there.
        expected: u32,
        /// The checksum that was kept.
        found: u32,
    },
    /// The checksum is right but the content cannot be read: a defect of the writer.
    #[error("a record whose content does not decode")]
    Content(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The content of version 1, as bincode writes it (little-endian, variable-length integers).
#[derive(Serialize, Deserialize)]
struct Content {
    fingerprint: (u8, [u8; 32]),
    owner: u128,
    fence: u64,
    attempt: u32,
    prior: Option<PriorContent>,
    on_unknown: u8,
    acquired_at: u64,
    trace_parent: Option<String>,
    correlation_id: Option<String>,
    attributes: BTreeMap<String, String>,
    state: StateContent,
}

#[derive(Serialize, Deserialize)]
struct PriorContent {
    attempt: u32,
    fence: u64,
    ended_at: u64,
    told: bool,
    remembered_until: u64,
}

#[derive(Serialize, Deserialize)]
enum StateContent {
    InProgress {
        lease_until: u64,
        confirmed: bool,
        retention: Duration,
        unknown_retention: Duration,
    },
    Unknown {
        until: u64,
    },
    Released {
        until: u64,
    },
    /// The value itself follows the content as it is.
    Completed {
        at: u64,
        until: u64,
        omitted: Option<u8>,
    },
}

const fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<CONTENT_LIMIT>()
}

/// Writes a record as bytes, to be kept under `key`.
#[must_use]
pub fn encode(key: &Key, record: &Record) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(192);
    bytes.extend_from_slice(&MAGIC);
    bytes.push(VERSION);
    bytes.extend_from_slice(&[0; 4]);
    let content = Content::from(record);
    // Writing plain data into memory cannot fail; were it to, the checksum would still tell.
    if let Err(error) = bincode::serde::encode_into_std_write(&content, &mut bytes, config()) {
        tracing::error!(%error, "a record could not be encoded");
    }
    bytes.extend_from_slice(record.value());
    let length = u32::try_from(bytes.len() - HEAD).unwrap_or(u32::MAX);
    bytes[5..HEAD].copy_from_slice(&length.to_le_bytes());
    let checksum = checksum(key, &bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Reads the bytes kept under `key`.
///
/// # Errors
/// [`Damage`], for every byte sequence that [`encode`] did not make for this key.
pub fn decode(key: &Key, bytes: &[u8]) -> Result<Record, Damage> {
    if !bytes.starts_with(&MAGIC) {
        return Err(Damage::Foreign { found: bytes.len() });
    }
    if let Some(&found) = bytes.get(4).filter(|found| **found != VERSION) {
        return Err(Damage::Version { found });
    }
    let length = bytes.get(5..HEAD).and_then(|length| length.try_into().ok()).map_or(0, u32::from_le_bytes);
    let expected = HEAD + length as usize + CHECKSUM;
    let (Some((framed, kept)), true) = (bytes.split_last_chunk::<CHECKSUM>(), bytes.len() == expected) else {
        return Err(Damage::Length { expected, found: bytes.len() });
    };
    let (expected, found) = (checksum(key, framed), u32::from_le_bytes(*kept));
    if expected != found {
        return Err(Damage::Checksum { expected, found });
    }
    let content = &framed[HEAD..];
    let (decoded, read): (Content, usize) =
        bincode::serde::decode_from_slice(content, config()).map_err(|error| Damage::Content(Box::new(error)))?;
    let mut record = Record::try_from(decoded).map_err(Damage::Content)?;
    match (&mut record.state, &content[read..]) {
        (State::Completed { result: Completion::Value(value), .. }, rest) => *value = Bytes::copy_from_slice(rest),
        (_, []) => {}
        (_, rest) => return Err(Damage::Length { expected: read, found: read + rest.len() }),
    }
    Ok(record)
}

/// The checksum of bytes kept under `key`: CRC-32 over the key's text and the bytes.
#[must_use]
pub fn checksum(key: &Key, framed: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key.as_str().as_bytes());
    hasher.update(framed);
    hasher.finalize()
}

impl From<&Record> for Content {
    fn from(record: &Record) -> Self {
        Self {
            fingerprint: (record.fingerprint.version(), *record.fingerprint.as_bytes()),
            owner: record.lock.owner.as_u128(),
            fence: record.lock.fence.get(),
            attempt: record.attempt,
            prior: record.prior.map(|prior| PriorContent {
                attempt: prior.attempt,
                fence: prior.fence.get(),
                ended_at: prior.ended_at.as_micros(),
                told: prior.ended == Ended::Told,
                remembered_until: prior.remembered_until.as_micros(),
            }),
            on_unknown: match record.on_unknown {
                OnUnknown::RunAgain => 0,
                OnUnknown::Reconcile => 1,
                OnUnknown::Refuse => 2,
            },
            acquired_at: record.acquired_at.as_micros(),
            trace_parent: record.context.trace_parent().map(Into::into),
            correlation_id: record.context.correlation_id().map(Into::into),
            attributes: record.attributes.iter().map(|(name, value)| (name.into(), value.into())).collect(),
            state: StateContent::from(&record.state),
        }
    }
}

impl From<&State> for StateContent {
    fn from(state: &State) -> Self {
        match state {
            State::InProgress { lease_until, confirmed, retention, unknown_retention } => Self::InProgress {
                lease_until: lease_until.as_micros(),
                confirmed: *confirmed,
                retention: *retention,
                unknown_retention: *unknown_retention,
            },
            State::Unknown { until } => Self::Unknown { until: until.as_micros() },
            State::Released { until } => Self::Released { until: until.as_micros() },
            State::Completed { at, until, result } => {
                let omitted = match result {
                    Completion::Value(_) => None,
                    Completion::Omitted(why) => Some(omitted_to_u8(*why)),
                };
                Self::Completed { at: at.as_micros(), until: until.as_micros(), omitted }
            }
        }
    }
}

type Unreadable = Box<dyn std::error::Error + Send + Sync>;

impl TryFrom<Content> for Record {
    type Error = Unreadable;

    fn try_from(content: Content) -> Result<Self, Unreadable> {
        let (version, digest) = content.fingerprint;
        Ok(Self {
            fingerprint: Fingerprint::from_parts(version, digest),
            lock: Lock { owner: Owner::from_u128(content.owner), fence: Fence::new(content.fence) },
            attempt: content.attempt,
            prior: content.prior.map(|prior| Prior {
                attempt: prior.attempt,
                fence: Fence::new(prior.fence),
                ended_at: Timestamp::from_micros(prior.ended_at),
                ended: if prior.told { Ended::Told } else { Ended::Lapsed },
                remembered_until: Timestamp::from_micros(prior.remembered_until),
            }),
            on_unknown: match content.on_unknown {
                0 => OnUnknown::RunAgain,
                1 => OnUnknown::Reconcile,
                2 => OnUnknown::Refuse,
                other => return Err(format!("unknown policy {other}").into()),
            },
            acquired_at: Timestamp::from_micros(content.acquired_at),
            context: context(content.trace_parent, content.correlation_id)?,
            attributes: content
                .attributes
                .into_iter()
                .try_fold(Attributes::default(), |attributes, (name, value)| attributes.with(name, value))?,
            state: content.state.try_into()?,
        })
    }
}

fn context(trace_parent: Option<String>, correlation_id: Option<String>) -> Result<Context, InvalidNote> {
    let mut context = Context::default();
    if let Some(trace_parent) = trace_parent {
        context = context.with_trace_parent(trace_parent)?;
    }
    if let Some(correlation_id) = correlation_id {
        context = context.with_correlation_id(correlation_id)?;
    }
    Ok(context)
}

impl TryFrom<StateContent> for State {
    type Error = Unreadable;

    fn try_from(state: StateContent) -> Result<Self, Unreadable> {
        Ok(match state {
            StateContent::InProgress { lease_until, confirmed, retention, unknown_retention } => Self::InProgress {
                lease_until: Timestamp::from_micros(lease_until),
                confirmed,
                retention,
                unknown_retention,
            },
            StateContent::Unknown { until } => Self::Unknown { until: Timestamp::from_micros(until) },
            StateContent::Released { until } => Self::Released { until: Timestamp::from_micros(until) },
            StateContent::Completed { at, until, omitted } => Self::Completed {
                at: Timestamp::from_micros(at),
                until: Timestamp::from_micros(until),
                result: match omitted {
                    None => Completion::Value(Bytes::new()),
                    Some(why) => Completion::Omitted(omitted_from_u8(why)?),
                },
            },
        })
    }
}

const fn omitted_to_u8(why: Omitted) -> u8 {
    match why {
        Omitted::ByChoice => 0,
        Omitted::NotEncodable => 1,
        Omitted::TooLarge => 2,
        Omitted::RefusedByStore => 3,
        Omitted::Settled => 4,
    }
}

fn omitted_from_u8(why: u8) -> Result<Omitted, Unreadable> {
    Ok(match why {
        0 => Omitted::ByChoice,
        1 => Omitted::NotEncodable,
        2 => Omitted::TooLarge,
        3 => Omitted::RefusedByStore,
        4 => Omitted::Settled,
        other => return Err(format!("unknown reason {other} for an omitted value").into()),
    })
}
