//! What comes once a day.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY: u64 = 24 * 60 * 60;

/// What comes next is due sooner than that: a day after the one before, which is less than a day ahead.
const MOST_AHEAD: Duration = Duration::from_secs(2 * DAY);

/// How soon it is noticed that the clock was set, or that the machine slept.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// A time of the day in UTC, to the minute: read from `"03:15"`, and written so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimeOfDay {
    hour: u8,
    minute: u8,
}

impl TimeOfDay {
    /// Hour 0 to 23 and minute 0 to 59.
    ///
    /// # Errors
    /// [`InvalidTimeOfDay`] where there is no such time.
    pub const fn new(hour: u8, minute: u8) -> Result<Self, InvalidTimeOfDay> {
        if hour < 24 && minute < 60 { Ok(Self { hour, minute }) } else { Err(InvalidTimeOfDay) }
    }

    /// When it comes next: after `now`, and after `last`, when it came before. A clock that is set back by less than a
    /// day brings no time twice; by more, `last` lies in a future that is not waited for.
    pub(super) fn next(self, last: SystemTime, now: SystemTime) -> SystemTime {
        let of_day = u64::from(self.hour) * 3_600 + u64::from(self.minute) * 60;
        let first_after = |moment: SystemTime| {
            let seconds = moment.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            let today = seconds / DAY * DAY + of_day;
            UNIX_EPOCH + Duration::from_secs(if today > seconds { today } else { today + DAY })
        };
        let next = first_after(now);
        let is_near = last.duration_since(now).is_ok_and(|ahead| ahead < Duration::from_secs(DAY));
        if is_near { first_after(last) } else { next }
    }

    /// Waits until it comes next, and says when that was due.
    pub(super) async fn wait(self, last: SystemTime, now: impl Fn() -> SystemTime) -> SystemTime {
        let mut due = self.next(last, now());
        while let Ok(left) = due.duration_since(now())
            && !left.is_zero()
        {
            if left > MOST_AHEAD {
                // Found by a clock that has been set back by days since.
                due = self.next(last, now());
            } else {
                tokio::time::sleep(left.min(LOOK_AGAIN)).await;
            }
        }
        due
    }
}

impl FromStr for TimeOfDay {
    type Err = InvalidTimeOfDay;

    fn from_str(text: &str) -> Result<Self, InvalidTimeOfDay> {
        let two_digits = |text: &str| {
            let is_so = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
            if is_so { text.parse().map_err(|_| InvalidTimeOfDay) } else { Err(InvalidTimeOfDay) }
        };
        let (hour, minute) = text.split_once(':').ok_or(InvalidTimeOfDay)?;
        Self::new(two_digits(hour)?, two_digits(minute)?)
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.hour, self.minute)
    }
}

/// There is no such time of the day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a time of the day is from 00:00 to 23:59, written as 03:15")]
pub struct InvalidTimeOfDay;

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use tokio::time::Instant;

    use super::*;

    fn moment(day: u64, time: &str) -> SystemTime {
        let time: TimeOfDay = time.parse().unwrap();
        UNIX_EPOCH + Duration::from_secs(day * DAY + u64::from(time.hour) * 3_600 + u64::from(time.minute) * 60)
    }

    #[test]
    fn only_times_of_a_day_are_read_and_they_are_written_alike() {
        for text in ["00:00", "03:15", "23:59"] {
            assert_eq!(text.parse::<TimeOfDay>().unwrap().to_string(), text);
        }
        for text in ["", "3", "24:00", "12:60", "3:15", "03:5", "+3:15", "03:15:00", "03.15", " 03:15"] {
            assert_eq!(text.parse::<TimeOfDay>(), Err(InvalidTimeOfDay), "{text:?}");
        }
    }

    #[test]
    fn it_comes_today_or_else_tomorrow_and_never_twice() {
        let three: TimeOfDay = "03:00".parse().unwrap();
        let long_ago = moment(1, "00:00");
        let cases = [
            (long_ago, moment(9, "02:59"), moment(9, "03:00")),
            (long_ago, moment(9, "03:00"), moment(10, "03:00")),
            (long_ago, moment(9, "03:01"), moment(10, "03:00")),
            (long_ago, moment(9, "23:59"), moment(10, "03:00")),
            // The round was on time; or it was late by a day.
            (moment(9, "03:00"), moment(9, "03:00"), moment(10, "03:00")),
            (moment(8, "03:00"), moment(9, "04:00"), moment(10, "03:00")),
            // The clock was set back a little after a round: that time has been.
            (moment(9, "03:00"), moment(9, "02:58"), moment(10, "03:00")),
            // It had been wrong by years.
            (moment(9_999, "03:00"), moment(9, "02:58"), moment(9, "03:00")),
        ];
        for (last, now, next) in cases {
            assert_eq!(three.next(last, now), next, "{last:?} {now:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_is_noticed_within_a_minute() {
        let long_ago = moment(1, "00:00");
        let [one, five]: [TimeOfDay; 2] = ["01:00", "05:00"].map(|time| time.parse().unwrap());
        let (began, set) = (Instant::now(), Arc::new(AtomicU64::new(0)));
        let clock = {
            let set = set.clone();
            move || moment(9, "00:00") + began.elapsed() + Duration::from_secs(set.load(Ordering::Relaxed))
        };
        assert_eq!(one.wait(long_ago, &clock).await, moment(9, "01:00"));
        assert_eq!(began.elapsed(), Duration::from_secs(3_600), "neither early nor late");
        let waiting = tokio::spawn({
            let clock = clock.clone();
            async move { five.wait(long_ago, &clock).await }
        });
        tokio::time::sleep(Duration::from_secs(90)).await;
        set.store(5 * 3_600, Ordering::Relaxed);
        assert_eq!(waiting.await.unwrap(), moment(9, "05:00"));
        assert!(began.elapsed() <= Duration::from_secs(3_600 + 90) + LOOK_AGAIN, "{:?}", began.elapsed());
    }

    /// As with a machine whose clock is right only once it has asked the network for the time.
    #[tokio::test(start_paused = true)]
    async fn a_clock_that_was_years_ahead_holds_up_nothing_once_it_is_right() {
        let (began, ahead) = (Instant::now(), Arc::new(AtomicU64::new(9_999 * DAY)));
        let clock = {
            let ahead = ahead.clone();
            move || moment(9, "00:00") + began.elapsed() + Duration::from_secs(ahead.load(Ordering::Relaxed))
        };
        let (three, last): (TimeOfDay, _) = ("03:00".parse().unwrap(), clock());
        let waiting = tokio::spawn(async move { three.wait(last, clock).await });
        tokio::time::sleep(Duration::from_secs(90)).await;
        ahead.store(0, Ordering::Relaxed);
        assert_eq!(waiting.await.unwrap(), moment(9, "03:00"));
        assert_eq!(began.elapsed(), Duration::from_secs(3 * 3_600));
    }
}
