//! Transactions whose connections are cut, silenced and ended at random, also while they are committed: there
//! is one row a completed key, and what was acknowledged is there.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use idempotency_core::{Error, Idempotency, IdempotencyStore, Key};
use idempotency_store_postgres::sqlx::{self, PgPool, Row};
use idempotency_store_postgres::{PostgresStore, PostgresStoreConfig, Transactions};
use idempotency_testkit::processes::Random;
use idempotency_testkit::proxy::{Direction, Proxy};
use idempotency_testkit::servers::{PgBouncer, Postgres, PostgresServer};

use crate::support::{SURELY, config, key, runtime, until};

const LIMIT: Duration = Duration::from_millis(500);
const TASKS: u64 = 12;
/// How many faults there are, and how many keys come with each.
const FAULTS: u64 = 40;
const KEYS: u64 = 20;

#[derive(Debug)]
enum Failed {
    Idempotency(Error),
    Sql(#[allow(dead_code)] sqlx::Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Idempotency(error)
    }
}

impl From<sqlx::Error> for Failed {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

/// The name that the connections of the test have.
const NAME: &str = "application_name=shop";

async fn order(transactions: &Transactions, key: &Key) -> Result<(), Failed> {
    let id = key.as_str().to_owned();
    let outcome = transactions.execute_in_transaction(key, move |mut transaction, _| async move {
        let order = sqlx::query("INSERT INTO orders VALUES ($1)").persistent(false).bind(id);
        order.execute(&mut *transaction).await?;
        Ok::<_, Failed>(7)
    });
    assert_eq!(*outcome.await?, 7);
    Ok(())
}

/// What the callers share.
#[derive(Default)]
struct Seen {
    come: AtomicU64,
    calls: AtomicU64,
    failed: AtomicU64,
    in_doubt: AtomicU64,
    is_over: AtomicBool,
    acknowledged: Mutex<HashSet<String>>,
}

async fn calls(seen: Arc<Seen>, transactions: Transactions, mut random: Random) {
    while !seen.is_over.load(Relaxed) {
        let key = key((seen.come.load(Relaxed) + random.below(KEYS)).to_string());
        match order(&transactions, &key).await {
            Ok(()) => drop(seen.acknowledged.lock().unwrap().insert(key.as_str().to_owned())),
            Err(Failed::Idempotency(Error::InProgress { .. })) => {}
            Err(failed) => {
                let is_uncommitted = matches!(failed, Failed::Idempotency(Error::Uncommitted { .. }));
                seen.in_doubt.fetch_add(u64::from(is_uncommitted), Relaxed);
                seen.failed.fetch_add(1, Relaxed);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
        seen.calls.fetch_add(1, Relaxed);
    }
}

fn disturbed(server: &PostgresServer, url: &str, proxy: &Proxy, config: PostgresStoreConfig) {
    let (runtime, seed) = (runtime(), std::process::id().into());
    let mut random = Random::new(seed);
    let pool = runtime.block_on(PgPool::connect(url)).unwrap();
    let count = |sql: &'static str| -> i64 {
        runtime.block_on(async { sqlx::query(sql).fetch_one(&pool).await.unwrap().get(0) })
    };
    runtime.block_on(sqlx::query("CREATE TABLE orders (id text NOT NULL)").execute(&pool)).unwrap();
    let store = runtime.block_on(PostgresStore::open(config.with_limit(LIMIT))).unwrap();
    let idempotency = Idempotency::new(store.clone());
    let transactions = store.transactions(&idempotency);
    let seen = Arc::new(Seen::default());
    let tasks = (0..TASKS).map(|task| {
        let random = Random::new(seed ^ (task + 1) << 40);
        runtime.spawn(calls(seen.clone(), transactions.clone(), random))
    });
    let tasks: Vec<_> = tasks.collect();
    let go_on = |counted: &AtomicU64, more| {
        let wanted = counted.load(Relaxed) + more;
        until("the callers go on", || counted.load(Relaxed) >= wanted);
    };
    for fault in 0..FAULTS {
        go_on(&seen.calls, 8);
        thread::sleep(Duration::from_micros(random.below(20_000)));
        match fault % 4 {
            0 => proxy.cut(),
            // Some of what was asked for is done, and not told.
            1 => proxy.cut_after(Direction::ToClient, random.below(400)),
            2 => {
                let some = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                            WHERE application_name = 'shop' AND random() < 0.7";
                server.query(some).unwrap();
            }
            _ => {
                proxy.black_hole(if fault % 8 == 3 { Direction::ToClient } else { Direction::Both });
                thread::sleep(LIMIT / 2);
                // What was held back is lost.
                proxy.cut();
                proxy.heal();
            }
        }
        seen.come.fetch_add(KEYS / 2, Relaxed);
    }
    proxy.heal();
    go_on(&seen.calls, 100);
    seen.is_over.store(true, Relaxed);
    for task in tasks {
        runtime.block_on(async { tokio::time::timeout(SURELY, task).await }).expect("a call hangs").unwrap();
    }
    runtime.block_on(idempotency.drain(SURELY)).unwrap();
    let open = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'shop' AND state LIKE 'idle in%'";
    until("no transaction is left open", || count(open) == 0);

    let (orders, different) = (count("SELECT count(*) FROM orders"), count("SELECT count(DISTINCT id) FROM orders"));
    let completed = count("SELECT count(*) FROM idempotency.records WHERE state = 'C'");
    let (calls, failed) = (seen.calls.load(Relaxed), seen.failed.load(Relaxed));
    let in_doubt = seen.in_doubt.load(Relaxed);
    println!("seed {seed}: {calls} calls, {failed} failed, {in_doubt} at their commit; {orders} orders");
    assert_eq!((different, completed), (orders, orders), "different orders, completed keys");
    assert!(failed > FAULTS / 4, "the callers did not notice");
    let acknowledged = std::mem::take(&mut *seen.acknowledged.lock().unwrap());
    let found: Vec<String> = runtime.block_on(async {
        let all = sqlx::query("SELECT id FROM orders").fetch_all(&pool).await.unwrap();
        all.iter().map(|row| row.get(0)).collect()
    });
    let found: HashSet<String> = found.into_iter().collect();
    assert_eq!(acknowledged.difference(&found).next(), None, "it was acknowledged and is not there");
    // Whatever is not done can be done.
    let begun = Instant::now();
    let all = seen.come.load(Relaxed) + KEYS;
    runtime.block_on(async {
        for number in 0..all {
            while let Err(failed) = order(&transactions, &key(number.to_string())).await {
                assert!(begun.elapsed() < SURELY, "{number} cannot be done: {failed:?}");
            }
        }
        assert!(store.get(&key("0")).await.unwrap().is_some());
    });
    assert_eq!(count("SELECT count(*) FROM orders"), all as i64);
}

#[test]
fn directly() {
    let server = Postgres::shared().unwrap();
    let url = server.fresh_database().unwrap();
    let proxy = Proxy::start(server.address()).unwrap();
    let through = url.replace(server.address(), &proxy.address().to_string());
    disturbed(server, &url, &proxy, config(&format!("{through}?{NAME}")));
}

#[test]
fn through_a_pooler() {
    let server = Postgres::new().own().start().unwrap();
    let url = server.fresh_database().unwrap();
    let pooler = PgBouncer::start(&server).unwrap();
    let proxy = Proxy::start(pooler.address()).unwrap();
    let through = config(&format!("{}?{NAME}", pooler.url_through(&proxy, &url))).behind_transaction_pooler();
    disturbed(&server, &url, &proxy, through);
}
