//! A run's lease, as its holder believes it to be.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::key::Key;
use crate::lock::Lock;
use crate::time::SHORTEST;

/// Why an attempt no longer holds its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeaseLost {
    /// The store says that the lock is another's, or gone.
    Taken,
    /// No renewal got through before the lease was over: another may have taken the key by now.
    NotRenewed,
    /// The attempt ran longer than `max_run`, so its lease was no longer renewed.
    RanTooLong,
}

impl fmt::Display for LeaseLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Taken => "another took it",
            Self::NotRenewed => "it could not be renewed in time",
            Self::RanTooLong => "it ran for longer than it may",
        })
    }
}

/// How long a lease lasts at the most, counted from when it was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) renewed_for: Duration,
    pub(crate) held_for: Duration,
}

const HELD: u8 = 0;

/// Shared by the run, its attempt handle and the renewer.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) key: Key,
    pub(crate) lock: Lock,
    pub(crate) length: Duration,
    /// From here on it is not renewed.
    pub(crate) renew_until: Instant,
    /// No renewal makes it longer than this.
    pub(crate) holds_until: Instant,
    until: Mutex<Instant>,
    lost: AtomicU8,
    told: Notify,
    ending: AtomicBool,
    over: AtomicBool,
    fact_only: AtomicBool,
}

impl Lease {
    /// `asked_at` is when the request that was granted was sent: the store's lease began later.
    pub(crate) fn new(key: Key, lock: Lock, length: Duration, bounds: Bounds, asked_at: Instant) -> Self {
        Self {
            key,
            lock,
            length,
            renew_until: asked_at + bounds.renewed_for,
            holds_until: asked_at + bounds.held_for,
            until: Mutex::new(asked_at + length),
            lost: AtomicU8::new(HELD),
            told: Notify::new(),
            ending: AtomicBool::new(false),
            over: AtomicBool::new(false),
            fact_only: AtomicBool::new(false),
        }
    }

    pub(crate) fn until(&self) -> Instant {
        *self.times()
    }

    /// How long a renewal that is asked for now is to hold.
    pub(crate) fn length_from(&self, asked_at: Instant) -> Duration {
        self.length.min(self.holds_until.saturating_duration_since(asked_at)).max(SHORTEST)
    }

    pub(crate) fn renewed(&self, asked_at: Instant, length: Duration) {
        *self.times() = asked_at + length;
    }

    /// Tells the operation. One that has finished is not told: its own end took the lock away.
    pub(crate) fn lose(&self, why: LeaseLost) {
        if self.ending.load(Ordering::Acquire) {
            return;
        }
        let code = match why {
            LeaseLost::Taken => 1,
            LeaseLost::NotRenewed => 2,
            LeaseLost::RanTooLong => 3,
        };
        if self.lost.compare_exchange(HELD, code, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            // At an ordinary shutdown too, the runtime that renews may go before the runs that it renews for.
            tracing::warn!(key = %self.key, fence = %self.lock.fence, ?why, "the lease of a running operation is lost");
        }
        self.told.notify_waiters();
    }

    /// The operation has finished; the lease is renewed until the store knows its end.
    pub(crate) fn begin_end(&self) {
        self.ending.store(true, Ordering::Release);
    }

    /// The run has ended: the lease is not to be renewed any more.
    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::Release);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Only the fact that the operation is done is to be kept, not its value.
    pub(crate) fn keep_fact_only(&self) {
        self.fact_only.store(true, Ordering::Release);
    }

    pub(crate) fn keeps_fact_only(&self) -> bool {
        self.fact_only.load(Ordering::Acquire)
    }

    /// Why it is lost, if it is. By the clock alone, too: after a pause of the whole process, a run may be
    /// polled before the renewer is.
    pub(crate) fn lost_by_now(&self) -> Option<LeaseLost> {
        let until = self.until();
        if self.why_lost().is_none() && Instant::now() >= until {
            self.lose(if until < self.holds_until { LeaseLost::NotRenewed } else { LeaseLost::RanTooLong });
        }
        self.why_lost()
    }

    /// Whether another may hold the key by now.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.why_lost().is_some() || Instant::now() >= self.until()
    }

    pub(crate) fn why_lost(&self) -> Option<LeaseLost> {
        match self.lost.load(Ordering::Acquire) {
            HELD => None,
            1 => Some(LeaseLost::Taken),
            2 => Some(LeaseLost::NotRenewed),
            _ => Some(LeaseLost::RanTooLong),
        }
    }

    pub(crate) async fn lost(&self) -> LeaseLost {
        loop {
            let told = self.told.notified();
            if let Some(why) = self.why_lost() {
                return why;
            }
            told.await;
        }
    }

    fn times(&self) -> MutexGuard<'_, Instant> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
