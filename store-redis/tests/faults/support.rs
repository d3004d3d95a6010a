//! What the tests share.

use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use idempotency_core::{
    Acquired, Claim, Completion, Fingerprint, Grant, Idempotency, IdempotencyStore, Key, StoreError, StoreErrorKind,
};
use idempotency_store_redis::{RedisStore, RedisStoreConfig};
use idempotency_testkit::servers::{Redis, RedisServer};
use tokio::runtime::Runtime;

/// How much longer than its limit a call may take on a machine that is busy with other tests.
pub(crate) const MARGIN: Duration = Duration::from_secs(1);
/// How long replicas may take on a busy machine.
pub(crate) const REPLICAS: Duration = Duration::from_secs(10);

pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// A server that keeps nothing on disk.
pub(crate) fn server() -> RedisServer {
    Redis::new().own().start().unwrap()
}

/// A server that has written to disk what it answers.
pub(crate) fn durable() -> RedisServer {
    Redis::new().own().with_arg("appendonly", "yes").with_arg("appendfsync", "always").start().unwrap()
}

pub(crate) fn config(url: &str) -> RedisStoreConfig {
    RedisStoreConfig::from_url(url).unwrap()
}

pub(crate) fn open(runtime: &Runtime, server: &RedisServer) -> RedisStore {
    runtime.block_on(RedisStore::open(config(&server.url()))).unwrap()
}

/// The URL of a server for another user.
pub(crate) fn url_as(server: &RedisServer, login: &str) -> String {
    format!("redis://{login}@{}", server.address())
}

pub(crate) fn key(name: impl AsRef<[u8]>) -> Key {
    Key::new("fault", name).build().unwrap()
}

/// The name of a key's record.
pub(crate) fn name(key: &Key) -> String {
    format!("idem:{}", key.as_str())
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
        assert!(begun.elapsed() < Duration::from_secs(30), "it never came to this: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Makes a call again for as long as it fails in passing.
pub(crate) async fn in_the_end<T, F>(call: impl Fn() -> F) -> T
where
    F: Future<Output = Result<T, StoreError>>,
{
    let begun = Instant::now();
    loop {
        match call().await {
            Ok(answer) => return answer,
            Err(error) => assert!(error.is_passing() && begun.elapsed() < Duration::from_secs(10), "{error}"),
        }
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

/// Runs an operation over a key, which must fail at the store before the operation was touched.
#[track_caller]
pub(crate) fn nothing_runs(runtime: &Runtime, store: &RedisStore, key: &Key) -> StoreError {
    let handle = Idempotency::new(store.clone()).with_store_limit(Duration::from_secs(1)).unwrap();
    let ran = AtomicBool::new(false);
    let operation = async {
        ran.store(true, Ordering::Relaxed);
        Ok::<_, idempotency_core::Error>(1_u32)
    };
    let ended = runtime.block_on(handle.execute_once(key, operation));
    assert!(!ran.load(Ordering::Relaxed), "the operation ran");
    match ended {
        Err(idempotency_core::Error::Store { source, .. }) => source,
        other => panic!("{other:?}"),
    }
}
