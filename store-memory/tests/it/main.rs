//! The memory store against the contract; one program, so that it links once.

#![allow(clippy::unwrap_used)] // in what the tests share, too

mod capacity;
mod purging;
mod smoke;

use idempotency_store_memory::MemoryStore;
use idempotency_testkit::conformance::{Capability, Subject, sample};

fn fresh() -> Subject {
    let clock = sample::clock();
    Subject::new(MemoryStore::with_clock(clock.clone()))
        .on_clock(clock)
        .lacks(Capability::Reopen, "its records are in this process's memory")
}

idempotency_testkit::conformance!(fresh);
