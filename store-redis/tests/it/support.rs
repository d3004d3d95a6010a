//! What the tests share.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use idempotency_store_redis::{RedisStore, RedisStoreConfig};
use idempotency_testkit::conformance::{Capability, Subject};

/// How long a call may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(10);

/// A prefix that no other test uses.
pub(crate) fn prefix() -> String {
    static USED: AtomicU32 = AtomicU32::new(0);
    format!("it-{}-{}:", std::process::id(), USED.fetch_add(1, Ordering::Relaxed))
}

pub(crate) async fn subject(config: RedisStoreConfig) -> Subject {
    let config = config.with_prefix(prefix()).with_limit(LIMIT);
    let reopened = config.clone();
    Subject::new(RedisStore::open(config).await.unwrap())
        .forgetting_by_itself()
        .lacks(Capability::Clock, "its server's clock cannot be moved")
        .reopened_by(move || {
            let config = reopened.clone();
            async move { Subject::new(RedisStore::open(config).await.unwrap()) }
        })
}
