//! Whoever asks may go away at any time: at each await point, as soon as he waits, or when he is told that he
//! need wait no longer.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use idempotency_core::{
    Acquired, Answer, Claim, Completion, Effect, Error, Fingerprint, Guarantees, Held, Idempotency, IdempotencyStore,
    Key, Lock, Page, Purged, Snapshot, State, Stats, Upkeep,
};
use idempotency_store_postgres::sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use idempotency_store_postgres::sqlx::{self, PgPool, Row};
use idempotency_store_postgres::{PostgresStore, PostgresStoreConfig};
use idempotency_testkit::servers::{PgBouncer, Postgres};

/// How long anything may take that surely comes, on a busy machine.
const SURELY: Duration = Duration::from_secs(30);
const CONNECTIONS: u32 = 3;
const RETENTION: Duration = Duration::from_secs(3600);

/// When a future is dropped that was polled so often.
#[derive(Clone, Copy, Debug)]
enum When {
    /// As soon as it waits.
    Waiting,
    /// When it is told to go on.
    Woken,
}

const EACH: [When; 2] = [When::Waiting, When::Woken];

/// Polls a future so often; then it is dropped. Its output, if it came to its end.
async fn polled<T>(times: usize, when: When, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut left = times;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 && matches!(when, When::Waiting) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

struct Shop {
    pool: PgPool,
    /// That of somebody who looks on.
    other: PgPool,
    store: PostgresStore,
}

impl Shop {
    /// On a pool of the caller's: one to the server, and one to a pooler before it.
    async fn each() -> [Self; 2] {
        [Self::open(false).await, Self::open(true).await]
    }

    async fn open(is_pooled: bool) -> Self {
        let url = Postgres::shared().unwrap().fresh_database().unwrap();
        let other = PgPoolOptions::new().max_connections(1).connect(&url).await.unwrap();
        sqlx::query("CREATE TABLE orders (id text NOT NULL)").execute(&other).await.unwrap();
        let pooled = PgBouncer::shared().unwrap().url(&url);
        let server: PgConnectOptions = if is_pooled { &pooled } else { &url }.parse().unwrap();
        let pool = PgPoolOptions::new().max_connections(CONNECTIONS);
        let pool = pool.connect_with(server.extra_float_digits(None)).await.unwrap();
        let config = PostgresStoreConfig::from_pool(pool.clone());
        let config = if is_pooled { config.behind_transaction_pooler() } else { config };
        Self { pool, other, store: PostgresStore::open(config).await.unwrap() }
    }

    async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query(sql).fetch_one(&self.other).await.unwrap().get(0)
    }

    /// The pool has all its connections, and each of them can be used; none is in a transaction.
    async fn is_as_before(&self, what: &str) {
        let begun = Instant::now();
        let mut all = Vec::new();
        for _ in 0..CONNECTIONS {
            let one = tokio::time::timeout(SURELY, self.pool.acquire()).await;
            all.push(one.unwrap_or_else(|_| panic!("{what}: a connection is missing")).unwrap());
        }
        let idle = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                    AND pid <> pg_backend_pid() AND state <> 'idle'";
        while self.count(idle).await > 0 {
            assert!(begun.elapsed() < SURELY, "{what}: a connection is left in a transaction");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        for one in &mut all {
            let begins = "SELECT now() = statement_timestamp() AS is_alone";
            let row = sqlx::raw_sql(begins).fetch_one(&mut **one).await.unwrap();
            assert!(row.get::<bool, _>(0), "{what}: it was in a transaction");
        }
        drop(all);
        while self.pool.num_idle() < CONNECTIONS as usize {
            assert!(begun.elapsed() < SURELY, "{what}: a connection does not come back");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

fn key(name: &str) -> Key {
    Key::new("cancelled", name).build().unwrap()
}

fn claim() -> Claim {
    Claim { retention: RETENTION, ..Claim::new(Fingerprint::NONE) }
}

fn value() -> Completion {
    Completion::Value(b"v".to_vec().into())
}

async fn acquired(store: &PostgresStore, key: &Key) -> Lock {
    match store.acquire_lock(key, &claim()).await.unwrap() {
        Acquired::Acquired(grant) => grant.lock,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction() {
    for shop in Shop::each().await {
        let idempotency = Idempotency::new(shop.store.clone());
        let transactions = shop.store.transactions(&idempotency);
        let run = async |key: &Key| {
            let id = key.as_str().to_owned();
            let outcome = transactions.execute_in_transaction(key, move |mut transaction, _| async move {
                let order = sqlx::query("INSERT INTO orders VALUES ($1)").persistent(false).bind(id);
                order.execute(&mut *transaction).await.unwrap();
                tokio::task::yield_now().await;
                Ok::<_, Error>(7)
            });
            outcome.await
        };
        let (mut all, mut done) = (0, 0);
        for when in EACH {
            for times in 0.. {
                let what = format!("{when:?} after {times}");
                let key = key(&what);
                let outcome = polled(times, when, run(&key)).await;
                // A run that has begun goes on to its end.
                idempotency.drain(SURELY).await.unwrap();
                shop.is_as_before(&what).await;
                let found = shop.store.get(&key).await.unwrap().map(|found| found.record.state);
                let rows: i64 = sqlx::query("SELECT count(*) FROM orders WHERE id = $1")
                    .bind(key.as_str())
                    .fetch_one(&shop.other)
                    .await
                    .unwrap()
                    .get(0);
                match found {
                    None => assert_eq!(rows, 0, "{what}"),
                    Some(State::Completed { .. }) => assert_eq!(rows, 1, "{what}"),
                    Some(other) => panic!("{what}: {other:?}"),
                }
                assert_eq!(*run(&key).await.unwrap(), 7, "{what}");
                all += 1;
                done += rows;
                if let Some(outcome) = outcome {
                    assert_eq!((*outcome.unwrap(), rows), (7, 1), "{what}");
                    break;
                }
            }
        }
        assert_eq!(shop.count("SELECT count(*) FROM orders").await, all);
        println!("{all} dropped, of which {done} went on to their end");
        assert!(all > 4 && done < all, "{done} of {all}");
    }
}

/// Drops a call after each number of polls, in both ways; then makes it again, and looks at what it says.
macro_rules! at_each_poll {
    ($shop:ident, $what:literal, |$key:ident, $lock:ident| $call:expr, $is_right:expr) => {
        let mut polls = 0;
        for when in EACH {
            for times in 0.. {
                let what = format!("{} {when:?} after {times}", $what);
                let $key = key(&what);
                let $lock = acquired(&$shop.store, &$key).await;
                let ended = polled(times, when, async { $call.await }).await;
                $shop.is_as_before(&what).await;
                let again = $call.await;
                assert!($is_right(&again.unwrap()), "{what}, made again");
                polls = polls.max(times);
                if let Some(ended) = ended {
                    assert!($is_right(&ended.unwrap()), "{what}");
                    break;
                }
            }
        }
        println!("{}: {polls} polls", $what);
        assert!(polls > 0, "{} does not wait", $what);
    };
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_of_a_holder() {
    for shop in Shop::each().await {
        let store = &shop.store;
        let value = value();
        let is_there = |found: &Option<Snapshot>| found.is_some();
        let is_held = |held: &Held| *held == Held::Held;
        at_each_poll!(shop, "get", |key, _lock| store.get(&key), is_there);
        at_each_poll!(shop, "extend", |key, lock| store.extend_lock(&key, &lock, RETENTION), is_held);
        at_each_poll!(shop, "store", |key, lock| store.store_result(&key, &lock, &value, RETENTION), is_held);
        at_each_poll!(shop, "release", |key, lock| store.release_lock(&key, &lock, Effect::None), is_held);
        at_each_poll!(shop, "tell unknown", |key, lock| store.release_lock(&key, &lock, Effect::Unknown), is_held);
        at_each_poll!(shop, "guarantees", |key, _lock| store.guarantees(), |found: &Guarantees| found.shared
            == Answer::Yes);
        at_each_poll!(shop, "purge", |key, _lock| store.purge(10), |gone: &Purged| gone.removed == 0);
        at_each_poll!(shop, "stats", |key, _lock| store.stats(), |stats: &Stats| stats.in_progress > 0);
        at_each_poll!(shop, "list", |key, _lock| store.list(None, 10), |page: &Page| !page.records.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acquisitions() {
    for shop in Shop::each().await {
        // Of a key that is new, and of one that was released.
        for is_known in [false, true] {
            let mut polls = 0;
            for when in EACH {
                for times in 0.. {
                    let what = format!("{when:?} after {times}, known: {is_known}");
                    let (key, claim) = (key(&what), claim());
                    if is_known {
                        let lock = acquired(&shop.store, &key).await;
                        assert_eq!(shop.store.release_lock(&key, &lock, Effect::None).await.unwrap(), Held::Held);
                    }
                    let ended = polled(times, when, shop.store.acquire_lock(&key, &claim)).await;
                    shop.is_as_before(&what).await;
                    // By the same owner: the same lock again, or the first one.
                    let attempt = 1 + u32::from(is_known);
                    let again = shop.store.acquire_lock(&key, &claim).await.unwrap();
                    let Acquired::Acquired(grant) = again else { panic!("{what}: {again:?}") };
                    assert_eq!((grant.attempt, grant.prior.is_none()), (attempt, true), "{what}");
                    let held = shop.store.store_result(&key, &grant.lock, &value(), RETENTION).await.unwrap();
                    assert_eq!(held, Held::Held, "{what}");
                    polls = polls.max(times);
                    if let Some(ended) = ended {
                        let Ok(Acquired::Acquired(first)) = ended else { panic!("{what}: {ended:?}") };
                        assert_eq!(first.lock, grant.lock, "{what}");
                        break;
                    }
                }
            }
            println!("acquire, known: {is_known}: {polls} polls");
            assert!(polls > 1, "it does not wait");
        }
    }
}

/// Calls that share a statement: whoever goes away takes nobody along.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_many_that_travel_together() {
    for shop in Shop::each().await {
        for when in EACH {
            for times in 0..6 {
                let name = |n: u32| format!("{when:?} {times} {n}");
                let calls = (0..24).map(|n| {
                    let (store, key) = (shop.store.clone(), key(&name(n)));
                    tokio::spawn(async move {
                        let claim = claim();
                        let acquire = store.acquire_lock(&key, &claim);
                        match n % 3 {
                            0 => (key.clone(), polled(times, when, acquire).await),
                            _ => (key.clone(), Some(acquire.await)),
                        }
                    })
                });
                for (n, call) in calls.collect::<Vec<_>>().into_iter().enumerate() {
                    let (key, answer) = call.await.unwrap();
                    match answer {
                        Some(Ok(Acquired::Acquired(grant))) => {
                            let held = shop.store.store_result(&key, &grant.lock, &value(), RETENTION).await.unwrap();
                            assert_eq!(held, Held::Held);
                        }
                        Some(other) => panic!("{key}: {other:?}"),
                        None => assert_eq!(n % 3, 0),
                    }
                }
                shop.is_as_before(&name(0)).await;
            }
        }
    }
}
