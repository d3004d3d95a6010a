use idempotency_testkit::conformance::{Capability, Subject, sample};

use crate::own_store::ToyStore;

fn fresh() -> Subject {
    let clock = sample::clock();
    Subject::minimal(ToyStore::new(clock.clone()))
        .on_clock(clock)
        .lacks(Capability::Upkeep, "a toy keeps all there ever was")
        .lacks(Capability::Watch, "its waiters poll")
        .lacks(Capability::Reopen, "its records are in this process's memory")
}

idempotency_testkit::conformance!(fresh);
