//! The times of a record, and how they may lie.

use std::time::Duration;

use idempotency_core::{Prior, Record, State, Timestamp};

pub(super) const MICRO: Duration = Duration::from_micros(1);

/// When a record enters its next phases: lapses and is forgotten, or is forgotten.
pub(super) fn turns(record: &Record) -> Vec<Timestamp> {
    match record.state {
        State::InProgress { lease_until, .. } => vec![lease_until, record.forgotten_at()],
        State::Unknown { until } | State::Released { until } | State::Completed { until, .. } => vec![until],
    }
}

/// The record with the earliest times, as one that a turn has not come for by then.
pub(super) fn outlasting(record: &Record, turn: Timestamp, by: Timestamp) -> Record {
    let is_over = matches!(record.state, State::InProgress { lease_until, .. } if lease_until != turn);
    match record.prior {
        // It is remembered as long as its own lease or its prior says, and nobody knows which of the two
        // it is: the prior stands for both until the move was made.
        Some(prior) if is_over && turn < by => {
            Record { prior: Some(Prior { remembered_until: by, ..prior }), ..record.clone() }
        }
        _ => moved(record, turn, by),
    }
}

/// The record with its times moved as one of its turns moves.
pub(super) fn moved(record: &Record, from: Timestamp, to: Timestamp) -> Record {
    let mut record = record.clone();
    let shift = |time: &mut Timestamp| *time = earlier(time.plus(from.until(to)), to.until(from));
    match &mut record.state {
        State::InProgress { lease_until: time, .. }
        | State::Unknown { until: time }
        | State::Released { until: time }
        | State::Completed { until: time, .. } => shift(time),
    }
    record
}

pub(super) fn earlier(time: Timestamp, by: Duration) -> Timestamp {
    let by = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
    Timestamp::from_micros(time.as_micros().saturating_sub(by))
}

/// Whether a record is the expected one, its times included, as far as those are known.
pub(super) fn lies_between(early: &Record, found: &Record, late: &Record) -> bool {
    let (early_times, found_times, late_times) = (times(early), times(found), times(late));
    timeless(early) == timeless(found)
        && early_times.iter().zip(&found_times).all(|(early, found)| early <= found)
        && found_times.iter().zip(&late_times).all(|(found, late)| found <= late)
}

pub(super) fn prior_lies_between(early: Option<&Prior>, found: Option<&Prior>, late: Option<&Prior>) -> bool {
    let Some(found) = found else { return early.is_none() };
    let (Some(early), Some(late)) = (early, late) else { return false };
    let what = |prior: &Prior| (prior.attempt, prior.fence, prior.ended);
    what(early) == what(found)
        && (early.ended_at..=late.ended_at).contains(&found.ended_at)
        && (early.remembered_until..=late.remembered_until).contains(&found.remembered_until)
}

pub(super) fn each_time(record: &mut Record, mut visit: impl FnMut(&mut Timestamp)) {
    visit(&mut record.acquired_at);
    if let Some(prior) = &mut record.prior {
        visit(&mut prior.ended_at);
        visit(&mut prior.remembered_until);
    }
    match &mut record.state {
        State::InProgress { lease_until: time, .. }
        | State::Unknown { until: time }
        | State::Released { until: time } => {
            visit(time);
        }
        State::Completed { at, until, .. } => {
            visit(at);
            visit(until);
        }
    }
}

/// Of each time of two records that differ in times only, takes the one picked.
pub(super) fn pick_times(record: &mut Record, other: &Record, pick: fn(Timestamp, Timestamp) -> Timestamp) {
    let mut others = times(other).into_iter();
    each_time(record, |time| *time = others.next().map_or(*time, |other| pick(*time, other)));
}

pub(super) fn times(record: &Record) -> Vec<Timestamp> {
    let mut times = Vec::with_capacity(5);
    each_time(&mut record.clone(), |time| times.push(*time));
    times
}

pub(super) fn timeless(record: &Record) -> Record {
    let mut record = record.clone();
    each_time(&mut record, |time| *time = Timestamp::default());
    record
}
