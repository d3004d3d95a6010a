//! The store's clock in a schedule.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use idempotency_core::{Clock, Timestamp};
use tokio::time::Instant;

/// The clock of a simulated store: tokio's, which is paused and goes on as the schedule says, less
/// what the schedule has set it back.
#[derive(Clone, Debug)]
pub struct SimClock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    began: Instant,
    set_back_by: AtomicU64,
}

impl SimClock {
    /// What it shows when a run begins.
    pub const START: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

    pub(super) fn new() -> Self {
        Self(Arc::new(Inner { began: Instant::now(), set_back_by: AtomicU64::new(0) }))
    }

    /// The time since the run began, whatever the clock was set to.
    pub(super) fn elapsed(&self) -> Duration {
        self.0.began.elapsed()
    }

    pub(super) fn step_back(&self, by: Duration) {
        self.0.set_back_by.fetch_add(u64::try_from(by.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        let now = Self::START.plus(self.elapsed()).as_micros();
        Timestamp::from_micros(now.saturating_sub(self.0.set_back_by.load(Ordering::Relaxed)))
    }
}
