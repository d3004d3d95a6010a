//! The memory store against the contract; one program, so that it links once.

#![allow(clippy::unwrap_used)] // in what the tests share, too

#[macro_use]
#[path = "../cases/mod.rs"]
mod cases;
mod capacity;
mod smoke;

use idempotency_store_memory::MemoryStore;

async fn fresh() -> cases::Subject {
    let clock = cases::clock();
    cases::Subject::new(MemoryStore::with_clock(clock.clone()), clock, ())
}

store_cases!(crate::fresh, crate::fresh);
