//! However often clients and servers are killed, there is one row a completed key.

use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use idempotency_core::{Error, Idempotency, Key};
use idempotency_store_postgres::sqlx::{self, PgPool, Row};
use idempotency_store_postgres::{PostgresStore, PostgresStoreConfig, Transactions};
use idempotency_testkit::servers::{Postgres, PostgresServer};

use idempotency_testkit::processes::{Program, role};

/// How many tasks a client has.
const TASKS: u64 = 8;
/// How long a client may take to do its first work, on a busy machine.
const SURELY: Duration = Duration::from_secs(60);
/// How many keys there are for each kill: so few that most are called again and again.
const KEYS_A_KILL: u64 = 40;

#[derive(Debug)]
struct Failed;

impl From<Error> for Failed {
    fn from(_: Error) -> Self {
        Self
    }
}

impl From<sqlx::Error> for Failed {
    fn from(_: sqlx::Error) -> Self {
        Self
    }
}

pub(crate) fn add_to(program: &mut Program) {
    program.role("client", |arguments| {
        let [url, from, seed] = arguments else { panic!("{arguments:?}") };
        runtime().block_on(client(url, from.parse().unwrap(), seed.parse().unwrap()));
    });
    program.test("kills::clients_that_are_killed", clients_that_are_killed);
    program.test("kills::servers_that_are_killed", servers_that_are_killed);
}

fn is_long() -> bool {
    std::env::var_os("IDEMPOTENCY_SOAK").is_some()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

async fn open(url: &str) -> Transactions {
    let config = PostgresStoreConfig::from_url(url).unwrap().with_limit(Duration::from_secs(2));
    let begun = Instant::now();
    loop {
        match PostgresStore::open(config.clone()).await {
            Ok(store) => return store.transactions(&Idempotency::new(store.clone())),
            Err(error) => assert!(error.is_passing() && begun.elapsed() < SURELY, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A row for the order and one for the outbox, and the answer.
async fn order(transactions: &Transactions, number: u64) -> Result<bool, Failed> {
    let key = Key::new("order", number.to_string()).build().unwrap();
    let outcome = transactions.execute_in_transaction(&key, move |mut transaction, _| async move {
        let id = number as i64;
        sqlx::query("INSERT INTO orders VALUES ($1)").bind(id).execute(&mut *transaction).await?;
        sqlx::query("INSERT INTO outbox VALUES ($1)").bind(id).execute(&mut *transaction).await?;
        Ok::<_, Failed>(number)
    });
    let outcome = outcome.await?;
    assert_eq!(*outcome, number);
    Ok(outcome.is_replay())
}

/// Calls random keys until it is killed.
async fn client(url: &str, from: u64, seed: u64) {
    let transactions = open(url).await;
    let random = Arc::new(AtomicU64::new(seed));
    let tasks = (0..TASKS).map(|_| {
        let (transactions, random) = (transactions.clone(), random.clone());
        tokio::spawn(async move {
            loop {
                if order(&transactions, from + draw(&random) % KEYS_A_KILL).await.is_err() {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
        })
    });
    // None of them ends by itself.
    let tasks: Vec<_> = tasks.collect();
    std::future::pending::<()>().await;
    drop(tasks);
}

/// SplitMix64.
fn draw(state: &AtomicU64) -> u64 {
    let mut mixed = state.fetch_add(0x9e37_79b9_7f4a_7c15, Relaxed).wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn start(url: &str, from: u64, seed: u64) -> Killed {
    let mut command = role("client");
    command.args([url, &from.to_string(), &seed.to_string()]).stdin(Stdio::null());
    Killed(command.spawn().unwrap())
}

/// A client; killed with this, if not before.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// What is there, as of one moment: orders, different ones, the same of the outbox, completed keys.
async fn counts(pool: &PgPool) -> [i64; 5] {
    let asked = "SELECT (SELECT count(*) FROM orders) AS a, (SELECT count(DISTINCT id) FROM orders) AS b, \
                 (SELECT count(*) FROM outbox) AS c, (SELECT count(DISTINCT id) FROM outbox) AS d, \
                 (SELECT count(*) FROM idempotency.records WHERE state = 'C') AS e";
    let begun = Instant::now();
    loop {
        match sqlx::query(asked).fetch_one(pool).await {
            Ok(row) => return ["a", "b", "c", "d", "e"].map(|column| row.get(column)),
            // The first client may not have made the table yet; a server may not be back.
            Err(error) => assert!(begun.elapsed() < SURELY, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn is_one_a_key(pool: &PgPool) -> i64 {
    let found = counts(pool).await;
    assert!(found.iter().all(|count| *count == found[0]), "orders, outbox, keys: {found:?}");
    found[0]
}

async fn tables(server: &PostgresServer) -> (String, PgPool) {
    let url = server.fresh_database().unwrap();
    let pool = PgPool::connect(&url).await.unwrap();
    for table in ["orders", "outbox"] {
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("CREATE TABLE {table} (id bigint NOT NULL)")))
            .execute(&pool)
            .await
            .unwrap();
    }
    (url, pool)
}

fn clients_that_are_killed() {
    let kills = if is_long() { 1000 } else { 40 };
    runtime().block_on(async {
        let (url, pool) = tables(Postgres::shared().unwrap()).await;
        let random = AtomicU64::new(std::process::id().into());
        let mut all = 0;
        for kill in 0..kills {
            let (from, before) = (kill * KEYS_A_KILL, all);
            let clients = [start(&url, from, draw(&random)), start(&url, from, draw(&random))];
            // In the midst of its work.
            let begun = Instant::now();
            while all == before {
                assert!(begun.elapsed() < SURELY, "nothing is done");
                all = is_one_a_key(&pool).await;
            }
            tokio::time::sleep(Duration::from_micros(draw(&random) % 30_000)).await;
            drop(clients);
            all = is_one_a_key(&pool).await;
        }
        // All that is not done can be done by others, now.
        let transactions = open(&url).await;
        let begun = Instant::now();
        for number in 0..kills * KEYS_A_KILL {
            while order(&transactions, number).await.is_err() {
                assert!(begun.elapsed() < 2 * SURELY, "{number} cannot be done");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        println!("{kills} kills, {all} of {} done by then", kills * KEYS_A_KILL);
        assert_eq!(is_one_a_key(&pool).await, (kills * KEYS_A_KILL) as i64);
    });
}

fn servers_that_are_killed() {
    let kills = if is_long() { 100 } else { 5 };
    runtime().block_on(async {
        let server = Postgres::new().own().start().unwrap();
        let (url, pool) = tables(&server).await;
        let random = AtomicU64::new(std::process::id().into());
        let mut all = 0;
        for kill in 0..kills {
            let (from, before) = (kill * KEYS_A_KILL, all);
            let _clients = [start(&url, from, draw(&random)), start(&url, from, draw(&random))];
            let begun = Instant::now();
            while all == before {
                assert!(begun.elapsed() < SURELY, "nothing is done");
                all = is_one_a_key(&pool).await;
            }
            tokio::time::sleep(Duration::from_micros(draw(&random) % 30_000)).await;
            server.restart().unwrap();
            let at_least = all;
            all = is_one_a_key(&pool).await;
            assert!(all >= at_least, "{all} of {at_least} are there");
            // The same clients go on, to the end.
            let begun = Instant::now();
            while all < (from + KEYS_A_KILL) as i64 {
                assert!(begun.elapsed() < SURELY, "{all} are done");
                tokio::time::sleep(Duration::from_millis(10)).await;
                all = is_one_a_key(&pool).await;
            }
        }
    });
}
