//! When records may be forgotten: an index by minute.
//!
//! A record gets one entry, when its key is first acquired, for the minute after its retention would
//! end if it completed at once. So completing, the move that is made most, writes no entry. An entry
//! is a hint that never comes too early for its record to be missed: purging looks at the record, and
//! files the entry again where the record has longer to live.

use std::time::Duration;

use idempotency_core::{Record, State, Timestamp};

use crate::layout::INDEX;

const MINUTE: u64 = 60_000_000;

/// An unknown attempt is remembered for long, but may be taken over and completed any time.
const UNKNOWN_IS_LOOKED_AT: Duration = Duration::from_secs(24 * 60 * 60);

/// When to look at a record again: not only when it may be forgotten as it stands, but when it might
/// be if it completed meanwhile, as completing writes no entry.
pub(crate) fn look_at(record: &Record, now: Timestamp) -> Timestamp {
    match record.state {
        State::InProgress { retention, .. } => now.plus(retention),
        State::Unknown { until } => until.min(now.plus(UNKNOWN_IS_LOOKED_AT)),
        State::Released { until } | State::Completed { until, .. } => until,
    }
}

/// The key of an entry that comes due once every record forgotten by `at` can be.
pub(crate) fn entry(at: Timestamp, record_key: &[u8]) -> Vec<u8> {
    // One minute on, so that a run of ordinary length is over by then and is not filed again.
    let minute = at.as_micros() / MINUTE + 2;
    [&[INDEX][..], &minute.to_be_bytes(), record_key].concat()
}

/// Where the entries begin.
pub(crate) const FIRST: &[u8] = &[INDEX];

/// When an entry comes due, and the key of its record; `None` for other keys.
pub(crate) fn read(key: &[u8]) -> Option<(Timestamp, &[u8])> {
    let (minute, record_key) = key.strip_prefix(&[INDEX])?.split_first_chunk::<8>()?;
    Some((Timestamp::from_micros(u64::from_be_bytes(*minute).saturating_mul(MINUTE)), record_key))
}
