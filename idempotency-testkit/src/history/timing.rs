//! How the recorder's clock and the store's stand to each other.

use std::time::Duration;

use idempotency_core::{Acquired, Timestamp};

use super::events::Recorded;
use crate::belief::Window;
use crate::call::Answer;

/// How the recorder's clock and the store's stand to each other.
///
/// All of a history's callers are taken to read one clock, as the processes of one machine do; the
/// store's own may be another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How far the store's clock is ahead.
    pub offset: Offset,
    /// How far the two may drift from that while the history lasts, either way.
    pub skew: Duration,
    /// The unit to which the store rounds times: 1 ms where it keeps milliseconds.
    pub resolution: Duration,
}

/// How far the store's clock is ahead of the recorder's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offset {
    /// So many microseconds; behind, where that is negative.
    Known(i64),
    /// As the times tell that the store gave in its snapshots: by so much that most of them can be
    /// true (Marzullo, *Maintaining the time in a distributed system*, 1984, as NTP does it). Not at
    /// all where it gave none.
    Learned,
}

impl Timing {
    /// The recorder reads the store's clock.
    pub const EXACT: Self = Self { offset: Offset::Known(0), skew: Duration::ZERO, resolution: Duration::ZERO };

    /// A real store on this machine or another: its offset is learned, and it may drift by 2 ms.
    pub const REAL: Self =
        Self { offset: Offset::Learned, skew: Duration::from_millis(2), resolution: Duration::from_micros(1) };
}

/// Turns the recorder's times into windows on the store's clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Windows {
    least: i64,
    most: i64,
    wider: Duration,
}

impl Windows {
    pub(super) fn new(timing: &Timing, calls: &[Recorded]) -> Self {
        let (least, most) = match timing.offset {
            Offset::Known(offset) => (offset, offset),
            Offset::Learned => learned(calls, timing.skew.saturating_add(timing.resolution)),
        };
        Self { least, most, wider: timing.skew.saturating_add(timing.resolution) }
    }

    /// When the store may have carried out what was sent and answered then.
    pub(super) fn between(&self, sent: Timestamp, answered: Timestamp) -> Window {
        let window = Window { from: shifted(sent, self.least), to: shifted(answered, self.most) };
        if self.wider.is_zero() { window } else { window.widened(self.wider) }
    }
}

fn shifted(time: Timestamp, by: i64) -> Timestamp {
    Timestamp::from_micros(time.as_micros().saturating_add_signed(by))
}

/// The offsets that most snapshots agree on.
fn learned(calls: &[Recorded], wider: Duration) -> (i64, i64) {
    let wider = i64::try_from(wider.as_micros()).unwrap_or(i64::MAX);
    let mut edges = Vec::new();
    for call in calls {
        if let (Some(now), Some((_, answered))) = (told_at(call), call.answered) {
            edges.push((difference(now, answered).saturating_sub(wider), -1));
            edges.push((difference(now, call.sent_at).saturating_add(wider), 1));
        }
    }
    // A beginning comes before an end at the same offset.
    edges.sort_unstable();
    let (mut agree, mut most, mut best) = (0, 0, (0, 0));
    for (at, (offset, edge)) in edges.iter().enumerate() {
        agree -= edge;
        if agree > most {
            most = agree;
            best = (*offset, edges.get(at + 1).map_or(*offset, |(next, _)| *next));
        }
    }
    best
}

fn told_at(call: &Recorded) -> Option<Timestamp> {
    match &call.answer {
        Some(Ok(Answer::Found(Some(found)) | Answer::Acquired(Acquired::Completed(found)))) => Some(found.now),
        _ => None,
    }
}

fn difference(one: Timestamp, other: Timestamp) -> i64 {
    let by = |by: Duration| i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
    by(one.since(other)) - by(other.since(one))
}
