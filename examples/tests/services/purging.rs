//! Keys that are past their retention are removed, by whichever service is on their store.

#![cfg(unix)]

use std::time::Duration;

use idempotency::{Error, Idempotency, Key};
use idempotency_testkit::servers::Postgres;
use jiff::{SignedDuration, Timestamp};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::support::Program;

/// More than a purge removes at a time.
const KEYS: u64 = 1_001;
/// What takes longer does not come.
const PATIENCE: Duration = Duration::from_secs(240);

async fn old_keys_are_removed_by(program: impl FnOnce() -> Program) {
    let url = Postgres::shared().expect("a server").fresh_database().expect("a database");
    let store = idempotency::connect(&url).await.expect("a store");
    let idempotency = Idempotency::new(store.clone()).with_retention(Duration::from_millis(1)).expect("a time");
    let mut runs = JoinSet::new();
    for number in 0..KEYS {
        let idempotency = idempotency.clone();
        runs.spawn(async move {
            let key = Key::new("old", number.to_string()).build().expect("a key");
            let _done = idempotency.execute_once(&key, async { Ok::<_, Error>(()) }).await.expect("it runs");
        });
    }
    runs.join_all().await;
    let until = async |expired: u64| {
        let comes = async {
            while store.stats().await.expect("stats").expired != expired {
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(PATIENCE, comes).await.unwrap_or_else(|_| panic!("waited {PATIENCE:?} for {expired} expired keys"));
    };
    until(KEYS).await;
    let _service = program().start(Some(&url)).await;
    until(0).await;
}

const fn with(path: &'static str, options: &'static [&'static str]) -> Program {
    Program { path, options, provider: true }
}

#[tokio::test(flavor = "multi_thread")]
async fn payments_removes_them() {
    old_keys_are_removed_by(|| with(env!("CARGO_BIN_EXE_payments"), &["service"])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn checkout_removes_them() {
    old_keys_are_removed_by(|| with(env!("CARGO_BIN_EXE_checkout"), &[])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn booking_removes_them() {
    old_keys_are_removed_by(|| with(env!("CARGO_BIN_EXE_booking"), &["--jobs-every", "never"])).await;
}

/// Each night: here, the night begins as soon as the gateway is surely there.
#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_removes_them_at_its_time_of_the_day() {
    let soon = || {
        let minute = Timestamp::now() + SignedDuration::from_secs(120);
        let options = ["--cleanup-at", minute.strftime("%H:%M").to_string().leak()];
        with(env!("CARGO_BIN_EXE_gateway"), Vec::from(options).leak())
    };
    old_keys_are_removed_by(soon).await;
}
