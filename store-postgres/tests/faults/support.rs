//! What the tests share.

use std::error::Error;
use std::thread;
use std::time::{Duration, Instant};

use idempotency_core::{
    Acquired, Claim, Completion, Fingerprint, Grant, IdempotencyStore, Key, StoreError, StoreErrorKind,
};
use idempotency_store_postgres::PostgresStoreConfig;
use tokio::runtime::Runtime;

/// How much longer than its limit a call may take on a machine that is busy with other tests.
pub(crate) const MARGIN: Duration = Duration::from_secs(1);
/// How long anything may take that surely comes, on a busy machine.
pub(crate) const SURELY: Duration = Duration::from_secs(60);

pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

pub(crate) fn config(url: &str) -> PostgresStoreConfig {
    PostgresStoreConfig::from_url(url).unwrap()
}

pub(crate) fn key(name: impl AsRef<[u8]>) -> Key {
    Key::new("fault", name).build().unwrap()
}

pub(crate) fn claim() -> Claim {
    Claim::new(Fingerprint::NONE)
}

pub(crate) fn value(bytes: &[u8]) -> Completion {
    Completion::Value(bytes.to_vec().into())
}

pub(crate) async fn acquired(store: &impl IdempotencyStore, key: &Key) -> Grant {
    match store.acquire_lock(key, &claim()).await.unwrap() {
        Acquired::Acquired(grant) => grant,
        other => panic!("{other:?}"),
    }
}

/// Asks until a condition holds.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < SURELY, "it never came to this: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// All that an error says: of itself and of what is behind it, to people and to programmers.
pub(crate) fn all_of(error: &StoreError) -> String {
    let mut said = format!("{error}\n{error:?}");
    let mut behind = error.source();
    while let Some(error) = behind {
        said = format!("{said}\n{error}\n{error:?}");
        behind = error.source();
    }
    said
}

/// The error is of this kind, and its message has these words in it.
#[track_caller]
pub(crate) fn assert_error(error: &StoreError, kind: StoreErrorKind, words: &[&str]) {
    assert_eq!(error.kind(), kind, "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "`{word}` is not in: {error}");
    }
}
