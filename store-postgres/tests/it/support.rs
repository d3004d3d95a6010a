//! What the tests share.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use idempotency_store_postgres::{Names, PostgresStore, PostgresStoreConfig};
use idempotency_testkit::conformance::{Capability, Subject};

/// How long a call may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(10);

/// A table that no other test uses.
pub(crate) fn names() -> Names {
    static USED: AtomicU32 = AtomicU32::new(0);
    Names::new("it", format!("t{}_{}", std::process::id(), USED.fetch_add(1, Ordering::Relaxed))).unwrap()
}

pub(crate) async fn subject(config: PostgresStoreConfig) -> Subject {
    let config = config.with_names(names()).with_limit(LIMIT);
    let reopened = config.clone();
    Subject::new(PostgresStore::open(config).await.unwrap())
        .lacks(Capability::Clock, "its server's clock cannot be moved")
        .reopened_by(move || {
            let config = reopened.clone();
            async move { Subject::new(PostgresStore::open(config).await.unwrap()) }
        })
}

pub(crate) fn unwatched(subject: Subject) -> Subject {
    subject.lacks(Capability::Watch, "a pooler in transaction mode takes no LISTEN")
}
