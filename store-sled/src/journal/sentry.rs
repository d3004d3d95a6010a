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
