//! The Redis store against the contract; one program, so that it links once.

#![allow(clippy::unwrap_used)] // in what the tests share, too

mod memory;
mod support;

use idempotency_testkit::conformance::Subject;

async fn one_server() -> Subject {
    support::subject().await
}

idempotency_testkit::conformance!(one_server);
