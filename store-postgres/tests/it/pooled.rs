//! Behind a pooler that gives connections away after each transaction.

use std::collections::HashSet;

use idempotency_core::{Claim, Fingerprint, IdempotencyStore, Key};
use idempotency_store_postgres::sqlx::{self, ConnectOptions, Row, postgres::PgConnectOptions};
use idempotency_store_postgres::{PostgresStore, PostgresStoreConfig};
use idempotency_testkit::servers::{PgBouncer, Postgres};

/// A database: its URL, and that through the pooler.
fn database() -> (String, String) {
    let url = Postgres::shared().unwrap().fresh_database().unwrap();
    let pooled = PgBouncer::shared().unwrap().url(&url);
    (url, pooled)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pooler_of_these_tests_gives_connections_away() {
    let (_, url) = database();
    let options: PgConnectOptions = url.parse().unwrap();
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(options.clone().extra_float_digits(None).connect().await.unwrap());
    }
    let mut served_by = HashSet::new();
    for client in &mut clients {
        let row = sqlx::raw_sql("SELECT pg_backend_pid()").fetch_one(client).await.unwrap();
        served_by.insert(row.get::<i32, _>(0));
    }
    assert_eq!(served_by.len(), 1, "each has a connection of its own");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_open_at_once_and_leave_no_lock() {
    let (direct, pooled) = database();
    for (url, suffix) in [(&direct, ""), (&pooled, "?pooler=transaction")] {
        let opened = (0..16).map(|_| {
            let config = PostgresStoreConfig::from_url(&format!("{url}{suffix}")).unwrap();
            tokio::spawn(PostgresStore::open(config.with_connections(2)))
        });
        for opened in opened.collect::<Vec<_>>() {
            let store = opened.await.unwrap().unwrap();
            let key = Key::new("open", "1").build().unwrap();
            store.acquire_lock(&key, &Claim::new(Fingerprint::NONE)).await.unwrap();
        }
        let mut client = direct.parse::<PgConnectOptions>().unwrap().connect().await.unwrap();
        let kept = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = \
                    (SELECT oid FROM pg_database WHERE datname = current_database())";
        let kept: i64 = sqlx::query(kept).fetch_one(&mut client).await.unwrap().get(0);
        assert_eq!(kept, 0);
        sqlx::raw_sql("DROP SCHEMA idempotency CASCADE").execute(&mut client).await.unwrap();
    }
}
