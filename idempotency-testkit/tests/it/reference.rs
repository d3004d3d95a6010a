//! The reference store passes the suite, on a clock that is moved and on one that is not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use idempotency_core::SystemClock;
use idempotency_testkit::ReferenceStore;
use idempotency_testkit::conformance::{self, Capability, Subject, sample};

use crate::small::WithoutUpkeep;

fn on_a_manual_clock() -> Subject {
    let clock = sample::clock();
    Subject::new(ReferenceStore::new(clock.clone())).on_clock(clock).lacks(Capability::Reopen, "it is in memory")
}

/// In real time, and with no more than a store needs to have.
fn bare() -> Subject {
    Subject::minimal(WithoutUpkeep(ReferenceStore::new(SystemClock::new())))
        .lacks(Capability::Clock, "it is on the machine's clock")
        .lacks(Capability::Upkeep, "it is as small as a store may be")
        .lacks(Capability::Watch, "it cannot tell when a key changes")
        .lacks(Capability::Reopen, "it is in memory")
}

fn in_real_time() -> Subject {
    Subject::new(ReferenceStore::new(SystemClock::new()))
        .lacks(Capability::Clock, "it is on the machine's clock")
        .lacks(Capability::Reopen, "it is in memory")
}

/// Opened again over the same records, as a store on a disk is.
fn reopened() -> Subject {
    let clock = sample::clock();
    let kept = Arc::new(ReferenceStore::new(clock.clone()));
    Subject::new(kept.clone()).on_clock(clock).reopened_by(move || Subject::new(kept.clone()))
}

idempotency_testkit::conformance!(on_a_manual_clock, reopened);

/// In real time most cases wait most of the time: so all at once.
fn passes_in_real_time(fresh: fn() -> Subject) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..24 {
            scope.spawn(|| {
                while let Some(case) = conformance::cases().get(next.fetch_add(1, Relaxed)) {
                    case.run(fresh()).unwrap_or_else(|failure| panic!("{failure}"));
                }
            });
        }
    });
}

#[test]
fn a_store_in_real_time_passes() {
    passes_in_real_time(in_real_time);
}

#[test]
fn a_store_with_no_more_than_it_must_have_passes() {
    passes_in_real_time(bare);
}
