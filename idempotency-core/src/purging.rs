//! Purging a store again and again, in a task of its own.

mod daily;

use std::time::{Duration, Instant, SystemTime};

use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use daily::{InvalidTimeOfDay, TimeOfDay};

use crate::error::StoreError;
use crate::time::{InvalidDuration, checked};
use crate::upkeep::Upkeep;

/// How often a store is purged of expired records, and in which steps.
///
/// Many processes may purge one store at once: they do not wait for each other, nor do callers wait for
/// them.
#[derive(Clone, Debug)]
#[must_use = "nothing is purged until it is started"]
pub struct PurgeSchedule {
    when: When,
    batch: usize,
    pause: Duration,
    at_start: bool,
}

/// When the next round is due.
#[derive(Clone, Copy, Debug)]
enum When {
    /// So long after the one before.
    Every(Duration),
    /// When that time of the day comes next.
    At(TimeOfDay),
}

impl PurgeSchedule {
    const fn new(when: When) -> Self {
        Self { when, batch: 1_000, pause: Duration::ZERO, at_start: false }
    }

    /// A round each `interval`, 1 ms to 100 years, counted from the end of the one before; the first after
    /// one interval.
    ///
    /// # Errors
    /// [`InvalidDuration`] where the interval is out of range.
    pub fn every(interval: Duration) -> Result<Self, InvalidDuration> {
        Ok(Self::new(When::Every(checked("purge interval", interval)?)))
    }

    /// A round each day at this time, in UTC by this machine's clock: at night, when there is the least to do.
    ///
    /// A clock that is set, and a machine that slept, are noticed within a minute; no time of a day comes twice.
    ///
    /// ```
    /// # use idempotency_core::{InvalidTimeOfDay, PurgeSchedule};
    /// let nightly = PurgeSchedule::at("03:15".parse()?).at_start();
    /// # Ok::<(), InvalidTimeOfDay>(())
    /// ```
    pub const fn at(time: TimeOfDay) -> Self {
        Self::new(When::At(time))
    }

    /// Asks the store to remove this many records at a time, at least 1; 1,000 by default.
    pub fn with_batch(self, records: usize) -> Self {
        Self { batch: records.max(1), ..self }
    }

    /// Rests between two batches of a round, so that callers have the store to themselves meanwhile; not at
    /// all by default.
    pub fn with_pause(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }

    /// Makes the first round at once.
    pub fn at_start(self) -> Self {
        Self { at_start: true, ..self }
    }

    /// Starts to purge, and tells of each round that ended. A round that failed ends; the next one comes
    /// all the same.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(self, store: impl Upkeep, report: impl FnMut(PurgeReport) + Send + 'static) -> Purging {
        let stop = CancellationToken::new();
        let task = tokio::spawn(self.run(store, report, stop.clone()));
        Purging { stop: stop.drop_guard(), task }
    }

    async fn run(self, store: impl Upkeep, mut report: impl FnMut(PurgeReport) + Send, stop: CancellationToken) {
        if self.at_start {
            report(self.round(&store, &stop).await);
        }
        let mut last = SystemTime::now();
        while stop.run_until_cancelled(self.next_is_due(&mut last, SystemTime::now)).await.is_some() {
            report(self.round(&store, &stop).await);
        }
    }

    /// Waits for the next round; `last` is when the one before was due.
    async fn next_is_due(&self, last: &mut SystemTime, now: impl Fn() -> SystemTime) {
        match self.when {
            When::Every(interval) => tokio::time::sleep(interval).await,
            When::At(time) => {
                *last = time.wait(*last, now).await;
            }
        }
    }

    async fn round(&self, store: &impl Upkeep, stop: &CancellationToken) -> PurgeReport {
        let (began_at, began) = (SystemTime::now(), Instant::now());
        let mut round = PurgeReport { began_at, took: Duration::ZERO, removed: 0, batches: 0, error: None };
        loop {
            round.batches += 1;
            let more = match store.purge(self.batch).await {
                Ok(purged) => {
                    round.removed += purged.removed;
                    purged.more
                }
                Err(error) => {
                    tracing::warn!(%error, removed = round.removed, "a round of purging failed; the next one comes");
                    round.error = Some(error);
                    false
                }
            };
            if !more || stop.run_until_cancelled(tokio::time::sleep(self.pause)).await.is_none() {
                break;
            }
        }
        round.took = began.elapsed();
        tracing::debug!(removed = round.removed, batches = round.batches, took = ?round.took, "purged");
        round
    }
}

/// One round of purging.
#[derive(Debug)]
#[non_exhaustive]
pub struct PurgeReport {
    /// When it began, by this machine's clock.
    pub began_at: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// How many records it removed, also where it failed later.
    pub removed: usize,
    /// How often it asked the store.
    pub batches: u32,
    /// Why it ended early, if it did.
    pub error: Option<StoreError>,
}

/// A store that is being purged. Dropped, it is so no longer: the batch under way is the last.
#[derive(Debug)]
#[must_use = "dropped, it purges no longer"]
pub struct Purging {
    stop: DropGuard,
    task: JoinHandle<()>,
}

impl Purging {
    /// Ends it, and waits until the batch under way is done and its round told of.
    ///
    /// # Panics
    /// With the panic of a store or of what is told of the rounds.
    pub async fn stop(self) {
        drop(self.stop);
        if let Err(error) = self.task.await
            && let Ok(panic) = error.try_into_panic()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_back_after_a_round_brings_no_second_one_that_day() {
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        let (began, back) = (tokio::time::Instant::now(), Cell::new(Duration::ZERO));
        let clock = || SystemTime::UNIX_EPOCH + minutes(24 * 60 + 2 * 60 + 59) + began.elapsed() - back.get();
        let (schedule, mut last) = (PurgeSchedule::at("03:00".parse().unwrap()), clock());
        schedule.next_is_due(&mut last, clock).await;
        assert_eq!(began.elapsed(), minutes(1));
        back.set(minutes(2));
        schedule.next_is_due(&mut last, clock).await;
        assert_eq!(began.elapsed(), minutes(1 + 2 + 24 * 60));
    }
}
