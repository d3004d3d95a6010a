//! Servers that are not there, or will not have us, or would not do: each is told for what it is.

use std::time::{Duration, Instant};

use idempotency_core::{
    Acquired, Answer, Effect, Held, Idempotency, IdempotencyStore, StoreError, StoreErrorKind, Upkeep,
};
use idempotency_store_postgres::sqlx::{self, PgPool, Row};
use idempotency_store_postgres::{Names, PostgresStore, PostgresStoreConfig, migrations};
use idempotency_testkit::proxy::{Direction, Proxy};
use idempotency_testkit::servers::{Postgres, PostgresServer};

use crate::support::{MARGIN, acquired, all_of, assert_error, claim, config, key, value};

const LIMIT: Duration = Duration::from_millis(1500);

async fn refusal(config: PostgresStoreConfig) -> StoreError {
    let begun = Instant::now();
    let error = PostgresStore::open(config.with_limit(LIMIT)).await.unwrap_err();
    assert!(begun.elapsed() < LIMIT + MARGIN, "{:?}", begun.elapsed());
    assert_eq!(error.operation(), "open");
    error
}

/// The URL of a database for another user.
fn url_as(url: &str, login: &str) -> String {
    url.replace("postgres://postgres@", &format!("postgres://{login}@"))
}

async fn says(pool: &PgPool, sql: &str) {
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(pool).await.unwrap();
}

/// A server of the test's own, on which all but the superuser need a password.
fn guarded() -> PostgresServer {
    let server = Postgres::new().own().start().unwrap();
    let data = server.query("SHOW data_directory").unwrap();
    let lines = "VALUES ('host all postgres 127.0.0.1/32 trust'), ('host all all 127.0.0.1/32 scram-sha-256')";
    server.query(&format!("COPY ({lines}) TO '{data}/pg_hba.conf'")).unwrap();
    server.query("SELECT pg_reload_conf()").unwrap();
    server
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password() {
    let server = guarded();
    let url = server.fresh_database().unwrap();
    server.query("CREATE ROLE alice LOGIN PASSWORD 'right-one'").unwrap();
    for login in ["alice:wrong-one", "bob:wrong-one"] {
        let error = refusal(config(&url_as(&url, login))).await;
        assert_error(&error, StoreErrorKind::Misconfigured, &["user and password"]);
        assert!(!all_of(&error).contains("wrong-one"), "{}", all_of(&error));
    }
    let config = config(&url_as(&url, "alice:right-one"));
    assert!(!format!("{config:?} {config:#?}").contains("right-one"));
    // With the password right, it is the right to make a schema that is missing.
    assert_error(&refusal(config).await, StoreErrorKind::Misconfigured, &["lacks a right", "migrations"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_databases_tables_and_versions() {
    let server = Postgres::shared().unwrap();
    let error = refusal(config(&server.url_at(server.address(), "nowhere"))).await;
    assert_error(&error, StoreErrorKind::Misconfigured, &["database's name"]);

    let url = server.fresh_database().unwrap();
    let error = refusal(config(&url).without_migrations()).await;
    assert_error(&error, StoreErrorKind::Misconfigured, &["table is missing", "migrations"]);

    let pool = PgPool::connect(&url).await.unwrap();
    let store = PostgresStore::open(config(&url)).await.unwrap();
    // One that goes away later.
    says(&pool, "ALTER TABLE idempotency.records RENAME TO elsewhere").await;
    let error = store.acquire_lock(&key("new"), &claim()).await.unwrap_err();
    assert_error(&error, StoreErrorKind::Misconfigured, &["table is missing", "migrations"]);
    says(&pool, "ALTER TABLE idempotency.elsewhere RENAME TO records").await;
    acquired(&store, &key("new")).await;
    let newer = "INSERT INTO idempotency.records_migrations (version, description) VALUES (99, 'from the future')";
    says(&pool, newer).await;
    assert_error(&refusal(config(&url)).await, StoreErrorKind::Misconfigured, &["version 99", "older"]);
    let error = refusal(config(&url).without_migrations()).await;
    assert_error(&error, StoreErrorKind::Misconfigured, &["version 99", "older"]);
    says(&pool, "ALTER TABLE idempotency.records RENAME attempt TO attempts").await;
    says(&pool, "DELETE FROM idempotency.records_migrations WHERE version = 99").await;
    assert_error(&refusal(config(&url)).await, StoreErrorKind::Misconfigured, &["not as this version needs"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_takes_no_writes() {
    let server = Postgres::shared().unwrap();
    let url = server.fresh_database().unwrap();
    let store = PostgresStore::open(config(&url)).await.unwrap();
    let grant = acquired(&store, &key("held")).await;
    let database = url.rsplit('/').next().unwrap();
    server.query(&format!("ALTER DATABASE {database} SET default_transaction_read_only = on")).unwrap();
    let error = refusal(config(&url)).await;
    assert_error(&error, StoreErrorKind::Unavailable, &["standby or read-only", "primary"]);
    // One that becomes so: on new connections.
    let pool = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname =";
    server.query(&format!("{pool} '{database}'")).unwrap();
    let mut told = None;
    for _ in 0..20 {
        match store.store_result(&key("held"), &grant.lock, &value(b"v"), claim().retention).await {
            Err(error) if error.to_string().contains("read-only") => told = Some(error),
            Err(error) => assert!(error.is_passing(), "{error}"),
            Ok(held) => panic!("{held:?}"),
        }
    }
    assert_error(&told.unwrap(), StoreErrorKind::Unavailable, &["standby or read-only", "primary"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_are_down_silent_or_full() {
    let server = Postgres::new().own().with_setting("max_connections", "6").start().unwrap();
    let url = server.fresh_database().unwrap();
    let proxy = Proxy::start(server.address()).unwrap();
    proxy.black_hole(Direction::Both);
    let error = refusal(config(&server.url_through(&proxy))).await;
    assert_error(&error, StoreErrorKind::Unavailable, &["within the time limit"]);

    let store = PostgresStore::open(config(&url).with_connections(1).with_limit(LIMIT)).await.unwrap();
    let others = sqlx::postgres::PgPoolOptions::new().max_connections(6).connect(&url).await.unwrap();
    let mut taken = Vec::new();
    while let Ok(Ok(one)) = tokio::time::timeout(LIMIT, others.acquire()).await {
        taken.push(one);
    }
    let error = refusal(config(&url)).await;
    assert_error(&error, StoreErrorKind::Unavailable, &["no connection"]);
    acquired(&store, &key("it has its own")).await;
    drop(taken);
    others.close().await;

    server.kill().unwrap();
    let error = refusal(config(&url)).await;
    assert_error(&error, StoreErrorKind::Unavailable, &["cannot be reached"]);
    let begun = Instant::now();
    let error = store.acquire_lock(&key("down"), &claim()).await.unwrap_err();
    assert!(error.is_passing() && begun.elapsed() < LIMIT + MARGIN, "{error} after {:?}", begun.elapsed());
    server.restart().unwrap();
    let begun = Instant::now();
    while store.acquire_lock(&key("back"), &claim()).await.is_err() {
        assert!(begun.elapsed() < MARGIN * 10);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_that_is_full() {
    let url = Postgres::shared().unwrap().fresh_database().unwrap();
    let pool = sqlx::postgres::PgPoolOptions::new().max_connections(1).connect(&url).await.unwrap();
    let config = PostgresStoreConfig::from_pool(pool.clone()).with_limit(LIMIT);
    let store = PostgresStore::open(config).await.unwrap();
    let taken = pool.acquire().await.unwrap();
    let begun = Instant::now();
    let calls = (0..3).map(|n| {
        let store = store.clone();
        tokio::spawn(async move { store.acquire_lock(&key([b'0' + n]), &claim()).await.unwrap_err() })
    });
    for call in calls.collect::<Vec<_>>() {
        let error = call.await.unwrap();
        assert!(matches!(error.kind(), StoreErrorKind::Unavailable | StoreErrorKind::InDoubt), "{error}");
        assert!(error.to_string().contains("no connection") || error.to_string().contains("no answer"), "{error}");
    }
    assert!(begun.elapsed() < LIMIT + MARGIN, "{:?}", begun.elapsed());
    drop(taken);
    acquired(&store, &key("free")).await;
}

/// What the README tells to grant.
const GRANTS: &str = "GRANT USAGE ON SCHEMA idempotency TO service; \
                      GRANT SELECT, INSERT, UPDATE, DELETE ON idempotency.records TO service; \
                      GRANT USAGE ON SEQUENCE idempotency.records_fences TO service;";

/// Calls for which each right is needed.
async fn uses_everything(store: PostgresStore) -> Result<(), StoreError> {
    let claim = claim();
    let key = key(claim.owner.to_string());
    let Acquired::Acquired(grant) = store.acquire_lock(&key, &claim).await? else { panic!("{key} is new") };
    store.store_result(&key, &grant.lock, &value(b"v"), LIMIT).await?;
    store.purge(10).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_least_rights() {
    let server = guarded();
    let url = server.fresh_database().unwrap();
    let pool = PgPool::connect(&url).await.unwrap();
    says(&pool, &migrations(&Names::default())).await;
    says(&pool, "CREATE ROLE service LOGIN PASSWORD 'p'").await;
    let service = || config(&url_as(&url, "service:p"));
    for config in [service(), service().without_migrations()] {
        assert_error(&refusal(config).await, StoreErrorKind::Misconfigured, &["lacks a right"]);
    }
    says(&pool, GRANTS).await;
    for config in [service(), service().without_migrations()] {
        let store = PostgresStore::open(config).await.unwrap();
        let name = pool.size().to_string() + &format!("{:?}", Instant::now());
        let (one, two) = (key(format!("{name}1")), key(format!("{name}2")));
        let grant = acquired(&store, &one).await;
        assert_eq!(store.extend_lock(&one, &grant.lock, LIMIT).await.unwrap(), Held::Held);
        assert_eq!(store.store_result(&one, &grant.lock, &value(b"v"), LIMIT).await.unwrap(), Held::Held);
        let grant = acquired(&store, &two).await;
        let watch = store.watch(&two);
        tokio::time::sleep(MARGIN / 4).await;
        assert_eq!(store.release_lock(&two, &grant.lock, Effect::None).await.unwrap(), Held::Held);
        tokio::time::timeout(MARGIN * 5, watch).await.expect("nobody was told");
        store.stats().await.unwrap();
        store.list(None, 10).await.unwrap();
        store.purge(10).await.unwrap();
        let transactions = store.transactions(&Idempotency::new(store.clone()));
        let three = key(format!("{name}3"));
        let ran = transactions.execute_in_transaction(&three, |_, _| async { Ok::<_, idempotency_core::Error>(1) });
        assert!(!ran.await.unwrap().is_replay());
        assert!(matches!(store.guarantees().await.unwrap().survives_machine_crash, Answer::No(_)), "fsync is off");
    }
    // Each of them is needed.
    for revoked in [
        "USAGE ON SCHEMA idempotency",
        "SELECT ON idempotency.records",
        "INSERT ON idempotency.records",
        "UPDATE ON idempotency.records",
        "DELETE ON idempotency.records",
        "USAGE ON SEQUENCE idempotency.records_fences",
    ] {
        let store = PostgresStore::open(service()).await.unwrap();
        says(&pool, &format!("REVOKE {revoked} FROM service")).await;
        let error = uses_everything(store).await.expect_err(revoked);
        assert_error(&error, StoreErrorKind::Misconfigured, &["lacks a right", "README", "permission denied"]);
        // Known as soon as it is opened; who never purges needs no DELETE.
        let opened = PostgresStore::open(service()).await;
        if revoked.starts_with("DELETE") {
            opened.unwrap();
        } else {
            let grant = format!("GRANT {revoked} TO service;");
            assert_error(
                &opened.unwrap_err(),
                StoreErrorKind::Misconfigured,
                &["service lacks a right", "README", &grant],
            );
        }
        says(&pool, GRANTS).await;
    }
    uses_everything(PostgresStore::open(service()).await.unwrap()).await.unwrap();
    let open: i64 = sqlx::query("SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'")
        .fetch_one(&pool)
        .await
        .unwrap()
        .get(0);
    assert_eq!(open, 0);
}
