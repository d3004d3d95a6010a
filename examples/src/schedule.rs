//! When a job is to run: a cron expression, in UTC.
//!
//! A slot's planned time names it, so that of all processes that come to it one does its work:
//! `idem.exclusive("clean-up").slot(slot.to_string())`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use croner::Cron;
use croner::errors::CronError;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use tokio::time::sleep;

/// A slot's planned time, to the second; shown as `2026-11-24T18:00:00Z`.
pub type Slot = Timestamp;

/// The wall clock is looked at again after so long, as it may have been set meanwhile.
const LONGEST_NAP: Duration = Duration::from_secs(60);

/// A clock that is set back by less brings no slot twice.
const MOST_AHEAD: SignedDuration = SignedDuration::from_hours(24);

/// What the fields of an expression are called; with seconds, those come first.
const FIELDS: [&str; 6] = ["second", "minute", "hour", "day of month", "month", "day of week"];

/// Slots in time, as a cron expression says: `0 * * * *` is every hour, `*/10 * * * * *` every ten seconds.
///
/// In UTC, so that no hour is missing or comes twice when clocks are put forward or back.
#[derive(Clone, Debug)]
pub struct Schedule {
    text: String,
    cron: Cron,
}

impl FromStr for Schedule {
    type Err = BadSchedule;

    fn from_str(text: &str) -> Result<Self, BadSchedule> {
        let bad = |problem| BadSchedule { text: text.into(), problem };
        let cron = text.parse::<Cron>().map_err(|error| bad(told(text, &error)))?;
        let schedule = Self { text: text.trim().into(), cron };
        match schedule.after(Timestamp::now()) {
            Some(_) => Ok(schedule),
            None => Err(bad("it has no slot: there is no such day".into())),
        }
    }
}

impl Schedule {
    /// The first slot after a moment; `None` at the end of the calendar.
    pub fn after(&self, moment: Timestamp) -> Option<Slot> {
        let moment: DateTime = TimeZone::UTC.to_datetime(moment);
        let slot = self.cron.find_next_occurrence(&moment, false).ok()?;
        TimeZone::UTC.to_timestamp(slot).ok()
    }

    /// Waits for a slot: the first after `last`, or after now where that is later. What passed while a job ran or
    /// the machine slept is left out.
    pub async fn next(&self, last: Option<Slot>) -> Option<Slot> {
        let mut slot = self.following(last, Timestamp::now())?;
        loop {
            match slot.duration_since(Timestamp::now()) {
                left if left <= SignedDuration::ZERO => return Some(slot),
                left => sleep(left.unsigned_abs().min(LONGEST_NAP)).await,
            }
            // A clock that was ahead, and is right by now, brings one nearer.
            slot = slot.min(self.following(last, Timestamp::now())?);
        }
    }

    fn following(&self, last: Option<Slot>, now: Timestamp) -> Option<Slot> {
        // One that is further ahead was found by a clock that was wrong.
        let last = last.filter(|last| last.duration_since(now) < MOST_AHEAD);
        self.after(last.map_or(now, |last| last.max(now)))
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

/// What is wrong, and with which field: the parser tells numbers only.
fn told(text: &str, error: &CronError) -> String {
    let problem = match error {
        CronError::ComponentError(problem) => problem.trim_end_matches('.').to_owned(),
        other => other.to_string().trim_end_matches('.').to_owned(),
    };
    let fields: Vec<&str> = text.split_whitespace().collect();
    let names = match fields.len() {
        5 => &FIELDS[1..],
        6 => &FIELDS[..],
        _ => return problem,
    };
    let is_wrong = |at: &usize| {
        let alone: Vec<&str> = (0..fields.len()).map(|other| if other == *at { fields[*at] } else { "*" }).collect();
        alone.join(" ").parse::<Cron>().is_err()
    };
    match (0..fields.len()).find(is_wrong) {
        Some(at) => format!("its {} `{}`: {problem}", names[at], fields[at]),
        None => problem,
    }
}

/// A text is no schedule.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{text}` is no schedule: {problem}; write minute, hour, day of month, month and day of week, in UTC, as `0 * * * *` \
     for every hour"
)]
pub struct BadSchedule {
    text: String,
    problem: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn slots(schedule: &str, from: &str) -> Vec<String> {
        let schedule: Schedule = schedule.parse().unwrap();
        let mut at: Timestamp = from.parse().unwrap();
        (0..3)
            .map(|_| {
                at = schedule.after(at).unwrap();
                at.to_string()
            })
            .collect()
    }

    #[test]
    fn slots_follow_one_another_in_utc() {
        let hours = ["2026-11-24T18:00:00Z", "2026-11-24T19:00:00Z", "2026-11-24T20:00:00Z"];
        assert_eq!(slots("0 * * * *", "2026-11-24T17:59:59.999999999Z"), hours);
        assert_eq!(slots("0 * * * *", "2026-11-24T17:00:00Z"), hours, "a slot is not its own next");
        let nights = ["2027-01-01T03:30:00Z", "2027-01-02T03:30:00Z", "2027-01-03T03:30:00Z"];
        assert_eq!(slots(" 30 3 * * * ", "2026-12-31T03:30:00Z"), nights);
        let seconds = ["2026-11-24T18:00:00Z", "2026-11-24T18:00:20Z", "2026-11-24T18:00:40Z"];
        assert_eq!(slots("*/20 * * * * *", "2026-11-24T17:59:59.5Z"), seconds);
        // Where clocks are put forward at 1:00 UTC, too.
        let over = ["2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z", "2026-03-29T03:00:00Z"];
        assert_eq!(slots("0 * * * *", "2026-03-29T00:00:00Z"), over);
        let leap = ["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z", "2036-02-29T00:00:00Z"];
        assert_eq!(slots("0 0 29 2 *", "2026-01-01T00:00:00Z"), leap);
    }

    #[test]
    fn no_slot_comes_twice_and_one_of_a_clock_that_was_wrong_holds_up_none() {
        let schedule: Schedule = "0 * * * *".parse().unwrap();
        let following = |last: Option<&str>, now: &str| {
            let last = last.map(|last| last.parse().unwrap());
            schedule.following(last, now.parse().unwrap()).unwrap().to_string()
        };
        for (last, slot) in [
            (None, "2026-11-24T18:00:00Z"),
            (Some("2026-11-24T17:00:00Z"), "2026-11-24T18:00:00Z"),
            (Some("2026-11-24T19:00:00Z"), "2026-11-24T20:00:00Z"),
            (Some("2099-11-24T19:00:00Z"), "2026-11-24T18:00:00Z"),
        ] {
            assert_eq!(following(last, "2026-11-24T17:30:00Z"), slot, "{last:?}");
        }
    }

    #[test]
    fn what_is_wrong_with_an_expression_is_told() {
        for (bad, told) in [
            ("", "empty"),
            ("hourly", "fields"),
            ("* * *", "fields"),
            ("61 * * * *", "its minute `61`"),
            ("0 24 * * *", "its hour `24`"),
            ("0 0 0 * *", "its day of month `0`"),
            ("0 0 1 13 *", "its month `13`"),
            ("0 0 * * fry", "its day of week `fry`"),
            ("75 * * * * *", "its second `75`"),
            ("*/0 * * * *", "its minute `*/0`"),
            ("0 0 30 2 *", "no such day"),
        ] {
            let error = bad.parse::<Schedule>().expect_err(bad).to_string();
            assert!(error.contains(told) && error.contains(&format!("`{bad}`")), "{error}");
            assert!(error.contains("as `0 * * * *` for every hour"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_slot_is_waited_for_and_comes_once() {
        let schedule: Schedule = "* * * * * *".parse().unwrap();
        let begun = Timestamp::now();
        let first = schedule.next(None).await.unwrap();
        assert!(begun < first && first <= Timestamp::now());
        // However soon one asks again, and be the clock behind.
        let second = schedule.next(Some(first)).await.unwrap();
        assert!(first < second && second <= Timestamp::now());
        assert_eq!(schedule.to_string(), "* * * * * *");
    }
}
