//! The sled store against the contract, within one process; one program, so that it links once.

#![allow(clippy::unwrap_used)] // in what the tests share, too

mod damage;
mod pieces;
mod purging;
mod reopening;
mod smoke;
mod support;

use idempotency_store_sled::Durability;
use idempotency_testkit::conformance::Subject;

async fn power_safe() -> Subject {
    // Each call waits for the disk.
    support::subject(Durability::Power).await.one_round_in(20)
}

async fn crash_safe() -> Subject {
    support::subject(Durability::Process).await
}

idempotency_testkit::conformance!(power_safe, crash_safe);
