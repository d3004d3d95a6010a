//! The store's time: timestamps, clocks, and the durations a caller may ask for.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A moment on the store's clock, in whole microseconds since the Unix epoch.
///
/// Only a store's own clock makes timestamps that decide anything; a client never compares one
/// with its own time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The moment `micros` microseconds after the Unix epoch.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Whole microseconds since the Unix epoch.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// The moment `duration` after this one; the end of time where that would overflow.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(micros(duration)))
    }

    /// The time from `earlier` to this moment, zero where `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// The time from this moment until `later`, zero where that has passed.
    #[must_use]
    pub const fn until(self, later: Self) -> Duration {
        later.since(self)
    }
}

/// As RFC 3339 in UTC, `2026-11-22T10:00:00.000000Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // humantime prints years up to 9999 and fails after them; so far off, the number says as much.
        const YEAR_9999: u64 = 253_402_300_799_000_000;
        if self.0 > YEAR_9999 {
            return write!(f, "{}µs after 1970", self.0);
        }
        let time = UNIX_EPOCH + Duration::from_micros(self.0);
        humantime::format_rfc3339_micros(time).fmt(f)
    }
}

impl From<SystemTime> for Timestamp {
    /// Times before 1970 become 1970.
    fn from(time: SystemTime) -> Self {
        Self(micros(time.duration_since(UNIX_EPOCH).unwrap_or_default()))
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// What tells an embedded store the time. Keep one as long as the store.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The present moment.
    fn now(&self) -> Timestamp;
}

impl<C: Clock + ?Sized> Clock for std::sync::Arc<C> {
    fn now(&self) -> Timestamp {
        (**self).now()
    }
}

/// The machine's wall clock, read once and carried on by its monotonic clock.
///
/// So a step of the wall clock (NTP, an operator) while the process runs neither ends a lease early
/// nor holds it for hours: within one process this clock only goes forward, at one second a second.
#[derive(Clone, Debug)]
pub struct SystemClock {
    started_at: Timestamp,
    started: Instant,
}

impl SystemClock {
    /// Starts from the wall clock's present time.
    #[must_use]
    pub fn new() -> Self {
        Self { started_at: SystemTime::now().into(), started: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        self.started_at.plus(self.started.elapsed())
    }
}

/// A clock that moves only when it is told to, for tests.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// Starts at `now`.
    #[must_use]
    pub const fn new(now: Timestamp) -> Self {
        Self(AtomicU64::new(now.as_micros()))
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(micros(by), Ordering::SeqCst);
    }

    /// Sets the clock, forward or back.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.as_micros(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

/// The shortest duration that is taken: stores keep times in milliseconds at the coarsest.
pub const SHORTEST: Duration = Duration::from_millis(1);

/// The longest duration that is taken, a hundred years: no sum of it and a present time overflows.
pub const LONGEST: Duration = Duration::from_secs(100 * 366 * 24 * 60 * 60);

/// A duration outside [`SHORTEST`]`..=`[`LONGEST`], refused where it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} of {given:?} is {}", if *given < SHORTEST { "too short: the shortest is 1 ms" } else { "too long: the longest is 100 years" })]
pub struct InvalidDuration {
    /// Which setting it was given for.
    pub name: &'static str,
    /// What was given.
    pub given: Duration,
}

/// Checks that `given` is within [`SHORTEST`]`..=`[`LONGEST`].
///
/// # Errors
/// [`InvalidDuration`], naming the setting.
pub(crate) fn checked(name: &'static str, given: Duration) -> Result<Duration, InvalidDuration> {
    if (SHORTEST..=LONGEST).contains(&given) { Ok(given) } else { Err(InvalidDuration { name, given }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn displays_as_rfc3339() {
        assert_eq!(Timestamp::from_micros(1_795_392_000_000_001).to_string(), "2026-11-23T00:00:00.000001Z");
        let last = 253_402_300_799_000_000;
        assert_eq!(Timestamp::from_micros(last).to_string(), "9999-12-31T23:59:59.000000Z");
        assert_eq!(Timestamp::from_micros(last + 1).to_string(), format!("{}µs after 1970", last + 1));
    }

    #[test]
    fn arithmetic_saturates() {
        let end = Timestamp::from_micros(u64::MAX);
        assert_eq!(end.plus(Duration::MAX), end);
        assert_eq!(Timestamp::default().since(end), Duration::ZERO);
        assert_eq!(Timestamp::default().until(Timestamp::from_micros(7)), Duration::from_micros(7));
        assert_eq!(Timestamp::from(UNIX_EPOCH - Duration::from_secs(1)), Timestamp::default());
    }

    #[test]
    fn zero_and_overflowing_durations_are_refused() {
        for bad in [Duration::ZERO, Duration::from_micros(999), LONGEST + Duration::from_nanos(1), Duration::MAX] {
            let error = checked("lease", bad).unwrap_err();
            assert_eq!(error.given, bad);
            assert!(error.to_string().starts_with("lease of "), "{error}");
        }
        assert_eq!(checked("lease", SHORTEST), Ok(SHORTEST));
        assert_eq!(checked("lease", LONGEST), Ok(LONGEST));
    }

    #[test]
    fn clocks_move_as_told() {
        let clock = ManualClock::new(Timestamp::from_micros(5));
        clock.advance(Duration::from_micros(2));
        assert_eq!(clock.now(), Timestamp::from_micros(7));
        clock.set(Timestamp::from_micros(1));
        assert_eq!(std::sync::Arc::new(clock).now(), Timestamp::from_micros(1));
        let system = SystemClock::default();
        let first = system.now();
        assert!(first >= Timestamp::from(UNIX_EPOCH + Duration::from_secs(1_700_000_000)));
        // It goes on.
        while system.now() == first {}
        assert!(system.now() > first);
    }
}
