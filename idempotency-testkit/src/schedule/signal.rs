//! A store's call that goes on by a thread of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// How long a store's own thread may take over a call before the run is given up.
const OUTER_LIMIT: Duration = Duration::from_secs(10);

/// Tells that a store's call can go on.
#[derive(Debug)]
pub(super) struct Signal {
    woken: AtomicBool,
    thread: Thread,
}

impl Signal {
    pub(super) fn woken() -> Arc<Self> {
        Arc::new(Self { woken: AtomicBool::new(true), thread: thread::current() })
    }

    /// Waits, in real time, until the call can go on: a store may have handed it to a thread of its own.
    pub(super) fn wait(&self) {
        let give_up_at = Instant::now() + OUTER_LIMIT;
        while !self.woken.swap(false, Ordering::Acquire) {
            let left = give_up_at.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "the store made nothing of a call for {OUTER_LIMIT:?}: in a schedule, no timer of its own wakes it"
            );
            thread::park_timeout(left);
        }
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.thread.unpark();
    }
}
