//! The Postgres store against the contract; one program, so that it links once.

#![allow(clippy::unwrap_used)] // in what the tests share, too

mod cancelled;
mod corners;
mod pooled;
mod readable;
mod support;
mod transactions;

use std::str::FromStr;

use idempotency_store_postgres::PostgresStoreConfig;
use idempotency_store_postgres::sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use idempotency_testkit::conformance::Subject;
use idempotency_testkit::servers::{PgBouncer, Postgres};

/// As it is opened by default.
async fn own_pool() -> Subject {
    let url = Postgres::shared().unwrap().url();
    support::subject(PostgresStoreConfig::from_url(&url).unwrap()).await
}

/// Through a pooler that gives every connection away after each transaction.
async fn pgbouncer() -> Subject {
    let url = PgBouncer::shared().unwrap().url(&Postgres::shared().unwrap().url());
    let config = PostgresStoreConfig::from_url(&format!("{url}?pooler=transaction")).unwrap();
    support::unwatched(support::subject(config).await).one_round_in(20)
}

/// A pool of the caller's, on a database that is set to the strictest isolation.
async fn serializable() -> Subject {
    let server = PgConnectOptions::from_str(&Postgres::shared().unwrap().url()).unwrap();
    let server = server.options([("default_transaction_isolation", "serializable")]);
    let pool = PgPoolOptions::new().max_connections(10).connect_with(server).await.unwrap();
    support::subject(PostgresStoreConfig::from_pool(pool)).await.one_round_in(4)
}

idempotency_testkit::conformance!(own_pool, pgbouncer, serializable);
