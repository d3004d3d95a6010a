//! Settings and surroundings that are rare.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use idempotency_core::{Acquired, Claim, Completion, Fingerprint, Held, IdempotencyStore, Key, Omitted};
use idempotency_store_postgres::sqlx::postgres::PgConnectOptions;
use idempotency_store_postgres::sqlx::{self, PgPool, Row};
use idempotency_store_postgres::{Names, PostgresStore, PostgresStoreConfig};
use idempotency_testkit::servers::Postgres;

/// How long anything may take that surely comes, on a busy machine.
const SURELY: Duration = Duration::from_secs(30);

fn key(id: &str) -> Key {
    Key::new("corner", id).build().unwrap()
}

async fn ends(store: &PostgresStore, key: &Key) {
    let acquired = store.acquire_lock(key, &Claim::new(Fingerprint::NONE)).await.unwrap();
    let Acquired::Acquired(grant) = acquired else { panic!("{acquired:?}") };
    let watch = store.watch(key);
    // Until somebody listens.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let result = Completion::Omitted(Omitted::ByChoice);
    assert_eq!(store.store_result(key, &grant.lock, &result, SURELY).await.unwrap(), Held::Held);
    tokio::time::timeout(SURELY, watch).await.expect("nobody was told");
}

/// Whoever listens takes no connection from those who work, and goes when the store does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_of_one_connection_can_be_waited_at() {
    let url = Postgres::shared().unwrap().fresh_database().unwrap();
    let others = PgPool::connect(&url).await.unwrap();
    let config = PostgresStoreConfig::from_url(&format!("{url}?application_name=one")).unwrap();
    let store = PostgresStore::open(config.with_connections(1)).await.unwrap();
    ends(&store, &key("1")).await;
    drop(store);
    let left = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'one'";
    let begun = Instant::now();
    while sqlx::query(left).fetch_one(&others).await.unwrap().get::<i64, _>(0) > 0 {
        assert!(begun.elapsed() < SURELY / 3, "a connection is left");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Names that mean something in SQL.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_are_reserved_words() {
    let url = Postgres::shared().unwrap().fresh_database().unwrap();
    for (schema, table) in [("order", "user"), ("select", "table")] {
        let names = Names::new(schema, table).unwrap();
        for id in ["1", "2"] {
            let config = PostgresStoreConfig::from_url(&url).unwrap().with_names(names.clone());
            ends(&PostgresStore::open(config).await.unwrap(), &key(id)).await;
        }
    }
}

/// A call that has begun may be dropped anywhere.
#[test]
fn a_call_is_dropped_outside_of_its_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let url = Postgres::shared().unwrap().fresh_database().unwrap();
    let open = PostgresStore::open(PostgresStoreConfig::from_url(&url).unwrap());
    let store = runtime.block_on(open).unwrap();
    let others = runtime.block_on(PgPool::connect(&url)).unwrap();
    let key = key("1");
    // So that no answer is there at once.
    let mut locked = runtime.block_on(others.begin()).unwrap();
    runtime.block_on(sqlx::query("LOCK TABLE idempotency.records").execute(&mut *locked)).unwrap();
    for _ in 0..20 {
        let mut get = pin!(store.get(&key));
        let begun = runtime.block_on(poll_fn(|context| Poll::Ready(get.as_mut().poll(context).is_pending())));
        assert!(begun, "it was answered");
    }
    runtime.block_on(async {
        locked.rollback().await.unwrap();
        ends(&store, &key).await;
        others.close().await;
    });
}

/// Large values do not all travel together: what takes too long is not done at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_values_at_once() {
    const COUNT: usize = 64;
    let url = Postgres::shared().unwrap().fresh_database().unwrap();
    let config = PostgresStoreConfig::from_url(&url).unwrap().with_limit(Duration::from_secs(1));
    let store = PostgresStore::open(config).await.unwrap();
    let mut number = 7_u32;
    let bytes = std::iter::repeat_with(|| {
        number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (number >> 24) as u8
    });
    // Such as cannot be made shorter.
    let large = Completion::Value(bytes.take(4 << 20).collect::<Vec<_>>().into());
    let mut locks = Vec::new();
    for n in 0..COUNT {
        let key = key(&n.to_string());
        let acquired = store.acquire_lock(&key, &Claim::new(Fingerprint::NONE)).await.unwrap();
        let Acquired::Acquired(grant) = acquired else { panic!("{acquired:?}") };
        locks.push((key, grant.lock));
    }
    let stored = locks.into_iter().map(|(key, lock)| {
        let (store, large) = (store.clone(), large.clone());
        tokio::spawn(async move { store.store_result(&key, &lock, &large, SURELY).await.is_ok() })
    });
    let mut done = 0;
    for stored in stored.collect::<Vec<_>>() {
        done += usize::from(stored.await.unwrap());
    }
    println!("{done} of {COUNT} in time");
    assert!(done >= 4, "{done} of {COUNT}");
}

/// Somebody made the schema, and lets a user make tables there and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_are_made_with_no_more_than_the_right_to_the_schema() {
    let server = Postgres::new().own().start().unwrap();
    let url = server.fresh_database().unwrap();
    let owner = PgPool::connect(&url).await.unwrap();
    let sql =
        "CREATE ROLE keeper LOGIN; CREATE SCHEMA idempotency; GRANT USAGE, CREATE ON SCHEMA idempotency TO keeper";
    sqlx::raw_sql(sql).execute(&owner).await.unwrap();
    let keeper: PgConnectOptions = url.parse().unwrap();
    let keeper = PgPool::connect_with(keeper.username("keeper")).await.unwrap();
    let store = PostgresStore::open(PostgresStoreConfig::from_pool(keeper)).await.unwrap();
    ends(&store, &key("1")).await;
}
