//! The Redis store against the contract; one program, so that it links once.

#![allow(clippy::unwrap_used)] // in what the tests share, too

mod memory;
mod support;
#[cfg(feature = "tls")]
mod tls;

use std::time::Duration;

use idempotency_store_redis::DEFAULT_CLOCK_TOLERANCE;
use idempotency_testkit::conformance::Subject;

/// As it is opened by default: short retentions by script, long ones by single commands.
async fn one_server() -> Subject {
    support::subject(DEFAULT_CLOCK_TOLERANCE).await
}

/// Single commands wherever they serve, as no record must outlive a step of the clock.
async fn by_commands() -> Subject {
    support::subject(Duration::from_millis(1)).await
}

idempotency_testkit::conformance!(one_server, by_commands);
