//! What the tests share.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use idempotency_store_redis::{RedisStore, RedisStoreConfig};
use idempotency_testkit::conformance::{Capability, Subject};
use idempotency_testkit::servers::Redis;

/// A prefix that no other test uses.
pub(crate) fn prefix() -> String {
    static USED: AtomicU32 = AtomicU32::new(0);
    format!("it-{}-{}:", std::process::id(), USED.fetch_add(1, Ordering::Relaxed))
}

pub(crate) async fn subject(clock_tolerance: Duration) -> Subject {
    let server = Redis::shared().unwrap();
    let config =
        RedisStoreConfig::from_url(&server.url()).unwrap().with_prefix(prefix()).with_clock_tolerance(clock_tolerance);
    let reopened = config.clone();
    Subject::new(RedisStore::open(config).await.unwrap())
        .forgetting_by_itself()
        .lacks(Capability::Clock, "its server's clock cannot be moved")
        .reopened_by(move || {
            let config = reopened.clone();
            async move { Subject::new(RedisStore::open(config).await.unwrap()) }
        })
}
