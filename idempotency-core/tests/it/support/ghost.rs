//! What really happened to an operation, whatever the store and the callers believe.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use idempotency_core::Error;

use super::yields;

/// Counts an operation's runs: begun, live, at their end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ghost(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    begun: AtomicU32,
    live: AtomicU32,
    returned: AtomicU32,
}

struct Live<'a>(&'a Counts);

impl Drop for Live<'_> {
    fn drop(&mut self) {
        self.0.live.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Ghost {
    /// An operation that is pending `times` times and gives the number of its run. Two live at once
    /// are a defect.
    pub(crate) async fn operation(self, times: usize) -> Result<u32, Error> {
        let counts = &*self.0;
        let nth = counts.begun.fetch_add(1, Ordering::SeqCst) + 1;
        assert_eq!(counts.live.fetch_add(1, Ordering::SeqCst), 0, "two runs are live at once");
        let live = Live(counts);
        yields(times).await;
        drop(live);
        counts.returned.fetch_add(1, Ordering::SeqCst);
        Ok(nth)
    }

    /// How many runs were polled.
    pub(crate) fn begun(&self) -> u32 {
        self.0.begun.load(Ordering::SeqCst)
    }

    /// How many gave their value.
    pub(crate) fn returned(&self) -> u32 {
        self.0.returned.load(Ordering::SeqCst)
    }
}
