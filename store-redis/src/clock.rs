//! What the server's clock says, without asking it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use idempotency_core::Timestamp;

/// How wide the bounds may be, in µs: records are dated to the millisecond.
const WIDEST: i64 = 2000;
/// How old what the server said may be.
const LONGEST: Duration = Duration::from_secs(10);
/// From this age on it is asked again, along with something else.
const ASK_AGAIN: Duration = Duration::from_secs(3);
/// Less exact than this, it is asked again soon.
const EXACT: i64 = 1000;
const SOON: Duration = Duration::from_millis(50);
/// How far the two clocks of this machine may part before we take it to have been asleep.
const ASLEEP: Duration = Duration::from_secs(1);

/// The server's time as this process can know it: from the server's own answers, each of which was
/// made between the sending and the receiving (Cristian, *Probabilistic clock synchronization*, 1989).
///
/// It dates records and makes fences. It decides nothing: whether a lease has lapsed and whether a
/// record is still kept, the server alone judges.
#[derive(Debug)]
pub(crate) struct ServerClock {
    /// The local time zero.
    base: Instant,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    sample: Option<Sample>,
    asked: Option<Instant>,
}

/// The server's time is the local one plus something between the two offsets, in µs.
#[derive(Clone, Copy, Debug)]
struct Sample {
    lowest: i64,
    highest: i64,
    taken: Instant,
    wall: SystemTime,
}

impl Known {
    fn is_due(&self, now: Instant) -> bool {
        let since = |then| now.saturating_duration_since(then);
        self.sample.is_none_or(|is| is.highest - is.lowest > EXACT || since(is.taken) > ASK_AGAIN)
            && self.asked.is_none_or(|asked| since(asked) > SOON)
    }
}

impl ServerClock {
    pub(crate) fn new() -> Self {
        Self { base: Instant::now(), known: Mutex::default() }
    }

    /// The server's present time; `None` where it was not heard of lately or not exactly, or the machine
    /// slept.
    pub(crate) fn now(&self) -> Option<Timestamp> {
        let sample = self.known().sample?;
        let here = Instant::now();
        let age = here.saturating_duration_since(sample.taken);
        let by_wall = sample.wall.elapsed().ok()?;
        if age > LONGEST || by_wall.abs_diff(age) > ASLEEP || sample.highest - sample.lowest > WIDEST {
            return None;
        }
        let middle = sample.lowest + (sample.highest - sample.lowest) / 2;
        u64::try_from(self.local(here) + middle).ok().map(Timestamp::from_micros)
    }

    /// The server said `time` in an answer that was received just now, to what was sent then.
    pub(crate) fn observe(&self, sent: Instant, time: Timestamp) {
        let server = i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        let received = Instant::now();
        let mut lowest = server - self.local(received);
        let mut highest = server - self.local(sent);
        let mut known = self.known();
        if let Some(before) = known.sample
            && received.duration_since(before.taken) <= LONGEST
            && before.lowest.max(lowest) <= before.highest.min(highest)
        {
            (lowest, highest) = (lowest.max(before.lowest), highest.min(before.highest));
        }
        known.sample = Some(Sample { lowest, highest, taken: received, wall: SystemTime::now() });
    }

    /// Whether whoever asks should ask the server for its time too. The next one need not, for a while.
    pub(crate) fn should_ask(&self) -> bool {
        let mut known = self.known();
        let due = known.is_due(Instant::now());
        if due {
            known.asked = Some(Instant::now());
        }
        due
    }

    /// Whether the server should be asked for its time along with something else.
    pub(crate) fn is_due(&self) -> bool {
        self.known().is_due(Instant::now())
    }

    /// Forgets what it knew: another server answers.
    pub(crate) fn forget(&self) {
        *self.known() = Known::default();
    }

    fn local(&self, at: Instant) -> i64 {
        i64::try_from(at.saturating_duration_since(self.base).as_micros()).unwrap_or(i64::MAX)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
