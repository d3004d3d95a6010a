//! What the tests and their roles share.

use std::time::{Duration, Instant};

use idempotency_core::{Claim, Fingerprint, Key};
use idempotency_store_redis::{RedisStore, RedisStoreConfig, Start};

/// How long a call may take: a paused server is to be noticed soon.
pub(crate) const LIMIT: Duration = Duration::from_secs(1);
/// How long anything may take that surely comes, on a busy machine.
const SURELY: Duration = Duration::from_secs(60);
/// Nothing is forgotten while a test lasts.
pub(crate) const RETENTION: Duration = Duration::from_secs(60 * 60);

pub(crate) fn is_long() -> bool {
    std::env::var_os("IDEMPOTENCY_SOAK").is_some()
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

pub(crate) fn key(number: u64) -> Key {
    Key::new("process", number.to_string()).build().unwrap()
}

/// A claim by a new owner.
pub(crate) fn claim(lease: Duration) -> Claim {
    Claim { lease, retention: RETENTION, unknown_retention: RETENTION, ..Claim::new(Fingerprint::NONE) }
}

pub(crate) async fn open(url: &str, prefix: &str, replicas: u32) -> RedisStore {
    let config = RedisStoreConfig::from_url(url).unwrap().with_prefix(prefix).with_limit(LIMIT);
    let config = config.with_replicas(replicas, LIMIT).with_start(Start::Wait(SURELY));
    RedisStore::open(config).await.unwrap()
}

/// Asks until there is something.
///
/// # Panics
/// Where it does not come.
pub(crate) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(begun.elapsed() < SURELY, "it does not come: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
