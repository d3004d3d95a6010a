//! However often clients and servers are killed, there is one row a completed key.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use idempotency_core::{Error, Idempotency, Key};
use idempotency_store_postgres::Transactions;
use idempotency_store_postgres::sqlx::{self, PgPool, Row};
use idempotency_testkit::servers::{Postgres, PostgresServer};

use idempotency_testkit::processes::{Program, Random, role};

use crate::client::now_ms;
use crate::common::{SURELY, Way, is_long, open, runtime};

/// How many tasks a client has.
const TASKS: u64 = 8;
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
    program.role("killed", |arguments| {
        let [url, from, seed] = arguments else { panic!("{arguments:?}") };
        runtime().block_on(client(url, from.parse().unwrap(), seed.parse().unwrap()));
    });
    program.test("kills::clients_that_are_killed", clients_that_are_killed);
    program.test("kills::servers_that_are_killed", servers_that_are_killed);
}

async fn transactions(url: &str) -> Transactions {
    let store = open(url, Way::Own).await;
    store.transactions(&Idempotency::new(store.clone()))
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
    let transactions = transactions(url).await;
    let tasks = (0..TASKS).map(|task| {
        let (transactions, mut random) = (transactions.clone(), Random::new(seed ^ (task + 1) << 40));
        tokio::spawn(async move {
            loop {
                if order(&transactions, from + random.below(KEYS_A_KILL)).await.is_err() {
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

fn start(url: &str, from: u64, seed: u64) -> Killed {
    let mut command = role("killed");
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
        let (seed, all_begun) = (now_ms(), Instant::now());
        let mut random = Random::new(seed);
        let mut all = 0;
        for kill in 0..kills {
            let (from, before) = (kill * KEYS_A_KILL, all);
            let clients = [start(&url, from, random.next()), start(&url, from, random.next())];
            // In the midst of its work.
            let begun = Instant::now();
            while all == before {
                assert!(begun.elapsed() < SURELY, "nothing is done");
                all = is_one_a_key(&pool).await;
            }
            tokio::time::sleep(Duration::from_micros(random.below(30_000))).await;
            drop(clients);
            all = is_one_a_key(&pool).await;
        }
        // All that is not done can be done by others, now.
        let transactions = transactions(&url).await;
        let begun = Instant::now();
        for number in 0..kills * KEYS_A_KILL {
            while order(&transactions, number).await.is_err() {
                assert!(begun.elapsed() < 2 * SURELY, "{number} cannot be done");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        println!(
            "seed {seed}: {kills} kills in {:?}, {all} of {} done by then",
            all_begun.elapsed(),
            kills * KEYS_A_KILL
        );
        assert_eq!(is_one_a_key(&pool).await, (kills * KEYS_A_KILL) as i64);
    });
}

fn servers_that_are_killed() {
    // Each second time it is shut down at once, instead of killed.
    let kills = if is_long() { 200 } else { 6 };
    runtime().block_on(async {
        let server = Postgres::new().own().start().unwrap();
        let (url, pool) = tables(&server).await;
        let (seed, all_begun) = (now_ms(), Instant::now());
        let mut random = Random::new(seed);
        let mut all = 0;
        for kill in 0..kills {
            let (from, before) = (kill * KEYS_A_KILL, all);
            let _clients = [start(&url, from, random.next()), start(&url, from, random.next())];
            let begun = Instant::now();
            while all == before {
                assert!(begun.elapsed() < SURELY, "nothing is done");
                all = is_one_a_key(&pool).await;
            }
            tokio::time::sleep(Duration::from_micros(random.below(30_000))).await;
            if kill % 2 == 1 {
                server.shut_down().unwrap();
            }
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
        println!("seed {seed}: {kills} kills and shutdowns of the server in {:?}, {all} done", all_begun.elapsed());
    });
}
