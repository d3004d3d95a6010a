//! What the tests and their roles share.

use std::time::{Duration, Instant};

use idempotency_core::{Claim, Fingerprint, Key};
use idempotency_store_postgres::sqlx::postgres::PgPoolOptions;
use idempotency_store_postgres::{PostgresStore, PostgresStoreConfig};

/// How long a call may take: a server that is away is to be noticed soon.
const LIMIT: Duration = Duration::from_secs(2);
/// How long anything may take that surely comes, on a busy machine.
pub(crate) const SURELY: Duration = Duration::from_secs(60);
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

/// How a client comes to its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// By a pool of the store's own.
    Own,
    /// By a pool that has the settings of its database.
    Callers,
    /// Through a pooler in transaction mode.
    Pooler,
}

impl Way {
    const ALL: [Self; 3] = [Self::Own, Self::Callers, Self::Pooler];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Callers => "callers",
            Self::Pooler => "pooler",
        }
    }

    pub(crate) fn named(name: &str) -> Self {
        Self::ALL.into_iter().find(|way| way.name() == name).unwrap()
    }

    fn config(self, url: &str) -> PostgresStoreConfig {
        let config = PostgresStoreConfig::from_url(url).unwrap();
        let config = match self {
            Self::Own => config,
            Self::Pooler => config.behind_transaction_pooler(),
            Self::Callers => {
                PostgresStoreConfig::from_pool(PgPoolOptions::new().max_connections(4).connect_lazy(url).unwrap())
            }
        };
        config.with_limit(LIMIT).with_connections(4)
    }
}

/// Opens the store, as soon as its server lets it.
pub(crate) async fn open(url: &str, way: Way) -> PostgresStore {
    let begun = Instant::now();
    loop {
        match PostgresStore::open(way.config(url)).await {
            Ok(store) => return store,
            Err(error) => assert!(error.is_passing() && begun.elapsed() < SURELY, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
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
