//! The watch over a flush that does not come back.
//!
//! sled writes on threads of its own. Where such a write fails after the flush has begun to wait
//! for it, sled notes the error but does not always wake the flush; where such a thread panics,
//! it notes nothing. Either would leave every caller waiting for ever.

use std::thread;
use std::time::{Duration, Instant};

use crate::journal::error::{Fault, FaultKind};
use crate::journal::flush::Medium;
use crate::journal::ledger::Ledger;

const TICK: Duration = Duration::from_millis(50);
/// After as many quiet ticks the sentry sleeps until the next write.
const QUIET_TICKS: u32 = 20;

/// Runs until the journal is dropped and its last round has ended.
pub(crate) fn run(ledger: &Ledger, stall_limit: Duration, medium: impl Fn() -> Option<MediumRef>) {
    ledger.set_sentry(thread::current());
    let mut quiet = 0;
    let mut watched = (0, Instant::now());
    loop {
        // Gone with the flusher, which holds it to its end.
        let Some(medium) = medium() else { return };
        if let Some(fault) = medium.failure() {
            ledger.close(fault);
            medium.poke();
        }
        drop(medium);
        match ledger.round_under_way() {
            None => {
                quiet += 1;
                if ledger.fault().is_some() && ledger.is_closing() {
                    return;
                }
            }
            Some(round) => {
                quiet = 0;
                if watched.0 != round {
                    watched = (round, Instant::now());
                } else if watched.1.elapsed() >= stall_limit {
                    ledger.close(Fault::new(FaultKind::Stalled, "a flush"));
                    if ledger.is_closing() {
                        return;
                    }
                }
            }
        }
        if quiet >= QUIET_TICKS && !ledger.is_closing() && ledger.sentry_may_sleep() {
            thread::park();
            quiet = 0;
        } else {
            thread::park_timeout(TICK);
        }
    }
}

/// The medium for the length of one look.
pub(crate) type MediumRef = std::sync::Arc<dyn Medium>;

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Condvar, Mutex};

    use super::*;
    use crate::journal::error::JournalError;
    use crate::journal::flush;

    /// A medium whose flush blocks until it is poked.
    #[derive(Default)]
    struct Stuck {
        fails: bool,
        poked: Mutex<bool>,
        wake: Condvar,
    }

    impl Medium for Stuck {
        fn flush(&self) -> Result<(), Fault> {
            let poked = self.poked.lock().unwrap();
            let _poked = self.wake.wait_while(poked, |poked| !*poked).unwrap();
            Err(Fault::new(FaultKind::Io, "a late answer"))
        }
        fn sync(&self) -> Result<(), Fault> {
            Ok(())
        }
        fn failure(&self) -> Option<Fault> {
            self.fails.then(|| Fault::new(FaultKind::Full, "a background write"))
        }
        fn poke(&self) {
            *self.poked.lock().unwrap() = true;
            self.wake.notify_all();
        }
    }

    #[tokio::test]
    async fn a_flush_that_nobody_wakes_does_not_hold_up_the_callers() {
        for (fails, kind) in [(true, FaultKind::Full), (false, FaultKind::Stalled)] {
            let stuck = Arc::new(Stuck { fails, ..Stuck::default() });
            let ledger = Arc::new(Ledger::default());
            let (its_ledger, its_medium) = (Arc::clone(&ledger), Arc::clone(&stuck));
            let flusher = thread::spawn(move || flush::run(&its_ledger, &*its_medium));
            let (its_ledger, its_medium) = (Arc::clone(&ledger), Arc::downgrade(&stuck));
            let limit = Duration::from_millis(200);
            let sentry = thread::spawn(move || {
                run(&its_ledger, limit, || its_medium.upgrade().map(|medium| medium as MediumRef));
            });
            drop(ledger.begin_write());
            let wait = ledger.ticket();
            let wait = tokio::time::timeout(Duration::from_secs(10), wait.durable());
            let Err(JournalError::Closed(fault)) = wait.await.unwrap() else { panic!("no fault") };
            assert_eq!(fault.kind(), kind);
            stuck.poke();
            flusher.join().unwrap();
            ledger.shut_down();
            drop(stuck);
            ledger.wake_sentry();
            sentry.join().unwrap();
        }
    }

    #[test]
    fn a_quiet_sentry_sleeps_and_a_write_wakes_it() {
        let ledger = Ledger::default();
        assert!(ledger.sentry_may_sleep());
        drop(ledger.begin_write());
        assert!(!ledger.sentry_may_sleep(), "something is dirty");
    }
}
