//! Record and rows in one transaction.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use idempotency_core::{Claim, Error, Idempotency, IdempotencyStore, Key, StoreErrorKind, Upkeep};
use idempotency_store_postgres::sqlx::postgres::PgArguments;
use idempotency_store_postgres::sqlx::query::Query;
use idempotency_store_postgres::sqlx::{self, Connection, PgPool, Postgres, Row};
use idempotency_store_postgres::{PostgresStore, PostgresStoreConfig, Transactions};
use idempotency_testkit::proxy::{Direction, Proxy};
use idempotency_testkit::servers::{self, PgBouncer};
use tokio::sync::Notify;

/// How long anything may take that surely comes, on a busy machine.
const SURELY: Duration = Duration::from_secs(30);

/// A database with a table of the application's.
struct Shop {
    pool: PgPool,
    store: PostgresStore,
    idempotency: Idempotency,
    transactions: Transactions,
}

/// What an application's operation fails with.
#[derive(Debug)]
enum Failed {
    Idempotency(Error),
    Sql(#[allow(dead_code)] sqlx::Error),
    Declined,
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

impl Shop {
    async fn open() -> Self {
        let url = servers::Postgres::shared().unwrap().fresh_database().unwrap();
        Self::with(&url, PostgresStoreConfig::from_url(&url).unwrap()).await
    }

    /// Its store is behind a pooler in transaction mode.
    async fn pooled() -> Self {
        let url = servers::Postgres::shared().unwrap().fresh_database().unwrap();
        let pooled = PostgresStoreConfig::from_url(&PgBouncer::shared().unwrap().url(&url)).unwrap();
        Self::with(&url, pooled.behind_transaction_pooler()).await
    }

    async fn with(url: &str, config: PostgresStoreConfig) -> Self {
        let pool = PgPool::connect(url).await.unwrap();
        says("CREATE TABLE orders (id text NOT NULL, amount int NOT NULL)").execute(&pool).await.unwrap();
        let store = PostgresStore::open(config).await.unwrap();
        let idempotency = Idempotency::new(store.clone());
        let transactions = store.transactions(&idempotency);
        Self { pool, store, idempotency, transactions }
    }

    async fn orders(&self) -> i64 {
        says("SELECT count(*) FROM orders").fetch_one(&self.pool).await.unwrap().get(0)
    }

    /// Waits until no connection is in a transaction but the one that asks.
    async fn is_quiet(&self) {
        let busy = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                    AND state LIKE 'idle in transaction%'";
        let begun = Instant::now();
        while says(busy).fetch_one(&self.pool).await.unwrap().get::<i64, _>(0) > 0 {
            assert!(begun.elapsed() < SURELY, "a connection is left in a transaction");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn order(&self, key: &Key, amount: i32) -> Result<idempotency_core::Outcome<i32>, Failed> {
        let id = key.to_string();
        self.transactions
            .execute_in_transaction(key, move |mut transaction, _| async move {
                says("INSERT INTO orders VALUES ($1, $2)").bind(id).bind(amount).execute(&mut *transaction).await?;
                Ok(amount)
            })
            .await
    }
}

/// A statement that a pooler may give to any connection of the server's: with a name it would stay there.
fn says(sql: &'static str) -> Query<'static, Postgres, PgArguments> {
    sqlx::query(sql).persistent(false)
}

fn key(id: &str) -> Key {
    Key::new("order:create", id).build().unwrap()
}

/// Makes a test of each function, for a store at its server and for one behind a pooler.
macro_rules! each_way {
    ($($test:ident),* $(,)?) => {
        mod direct {
            use super::Shop;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(Shop::open().await).await;
            })*
        }
        mod pgbouncer {
            use super::Shop;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(Shop::pooled().await).await;
            })*
        }
    };
}

each_way!(
    rows_and_record_are_committed_together,
    an_operation_that_fails_leaves_nothing,
    a_panic_rolls_back,
    a_duplicate_is_told_at_once_while_it_runs,
    of_many_at_once_one_runs,
    a_caller_that_goes_away_leaves_no_connection_in_a_transaction,
    an_unknown_attempt_is_taken_over_and_told_of,
    what_the_late_attempt_before_it_stored_stands,
    a_transaction_that_is_ended_or_broken_is_not_committed,
    savepoints_are_the_operations_own,
    a_constraint_that_is_checked_at_the_end_rolls_both_back,
    a_takeover_goes_on_while_others_wait_and_purge,
);

async fn rows_and_record_are_committed_together(shop: Shop) {
    let first = shop.order(&key("1"), 19).await.unwrap();
    assert!(!first.is_replay());
    let again = shop.order(&key("1"), 20).await.unwrap();
    assert!(again.is_replay());
    assert_eq!((*first, *again, shop.orders().await), (19, 19, 1));
    // And by the other way.
    let third = shop.idempotency.execute_once(&key("1"), async { Ok::<_, Error>(21) }).await.unwrap();
    assert!(third.is_replay() && *third == 19);
    shop.is_quiet().await;
}

async fn an_operation_that_fails_leaves_nothing(shop: Shop) {
    let failed = shop
        .transactions
        .execute_in_transaction::<i32, Failed, _, _>(&key("1"), |mut transaction, _| async move {
            says("INSERT INTO orders VALUES ('1', 1)").execute(&mut *transaction).await?;
            Err(Failed::Declined)
        })
        .await;
    assert!(matches!(failed, Err(Failed::Declined)));
    assert_eq!(shop.orders().await, 0);
    assert!(shop.store.get(&key("1")).await.unwrap().is_none());
    shop.is_quiet().await;
    assert_eq!(shop.order(&key("1"), 5).await.unwrap().attempt(), 1);
}

async fn a_panic_rolls_back(shop: Shop) {
    let transactions = shop.transactions.clone();
    let panicked = tokio::spawn(async move {
        transactions
            .execute_in_transaction::<i32, Failed, _, _>(&key("1"), |mut transaction, _| async move {
                says("INSERT INTO orders VALUES ('1', 1)").execute(&mut *transaction).await?;
                panic!("as told")
            })
            .await
    });
    assert!(panicked.await.unwrap_err().is_panic());
    shop.is_quiet().await;
    assert_eq!(shop.order(&key("1"), 5).await.unwrap().attempt(), 1);
    assert_eq!(shop.orders().await, 1);
}

async fn a_duplicate_is_told_at_once_while_it_runs(shop: Shop) {
    let shop = Arc::new(shop);
    let (runs, goes_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let run = tokio::spawn({
        let (shop, runs, goes_on) = (shop.clone(), runs.clone(), goes_on.clone());
        async move {
            let operation = move |mut transaction: idempotency_store_postgres::Transaction, _| async move {
                says("INSERT INTO orders VALUES ('1', 1)").execute(&mut *transaction).await?;
                runs.notify_one();
                goes_on.notified().await;
                Ok::<_, Failed>(7)
            };
            shop.transactions.execute_in_transaction(&key("1"), operation).await
        }
    });
    runs.notified().await;
    let begun = Instant::now();
    let in_transaction = shop.order(&key("1"), 8).await;
    assert!(matches!(in_transaction, Err(Failed::Idempotency(Error::InProgress { .. }))), "{in_transaction:?}");
    // With neighbours, that are not held up.
    let (one, two, three) = (key("0"), key("1"), key("2"));
    let others = tokio::join!(
        shop.idempotency.execute_once(&one, async { Ok::<_, Error>(9) }),
        shop.idempotency.execute_once(&two, async { Ok::<_, Error>(9) }),
        shop.idempotency.execute_once(&three, async { Ok::<_, Error>(9) }),
    );
    assert!(others.0.is_ok() && others.2.is_ok());
    assert!(matches!(others.1, Err(Error::InProgress { .. })), "{:?}", others.1);
    // The transaction is still open, however busy the machine is.
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    // One that waits gets the value, when it comes.
    let waits = tokio::spawn({
        let shop = shop.clone();
        let transactions = shop.transactions.clone().waiting(SURELY);
        async move {
            transactions
                .execute_in_transaction(&key("1"), |_, _| async { Ok::<_, Failed>(8) })
                .await
                .map(|value| *value)
        }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    goes_on.notify_one();
    assert_eq!(*run.await.unwrap().unwrap(), 7);
    assert_eq!(waits.await.unwrap().unwrap(), 7);
    assert_eq!(shop.orders().await, 1);
    shop.is_quiet().await;
}

async fn of_many_at_once_one_runs(shop: Shop) {
    let shop = Arc::new(shop);
    for round in 0..20 {
        let calls = (0..16).map(|n| {
            let shop = shop.clone();
            tokio::spawn(async move {
                let key = key(&round.to_string());
                if n % 2 == 0 {
                    shop.order(&key, n).await.map(|value| value.is_replay())
                } else {
                    let transactions = shop.transactions.clone().waiting(SURELY);
                    let outcome = transactions.execute_in_transaction(&key, move |mut transaction, _| async move {
                        says("INSERT INTO orders VALUES ('x', 1)").execute(&mut *transaction).await?;
                        Ok::<_, Failed>(n)
                    });
                    outcome.await.map(|value| value.is_replay())
                }
            })
        });
        let mut ran = 0;
        for call in calls.collect::<Vec<_>>() {
            match call.await.unwrap() {
                Ok(is_replay) => ran += u32::from(!is_replay),
                Err(Failed::Idempotency(Error::InProgress { .. })) => {}
                Err(other) => panic!("{other:?}"),
            }
        }
        assert_eq!(ran, 1);
        assert_eq!(shop.orders().await, i64::from(round) + 1);
    }
    shop.is_quiet().await;
}

async fn a_caller_that_goes_away_leaves_no_connection_in_a_transaction(shop: Shop) {
    for round in 0..60_u64 {
        let key = key(&round.to_string());
        let order = shop.order(&key, 1);
        let _ = tokio::time::timeout(Duration::from_micros(round * 100), order).await;
    }
    // Each goes on to its end, or never began.
    shop.idempotency.drain(SURELY).await.unwrap();
    shop.is_quiet().await;
    let completed: i64 =
        says("SELECT count(*) FROM idempotency.records WHERE state = 'C'").fetch_one(&shop.pool).await.unwrap().get(0);
    assert_eq!(shop.orders().await, completed);
    for round in 0..60 {
        let _ = shop.order(&key(&round.to_string()), 1).await.unwrap();
    }
    assert_eq!(shop.orders().await, 60);
}

async fn an_unknown_attempt_is_taken_over_and_told_of(shop: Shop) {
    let claim = Claim { lease: Duration::from_millis(50), ..Claim::new(key("1").fingerprint()) };
    shop.store.acquire_lock(&key("1"), &claim).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let outcome = shop
        .transactions
        .execute_in_transaction(
            &key("1"),
            |_, attempt| async move { Ok::<_, Failed>(attempt.prior().unwrap().attempt) },
        )
        .await
        .unwrap();
    assert_eq!((*outcome, outcome.attempt()), (1, 2));
    assert!(shop.order(&key("1"), 1).await.is_err(), "another type");
    assert_eq!(shop.orders().await, 0);
}

async fn what_the_late_attempt_before_it_stored_stands(shop: Shop) {
    let claim = Claim { lease: Duration::from_millis(50), ..Claim::new(key("1").fingerprint()) };
    let store = shop.store.clone();
    let acquired = store.acquire_lock(&key("1"), &claim).await.unwrap();
    let idempotency_core::Acquired::Acquired(grant) = acquired else { panic!("{acquired:?}") };
    tokio::time::sleep(Duration::from_millis(100)).await;
    let outcome = shop
        .transactions
        .execute_in_transaction(&key("1"), move |mut transaction, _| async move {
            says("INSERT INTO orders VALUES ('1', 1)").execute(&mut *transaction).await?;
            let value = idempotency_core::Completion::Omitted(idempotency_core::Omitted::ByChoice);
            let held = store.store_result(&key("1"), &grant.lock, &value, SURELY).await;
            assert!(matches!(held, Ok(idempotency_core::Held::Held)), "{held:?}");
            Ok::<_, Failed>(7)
        })
        .await;
    let Err(Failed::Idempotency(Error::Uncommitted { source, .. })) = outcome else { panic!("{outcome:?}") };
    assert_eq!(source.kind(), StoreErrorKind::Unavailable);
    assert_eq!(shop.orders().await, 0);
}

async fn a_transaction_that_is_ended_or_broken_is_not_committed(shop: Shop) {
    for (id, statement) in [
        ("error", "SELECT 1 / 0"),
        ("rolled back", "ROLLBACK"),
        ("begun anew", "COMMIT; BEGIN"),
        ("cut off", "SELECT pg_terminate_backend(pg_backend_pid())"),
    ] {
        let outcome = shop
            .transactions
            .execute_in_transaction(&key(id), move |mut transaction, _| async move {
                let _ = sqlx::raw_sql(statement).execute(&mut *transaction).await;
                Ok::<_, Failed>(7)
            })
            .await;
        let Err(Failed::Idempotency(Error::Uncommitted { source, .. })) = outcome else { panic!("{id}: {outcome:?}") };
        assert!(source.is_passing() || id != "cut off", "{source}");
        assert!(shop.store.get(&key(id)).await.unwrap().is_none(), "{id}");
        assert_eq!(shop.order(&key(id), 1).await.unwrap().attempt(), 1, "{id}");
    }
    shop.is_quiet().await;
}

async fn savepoints_are_the_operations_own(shop: Shop) {
    let outcome = shop
        .transactions
        .execute_in_transaction(&key("1"), |mut transaction, _| async move {
            let mut inner = transaction.begin().await?;
            says("INSERT INTO orders VALUES ('given up', 1)").execute(&mut *inner).await?;
            inner.rollback().await?;
            let mut inner = transaction.begin().await?;
            says("INSERT INTO orders VALUES ('kept', 1)").execute(&mut *inner).await?;
            inner.commit().await?;
            Ok::<_, Failed>(1)
        })
        .await
        .unwrap();
    assert!(!outcome.is_replay());
    assert_eq!(shop.orders().await, 1);
}

async fn a_constraint_that_is_checked_at_the_end_rolls_both_back(shop: Shop) {
    let unique = "ALTER TABLE orders ADD CONSTRAINT once UNIQUE (id) DEFERRABLE INITIALLY DEFERRED";
    says(unique).execute(&shop.pool).await.unwrap();
    let outcome = shop
        .transactions
        .execute_in_transaction(&key("1"), |mut transaction, _| async move {
            let twice = "INSERT INTO orders VALUES ('1', 1), ('1', 1)";
            says(twice).execute(&mut *transaction).await?;
            Ok::<_, Failed>(1)
        })
        .await;
    assert!(matches!(outcome, Err(Failed::Idempotency(Error::Uncommitted { .. }))), "{outcome:?}");
    assert_eq!(shop.orders().await, 0);
    assert!(shop.store.get(&key("1")).await.unwrap().is_none());
    shop.is_quiet().await;
}

/// Waiters mark the row, and a purge puts it off: neither changes whose the key is.
async fn a_takeover_goes_on_while_others_wait_and_purge(shop: Shop) {
    let soon = Duration::from_millis(50);
    let claim = Claim { lease: soon, retention: soon, ..Claim::new(key("1").fingerprint()) };
    for change in ["purge", "watch"] {
        let (key, store) = (key(change), shop.store.clone());
        store.acquire_lock(&key, &claim).await.unwrap();
        tokio::time::sleep(2 * soon).await;
        let changed = key.clone();
        let operation = move |mut transaction: idempotency_store_postgres::Transaction, _| async move {
            says("INSERT INTO orders VALUES ('1', 1)").execute(&mut *transaction).await?;
            if change == "purge" {
                assert_eq!(store.purge(10).await.unwrap().removed, 0);
            } else {
                let _ = tokio::time::timeout(10 * soon, store.watch(&changed)).await;
            }
            Ok::<_, Failed>(7)
        };
        let outcome = shop.transactions.execute_in_transaction(&key, operation).await.expect(change);
        assert_eq!((*outcome, outcome.attempt()), (7, 2), "{change}");
    }
    assert_eq!(shop.orders().await, 2);
    shop.is_quiet().await;
}

/// A transaction that cannot be begun leaves its connection as it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_begin_that_fails_leaves_no_connection_in_a_transaction() {
    let server = servers::Postgres::new().own();
    let server = server.with_setting("max_connections", "10").with_setting("max_locks_per_transaction", "10");
    let server = server.start().unwrap();
    let url = server.fresh_database().unwrap();
    let shop = Shop::with(&url, PostgresStoreConfig::from_url(&url).unwrap().with_connections(1)).await;
    let _ = shop.order(&key("first"), 1).await.unwrap();
    let mut hoarder = shop.pool.acquire().await.unwrap();
    // As many as there can be: those that it has it keeps, though the statement fails.
    let all = says("SELECT count(pg_advisory_lock(n)) FROM generate_series(1, 1000000) n");
    assert!(all.execute(&mut *hoarder).await.is_err());
    let refused = shop.order(&key("1"), 1).await;
    assert!(refused.is_err(), "{refused:?}");
    says("SELECT pg_advisory_unlock_all()").execute(&mut *hoarder).await.unwrap();
    let _ = shop.order(&key("1"), 1).await.unwrap();
    assert_eq!(shop.orders().await, 2);
    shop.is_quiet().await;
}

/// A server that crashes may give the number of the transaction that it lost to another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_a_crash_undid_is_not_taken_for_another_transactions() {
    let server = servers::Postgres::new().own().with_setting("wal_writer_delay", "10000").start().unwrap();
    let url = server.fresh_database().unwrap();
    let proxy = Proxy::start(server.address()).unwrap();
    let through = url.replace(server.address(), &proxy.address().to_string());
    let shop = Shop::with(&url, PostgresStoreConfig::from_url(&through).unwrap()).await;
    sqlx::raw_sql(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(60); RETURN NULL; END'; \
         CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON orders DEFERRABLE INITIALLY DEFERRED \
           FOR EACH ROW EXECUTE FUNCTION slow()",
    )
    .execute(&shop.pool)
    .await
    .unwrap();
    let number = Arc::new(AtomicI64::new(0));
    let run = tokio::spawn({
        let (transactions, number) = (shop.transactions.clone(), number.clone());
        async move {
            let operation = move |mut transaction: idempotency_store_postgres::Transaction, _| async move {
                says("INSERT INTO orders VALUES ('1', 1)").execute(&mut *transaction).await?;
                let row = says("SELECT txid_current()").fetch_one(&mut *transaction).await?;
                number.store(row.get(0), SeqCst);
                Ok::<_, Failed>(1)
            };
            transactions.execute_in_transaction(&key("1"), operation).await
        }
    });
    let commits = "SELECT count(*) FROM pg_stat_activity WHERE query = 'COMMIT' AND state = 'active'";
    let begun = Instant::now();
    while says(commits).fetch_one(&shop.pool).await.unwrap().get::<i64, _>(0) == 0 {
        assert!(begun.elapsed() < SURELY, "it does not commit");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    proxy.black_hole(Direction::Both);
    server.kill().unwrap();
    server.restart().unwrap();
    let others = PgPool::connect(&url).await.unwrap();
    let mut last = 0;
    while last <= number.load(SeqCst) {
        let next = says("SELECT txid_current()").fetch_one(&others).await.unwrap();
        last = next.get(0);
    }
    proxy.cut();
    proxy.heal();
    let outcome = run.await.unwrap();
    assert!(matches!(outcome, Err(Failed::Idempotency(Error::Uncommitted { .. }))), "{outcome:?}");
    let orders = says("SELECT count(*) FROM orders").fetch_one(&others).await.unwrap();
    assert_eq!(orders.get::<i64, _>(0), 0);
    assert!(shop.store.get(&key("1")).await.unwrap().is_none());
}
