//! The sled store against the contract, within one process; one program, so that it links once.

#![allow(clippy::unwrap_used)] // in what the tests share, too

#[macro_use]
#[path = "../../../store-memory/tests/cases/mod.rs"]
mod cases;
mod damage;
mod pieces;
mod purging;
mod reopening;
mod smoke;
mod support;

use idempotency_store_sled::Durability;

async fn power_safe() -> cases::Subject {
    support::subject(Durability::Power).await
}

async fn crash_safe() -> cases::Subject {
    support::subject(Durability::Process).await
}

store_cases!(crate::power_safe, crate::crash_safe);
