//! A record as the bytes of one Redis string, which the scripts read and write too.
//!
//! All numbers are big-endian; times are in µs since 1970, durations in µs.
//!
//! | Bytes (from 0) | What |
//! |---|---|
//! | 0–3 | `idr` and the format's version, 1 |
//! | 4 | the state: `P` in progress, `U` unknown, `R` released, `C` completed |
//! | 5–20, 21–28 | owner and fence: the lock |
//! | 29 | flags: 1 kept longer than it is remembered, 2 confirmed, 4 with a prior attempt, 8 with notes |
//! | 30 | the policy for unknown attempts, and 16 times why there is no value (0 where there is one) |
//! | 31, 32–63 | version and digest of the fingerprint |
//! | 64–67, 68–75 | the attempt's number, and when it acquired the key |
//! | 76– | P: end of the lease (0: told by the key's expiry), retention, unknown retention; U, R: until; C: at, until |
//! | then | the prior attempt, if there is one: number, fence, when and how it ended, until when it is remembered |
//! | then | context and attributes, if there are any, after their length in two bytes |
//! | then | C: the value |

use std::time::Duration;

use bytes::Bytes;
use idempotency_core::{
    Attributes, Completion, Context, Ended, Fence, Fingerprint, Lock, Omitted, OnUnknown, Owner, Prior, Record,
    Snapshot, State, Timestamp,
};

const MAGIC: &[u8; 3] = b"idr";
const VERSION: u8 = 1;
/// What precedes the state's own times.
const HEAD: usize = 76;
/// How a record begins: up to its lock.
pub(crate) const BEGINS: usize = 29;

const PADDED: u8 = 1;
const CONFIRMED: u8 = 2;
const PRIOR: u8 = 4;
const NOTES: u8 = 8;

/// A record, and what its key's expiry means for it.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) record: Record,
    /// The key is there exactly as long as the record is remembered.
    pub(crate) expires_with_key: bool,
}

impl Stored {
    /// The record with the time of reading. A result that is there is within its retention, whatever the
    /// clocks make of the last millisecond: the server alone ends it.
    pub(crate) fn read_at(self, now: Timestamp) -> Snapshot {
        let now = match self.record.state {
            State::Completed { at, until, .. } if self.expires_with_key => {
                now.max(at).min(Timestamp::from_micros(until.as_micros().saturating_sub(1)))
            }
            _ => now,
        };
        Snapshot { record: self.record, now }
    }
}

/// Bytes that are not as this module writes them.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Garbled {
    #[error("{0} bytes that are no record of this library: something else writes under this prefix")]
    Foreign(usize),
    #[error("a record of format version {0}, but this library knows only version {VERSION}")]
    Version(u8),
    #[error("a damaged record: {0}")]
    Damaged(&'static str),
}

/// Writes a record that is in progress, for a key whose expiry will tell the end of its lease.
pub(crate) fn begun(record: &Record) -> Vec<u8> {
    let mut out = Vec::with_capacity(112);
    let State::InProgress { confirmed, retention, unknown_retention, .. } = record.state else {
        return out;
    };
    head(&mut out, b'P', record, if confirmed { CONFIRMED } else { 0 }, 0);
    out.extend_from_slice(&0_u64.to_be_bytes());
    out.extend_from_slice(&micros(retention).to_be_bytes());
    out.extend_from_slice(&micros(unknown_retention).to_be_bytes());
    notes(&mut out, record);
    out
}

/// Writes the record that one in progress becomes when it is completed.
pub(crate) fn completed(begun: &Record, at: Timestamp, until: Timestamp, result: &Completion) -> Vec<u8> {
    let (value, omitted) = value_of(result);
    let mut out = Vec::with_capacity(HEAD + 24 + value.len());
    head(&mut out, b'C', begun, 0, omitted);
    out.extend_from_slice(&at.as_micros().to_be_bytes());
    out.extend_from_slice(&until.as_micros().to_be_bytes());
    notes(&mut out, begun);
    out.extend_from_slice(value);
    out
}

/// How a record begins that is in progress under `lock`.
pub(crate) fn in_progress_under(lock: Lock) -> [u8; BEGINS] {
    let mut begins = [0; BEGINS];
    begins[..3].copy_from_slice(MAGIC);
    begins[3] = VERSION;
    begins[4] = b'P';
    begins[5..].copy_from_slice(&lock_bytes(lock));
    begins
}

/// The value, and the byte that says why there is none.
pub(crate) fn value_of(result: &Completion) -> (&[u8], u8) {
    match result {
        Completion::Value(value) => (value, 0),
        Completion::Omitted(why) => {
            let byte = match why {
                Omitted::ByChoice => 1,
                Omitted::NotEncodable => 2,
                Omitted::TooLarge => 3,
                Omitted::RefusedByStore => 4,
                Omitted::Settled => 5,
            };
            (&[], byte)
        }
    }
}

/// Owner and fence.
pub(crate) fn lock_bytes(lock: Lock) -> [u8; 24] {
    let mut bytes = [0; 24];
    bytes[..16].copy_from_slice(&lock.owner.as_u128().to_be_bytes());
    bytes[16..].copy_from_slice(&lock.fence.get().to_be_bytes());
    bytes
}

/// Whole microseconds.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn head(out: &mut Vec<u8>, state: u8, record: &Record, flags: u8, omitted: u8) {
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&[VERSION, state]);
    out.extend_from_slice(&lock_bytes(record.lock));
    let policy = match record.on_unknown {
        OnUnknown::RunAgain => 0,
        OnUnknown::Reconcile => 1,
        OnUnknown::Refuse => 2,
    };
    let flags = if has_notes(record) { flags | NOTES } else { flags };
    out.extend_from_slice(&[flags, policy | omitted << 4, record.fingerprint.version()]);
    out.extend_from_slice(record.fingerprint.as_bytes());
    out.extend_from_slice(&record.attempt.to_be_bytes());
    out.extend_from_slice(&record.acquired_at.as_micros().to_be_bytes());
}

fn has_notes(record: &Record) -> bool {
    record.context != Context::default() || !record.attributes.is_empty()
}

/// Context and attributes, after their length. At most 1.6 KiB: see [`Attributes`].
fn notes(out: &mut Vec<u8>, record: &Record) {
    if !has_notes(record) {
        return;
    }
    let (context, attributes) = (&record.context, &record.attributes);
    let at = out.len();
    out.extend_from_slice(&[0, 0]);
    let mut note = |kind: u8, text: &str| {
        out.push(kind);
        out.extend_from_slice(&u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
        out.extend_from_slice(text.as_bytes());
    };
    if let Some(trace_parent) = context.trace_parent() {
        note(b't', trace_parent);
    }
    if let Some(correlation_id) = context.correlation_id() {
        note(b'c', correlation_id);
    }
    for (name, value) in attributes.iter() {
        note(b'n', name);
        note(b'v', value);
    }
    let length = u16::try_from(out.len() - at - 2).unwrap_or(u16::MAX);
    out[at..at + 2].copy_from_slice(&length.to_be_bytes());
}

/// Reads a record. `expires` is the last millisecond in which the server keeps the key, where it said
/// so: it tells the end of a lease that was not written down.
pub(crate) fn decode(bytes: &Bytes, expires: Option<u64>) -> Result<Stored, Garbled> {
    let mut reader = Reader { bytes, at: 0 };
    if bytes.len() < 4 || reader.take(3)? != MAGIC {
        return Err(Garbled::Foreign(bytes.len()));
    }
    let version = reader.byte()?;
    if version != VERSION {
        return Err(Garbled::Version(version));
    }
    let state = reader.byte()?;
    let owner = Owner::from_u128(u128::from_be_bytes(reader.array()?));
    let fence = Fence::new(reader.number()?);
    let (flags, detail) = (reader.byte()?, reader.byte()?);
    let (policy, omitted) = (detail & 15, detail >> 4);
    let on_unknown = match policy {
        0 => OnUnknown::RunAgain,
        1 => OnUnknown::Reconcile,
        2 => OnUnknown::Refuse,
        _ => return Err(Garbled::Damaged("it has no such policy")),
    };
    let fingerprint = Fingerprint::from_parts(reader.byte()?, reader.array()?);
    let attempt = u32::from_be_bytes(reader.array()?);
    let acquired_at = reader.time()?;
    let expires_with_key = flags & PADDED == 0;
    let times = match state {
        b'P' => [reader.time()?, reader.time()?, reader.time()?],
        b'C' => [reader.time()?, reader.time()?, Timestamp::default()],
        b'U' | b'R' => [reader.time()?, Timestamp::default(), Timestamp::default()],
        _ => return Err(Garbled::Damaged("it has no such state")),
    };
    let prior = if flags & PRIOR == 0 { None } else { Some(reader.prior()?) };
    let (context, attributes) = if flags & NOTES == 0 { Default::default() } else { reader.notes()? };
    let state = match state {
        b'P' => {
            let [lease_until, retention, unknown_retention] = times.map(Timestamp::as_micros);
            let lease_until = match (lease_until, expires) {
                (0, Some(ms)) => ms.saturating_mul(1000).saturating_sub(unknown_retention),
                (told, _) => told,
            };
            State::InProgress {
                lease_until: Timestamp::from_micros(lease_until),
                confirmed: flags & CONFIRMED != 0,
                retention: Duration::from_micros(retention),
                unknown_retention: Duration::from_micros(unknown_retention),
            }
        }
        b'U' if prior.is_none() => return Err(Garbled::Damaged("it does not say which attempt is unknown")),
        b'U' => State::Unknown { until: times[0] },
        b'R' => State::Released { until: times[0] },
        _ => State::Completed { at: times[0], until: times[1], result: completion(omitted, reader.rest())? },
    };
    if !matches!(state, State::Completed { .. }) && !reader.rest().is_empty() {
        return Err(Garbled::Damaged("it is too long"));
    }
    let lock = Lock { owner, fence };
    let record = Record { fingerprint, lock, attempt, prior, on_unknown, acquired_at, context, attributes, state };
    Ok(Stored { record, expires_with_key })
}

fn completion(omitted: u8, value: Bytes) -> Result<Completion, Garbled> {
    let why = match omitted {
        0 => return Ok(Completion::Value(value)),
        1 => Omitted::ByChoice,
        2 => Omitted::NotEncodable,
        3 => Omitted::TooLarge,
        4 => Omitted::RefusedByStore,
        5 => Omitted::Settled,
        _ => return Err(Garbled::Damaged("it has no such reason for a missing value")),
    };
    if value.is_empty() { Ok(Completion::Omitted(why)) } else { Err(Garbled::Damaged("it is too long")) }
}

struct Reader<'a> {
    bytes: &'a Bytes,
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Garbled> {
        let end = self.at.saturating_add(length);
        let taken = self.bytes.get(self.at..end).ok_or(Garbled::Damaged("it is cut off"))?;
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Garbled> {
        self.take(N)?.try_into().map_err(|_| Garbled::Damaged("it is cut off"))
    }

    fn byte(&mut self) -> Result<u8, Garbled> {
        self.array().map(|[byte]| byte)
    }

    fn number(&mut self) -> Result<u64, Garbled> {
        self.array().map(u64::from_be_bytes)
    }

    fn time(&mut self) -> Result<Timestamp, Garbled> {
        self.number().map(Timestamp::from_micros)
    }

    fn prior(&mut self) -> Result<Prior, Garbled> {
        Ok(Prior {
            attempt: u32::from_be_bytes(self.array()?),
            fence: Fence::new(self.number()?),
            ended_at: self.time()?,
            ended: if self.byte()? == 0 { Ended::Lapsed } else { Ended::Told },
            remembered_until: self.time()?,
        })
    }

    fn text(&mut self) -> Result<&'a str, Garbled> {
        let length = u16::from_be_bytes(self.array()?);
        std::str::from_utf8(self.take(usize::from(length))?).map_err(|_| Garbled::Damaged("a note is not UTF-8"))
    }

    fn notes(&mut self) -> Result<(Context, Attributes), Garbled> {
        let length = usize::from(u16::from_be_bytes(self.array()?));
        let end = self.at + length;
        let (mut context, mut attributes) = (Context::default(), Attributes::default());
        let not_kept = |_| Garbled::Damaged("a note cannot be one");
        while self.at < end {
            let kind = self.byte()?;
            let text = self.text()?;
            match kind {
                b't' => context = context.with_trace_parent(text).map_err(not_kept)?,
                b'c' => context = context.with_correlation_id(text).map_err(not_kept)?,
                b'n' if self.byte()? == b'v' => attributes = attributes.with(text, self.text()?).map_err(not_kept)?,
                _ => return Err(Garbled::Damaged("it has no such note")),
            }
        }
        if self.at == end { Ok((context, attributes)) } else { Err(Garbled::Damaged("its notes are cut off")) }
    }

    fn rest(&self) -> Bytes {
        self.bytes.slice(self.at.min(self.bytes.len())..)
    }
}
