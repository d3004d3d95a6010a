//! The Postgres store against prepared statements of the same driver, one a call, each side on a pool of
//! its own of the same size.
//!
//! The server is started for it, or is the one that `IDEMPOTENCY_TEST_POSTGRES_URL` names.

use std::cell::OnceCell;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use idempotency::{Error, Idempotency, Key};
use idempotency_store_postgres::sqlx::postgres::{PgPoolOptions, PgRow};
use idempotency_store_postgres::sqlx::{self, PgConnection, PgPool, Row};
use idempotency_store_postgres::{DEFAULT_CONNECTIONS, PostgresStore, PostgresStoreConfig, Transactions};
use idempotency_testkit::servers::{Postgres, PostgresServer};
use tokio::runtime::Runtime;

use crate::measure::{Fresh, Replay, Report, Sides, Subject, pairs, round};
use crate::ours::Ours;
use crate::value::{Payment, decode, encode, keys};

const PAIRS: usize = 11;
/// How long results are kept.
const RETENTION: Duration = Duration::from_secs(60 * 60);

type Tell<'a> = &'a mut dyn FnMut(Report) -> io::Result<()>;

/// The server, reached at first use.
#[derive(Default)]
pub(crate) struct Server(OnceCell<PostgresServer>);

impl Server {
    /// A database that nobody else uses.
    fn fresh(&self) -> io::Result<String> {
        if self.0.get().is_none() {
            let _ = self.0.set(Postgres::new().start().map_err(io::Error::other)?);
        }
        let fresh = self.0.get().map(PostgresServer::fresh_database).transpose().map_err(io::Error::other)?;
        Ok(fresh.unwrap_or_default())
    }

    pub(crate) fn table(&self, runtime: &Runtime, tell: Tell<'_>) -> io::Result<()> {
        crate::postgres_table::run(runtime, &self.fresh()?, tell)
    }

    pub(crate) fn webhooks(&self, runtime: &Runtime) -> io::Result<()> {
        crate::webhooks::run(runtime, &self.fresh()?)
    }

    pub(crate) fn run(&self, runtime: &Runtime, tasks: usize, filter: &str, tell: Tell<'_>) -> io::Result<()> {
        for kind in ["fresh", "replay", "transaction"] {
            let case = format!("postgres/{kind}/{tasks}");
            if !case.contains(filter) {
                continue;
            }
            let url = self.fresh()?;
            let (store, handle) = runtime.block_on(open(&url))?;
            let raw = Arc::new(runtime.block_on(Raw::connect(&url))?);
            let runs = if tasks == 1 { 500 } else { 5_000 };
            if kind == "transaction" {
                let (ours, raw) = (Arc::new(Joined(store.transactions(&handle))), Arc::new(JoinedByHand(raw)));
                let mine = |n| round(runtime, ours.clone(), keys(n, runs), tasks);
                let pairs = pairs(PAIRS, mine, |n| round(runtime, raw.clone(), keys(n, runs), tasks));
                tell(Report::of(case, "in transaction", "raw", &pairs))?;
                continue;
            }
            let ours = Arc::new(Ours(handle));
            let pairs = if kind == "fresh" {
                // A fresh run needs keys that no round before had.
                let mine = |n| round(runtime, Arc::new(Fresh(ours.clone())), keys(n, runs), tasks);
                pairs(PAIRS, mine, |n| round(runtime, Arc::new(Fresh(raw.clone())), keys(n, runs), tasks))
            } else {
                drop(round(runtime, Arc::new(Fresh(ours.clone())), keys(0, runs), 64));
                drop(round(runtime, Arc::new(Fresh(raw.clone())), keys(0, runs), 64));
                let mine = |_| round(runtime, Arc::new(Replay(ours.clone())), keys(0, runs), tasks);
                pairs(PAIRS, mine, |_| round(runtime, Arc::new(Replay(raw.clone())), keys(0, runs), tasks))
            };
            tell(Report::of(case, "execute_once", "raw", &pairs))?;
        }
        Ok(())
    }
}

async fn open(url: &str) -> io::Result<(PostgresStore, Idempotency)> {
    let config = PostgresStoreConfig::from_url(url).map_err(io::Error::other)?;
    let store = PostgresStore::open(config).await.map_err(io::Error::other)?;
    let handle = Idempotency::new(store.clone()).with_retention(RETENTION).map_err(io::Error::other)?;
    Ok((store, handle))
}

/// A business row and the record, in one transaction.
struct Joined(Transactions);

impl Subject for Joined {
    async fn operate(&self, key: &Key) {
        let id = key.as_str().to_owned();
        let outcome = self.0.execute_in_transaction(key, |mut transaction, _| async move {
            pay(&mut transaction, &id).await;
            Ok::<_, Error>(Payment::sample())
        });
        assert!(outcome.await.is_ok_and(|outcome| !outcome.is_replay()));
    }
}

/// The same business row beside one by whose key a duplicate is known, in one transaction.
struct JoinedByHand(Arc<Raw>);

impl Subject for JoinedByHand {
    async fn operate(&self, key: &Key) {
        let mut transaction = self.0.0.begin().await.expect("the server answers");
        let value = encode(key, &Payment::sample());
        let new = sqlx::query("INSERT INTO raw VALUES ($1, '', 1, clock_timestamp(), $2) ON CONFLICT DO NOTHING")
            .bind(key.as_str())
            .bind(&value[..])
            .execute(&mut *transaction)
            .await
            .expect("the server answers");
        assert!(new.rows_affected() == 1, "a fresh key");
        pay(&mut transaction, key.as_str()).await;
        transaction.commit().await.expect("the server answers");
    }
}

async fn pay(transaction: &mut PgConnection, id: &str) {
    sqlx::query("INSERT INTO payments VALUES ($1, 1999)")
        .bind(id)
        .execute(transaction)
        .await
        .expect("the server answers");
}

/// A table with a key, an owner, a state, a time and a value: the least that could do.
struct Raw(PgPool);

impl Raw {
    async fn connect(url: &str) -> io::Result<Self> {
        let pool = PgPoolOptions::new().max_connections(DEFAULT_CONNECTIONS).test_before_acquire(false);
        let pool = pool.connect(url).await.map_err(io::Error::other)?;
        sqlx::query(
            "CREATE TABLE raw (key text PRIMARY KEY, owner bytea NOT NULL, state smallint NOT NULL, \
             until timestamptz NOT NULL, value bytea)",
        )
        .execute(&pool)
        .await
        .map_err(io::Error::other)?;
        sqlx::query("CREATE TABLE payments (id text NOT NULL, amount bigint NOT NULL)")
            .execute(&pool)
            .await
            .map_err(io::Error::other)?;
        Ok(Self(pool))
    }
}

impl Sides for Raw {
    async fn fresh(&self, key: &Key) {
        let locked = sqlx::query(
            "INSERT INTO raw VALUES ($1, $2, 0, clock_timestamp() + interval '30 s') ON CONFLICT DO NOTHING",
        )
        .bind(key.as_str())
        .bind(&b"owner-of-16-byte"[..])
        .execute(&self.0)
        .await
        .expect("the server answers");
        assert!(locked.rows_affected() == 1, "a fresh key");
        let value = encode(key, &Payment::sample());
        let stored = sqlx::query(
            "UPDATE raw SET state = 1, value = $3, until = clock_timestamp() + interval '1 h' \
             WHERE key = $1 AND owner = $2 AND state = 0",
        )
        .bind(key.as_str())
        .bind(&b"owner-of-16-byte"[..])
        .bind(&value[..])
        .execute(&self.0)
        .await
        .expect("the server answers");
        assert!(stored.rows_affected() == 1, "a stored value");
    }

    async fn replay(&self, key: &Key) {
        let found: PgRow = sqlx::query("SELECT value FROM raw WHERE key = $1")
            .bind(key.as_str())
            .fetch_one(&self.0)
            .await
            .expect("the server answers");
        let value: Vec<u8> = found.get("value");
        assert!(decode(key, &value).amount == 1999);
    }
}
