//! The store.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use idempotency_core::{
    Acquired, Claim, Completion, Effect, Grant, Guarantees, Held, IdempotencyStore, Key, Lock, Record, Snapshot, State,
    StoreError, StoreErrorKind, Timestamp, Watch,
    moves::{self, Move},
};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgRow};
use sqlx::{PgPool, Row};
use tokio::time::Instant;

use crate::at_hand::AtHand;
use crate::carry::{Acquiring, Completing, Found, Pool, for_a_connection};
use crate::config::{Place, PostgresStoreConfig};
use crate::error::Operation;
use crate::lane::Lane;
use crate::row::{self, Name, Stored, from_i64, micros, time, to_i64};
use crate::sql::Sql;
use crate::{guarantees, migrations, rights, watch};

/// The largest value that is kept, in bytes.
const LARGEST_VALUE: usize = 64 * 1024 * 1024;

/// How many connections are at hand between statements: as many as are under way at once.
const MOST_AT_HAND: u32 = 4;

/// How long a statement waits for a row.
const LOCK_TIMEOUT: Duration = Duration::from_millis(200);

/// An idempotency store in Postgres.
///
/// Each move is one autocommit statement, or a look and one statement that changes the row only if
/// nobody did meanwhile. Calls made while statements are under way share the next one.
#[derive(Clone, Debug)]
pub struct PostgresStore {
    pub(crate) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) pool: Arc<Pool>,
    acquiring: Arc<Lane<Acquiring, Pool>>,
    completing: Arc<Lane<Completing, Pool>>,
    pub(crate) watching: watch::Watching,
}

impl PostgresStore {
    /// Opens the store, and makes its table where that is missing.
    ///
    /// # Errors
    /// [`StoreError`]: *unavailable* where the server does not answer within the limit, *misconfigured*
    /// where it will not have us, or the table is missing and may not be made, or is of a newer version
    /// than this code knows.
    pub async fn open(config: PostgresStoreConfig) -> Result<Self, StoreError> {
        if config.limit < Duration::from_millis(1) || config.limit > Duration::from_secs(24 * 60 * 60) {
            let message = format!("the limit of {:?} is not within 1 ms and a day", config.limit);
            return Err(crate::error::misconfigured(message));
        }
        let (pool, transactions, kept) = match &config.place {
            Place::Pool(pool) => (pool.clone(), pool.clone(), 0),
            Place::Server(server) => {
                let transactions = pool_of((**server).clone(), &config);
                (pool_of(for_statements(server, &config), &config), transactions, config.connections / 2)
            }
        };
        let at_hand = AtHand::new(pool.clone(), kept.min(MOST_AT_HAND) as usize);
        let sql = Sql::new(config.names.schema(), config.names.table());
        let pool =
            Arc::new(Pool { pool, transactions, at_hand, sql, limit: config.limit, persistent: !config.behind_pooler });
        guarantees::takes_writes(&pool).await?;
        if config.makes_tables {
            migrations::run(&pool, &config.names).await?;
        } else {
            migrations::is_not_newer(&pool, &config.names).await?;
        }
        rights::suffice(&pool, &config.names).await?;
        let shared = Shared {
            acquiring: Lane::new(pool.clone(), config.limit),
            completing: Lane::new(pool.clone(), config.limit),
            watching: watch::Watching::new(pool.clone(), &config),
            pool,
        };
        shared.get(&Name { key: "#".into(), long: None }, "open", shared.pool.deadline()).await?;
        Ok(Self { shared: Arc::new(shared) })
    }
}

/// The server, with connections set up as the store's own statements need them.
fn for_statements(server: &PgConnectOptions, config: &PostgresStoreConfig) -> PgConnectOptions {
    if config.behind_pooler {
        return server.clone();
    }
    server.clone().options([
        ("statement_timeout", format!("{}ms", config.limit.as_millis())),
        // Whoever holds a row so long holds up all that travels with it: then each goes by itself.
        ("lock_timeout", format!("{}ms", LOCK_TIMEOUT.min(config.limit).as_millis())),
        // Every statement is written for it.
        ("default_transaction_isolation", "read committed".to_owned()),
        // What a statement carries does not change how it is best carried out; planning it costs more.
        ("plan_cache_mode", "force_generic_plan".to_owned()),
        // Rows are found by their keys, also while the planner still takes the table for an empty one.
        ("enable_seqscan", "off".to_owned()),
        ("enable_hashjoin", "off".to_owned()),
        ("enable_mergejoin", "off".to_owned()),
    ])
}

fn pool_of(mut server: PgConnectOptions, config: &PostgresStoreConfig) -> PgPool {
    if config.behind_pooler {
        // pgbouncer lets nobody in who sets the digits, as the driver does otherwise.
        server = server.statement_cache_capacity(0).extra_float_digits(None);
    }
    PgPoolOptions::new()
        .max_connections(config.connections)
        .acquire_timeout(for_a_connection(config.limit))
        // It would cost each call a round trip; a broken connection is found out by the call itself.
        .test_before_acquire(false)
        .connect_lazy_with(server)
}

impl Shared {
    pub(crate) async fn get(
        &self,
        name: &Name,
        operation: &'static str,
        deadline: Instant,
    ) -> Result<(Option<Stored>, Timestamp), StoreError> {
        let pool = &self.pool;
        let look = || pool.until(deadline, operation, || pool.query(&pool.sql.get).bind(name.key.clone()));
        let rows = match look().await {
            // Of a connection that broke long before, perhaps. A look may be had twice.
            Err(error) if error.kind() == StoreErrorKind::InDoubt && Instant::now() < deadline => look().await?,
            rows => rows?,
        };
        let row = only(rows, operation)?;
        Ok((row::read(&row).during(operation)?, now(&row, operation)?))
    }

    /// Makes a move in two steps: looks, and changes the row if nobody did meanwhile; else once more.
    async fn in_two_steps<A: Send>(
        &self,
        operation: &'static str,
        name: &Name,
        deadline: Instant,
        make: impl Fn(Option<&Record>, Timestamp) -> Move<A> + Send + Sync,
    ) -> Result<A, StoreError> {
        loop {
            let (stored, now) = self.get(name, operation, deadline).await?;
            let Move { answer, write } = make(stored.as_ref().map(|stored| &stored.record), now);
            let Some(record) = write else { return Ok(answer) };
            let Some(stored) = stored else {
                return Err(StoreError::new(StoreErrorKind::Internal, operation)
                    .with_message("a row that is not there is to be changed"));
            };
            match self.change(operation, name, deadline, &stored, &record, now).await? {
                Changed::Yes => return Ok(answer),
                Changed::No => {}
                Changed::HeldByTransaction => tokio::time::sleep(Duration::from_millis(20)).await,
            }
            if Instant::now() >= deadline {
                let message = "the row was changed by others again and again, or is held by somebody's transaction";
                return Err(StoreError::new(StoreErrorKind::Unavailable, operation).with_message(message));
            }
        }
    }

    /// Changes a row from what it was `before`, at `now`, if it still stands so.
    async fn change(
        &self,
        operation: &'static str,
        name: &Name,
        deadline: Instant,
        before: &Stored,
        record: &Record,
        now: Timestamp,
    ) -> Result<Changed, StoreError> {
        let pool = &self.pool;
        let until = stands_until(&before.record, now);
        let change = || {
            let query = pool.query(&pool.sql.change).bind(name.key.clone()).bind(before.version.clone());
            row::bind(query, record, look_at(record, now)).bind(pool.lock_of(name)).bind(time(until))
        };
        let row = only(pool.until(deadline, operation, change).await?, operation)?;
        let free: bool = row.try_get("free").during(operation)?;
        let changed: i64 = row.try_get("changed").during(operation)?;
        Ok(match (free, changed) {
            (_, 1) => Changed::Yes,
            (true, _) => Changed::No,
            (false, _) => Changed::HeldByTransaction,
        })
    }
}

pub(crate) fn only(mut rows: Vec<PgRow>, operation: &'static str) -> Result<PgRow, StoreError> {
    let missing = || StoreError::new(StoreErrorKind::Internal, operation).with_message("Postgres: no row came");
    rows.pop().ok_or_else(missing)
}

/// Whether a row was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Changed {
    Yes,
    /// Somebody else did meanwhile.
    No,
    HeldByTransaction,
}

/// When a purge looks at a row: when its record might be forgotten if it completed at once, as completing
/// does not change that.
pub(crate) fn look_at(record: &Record, now: Timestamp) -> Timestamp {
    match record.state {
        State::InProgress { retention, .. } => now.plus(retention),
        State::Unknown { until } => until.min(now.plus(Duration::from_secs(24 * 60 * 60))),
        State::Released { until } | State::Completed { until, .. } => until,
    }
}

/// Until when a record that nobody changes is answered as it is at `now`.
fn stands_until(record: &Record, now: Timestamp) -> Timestamp {
    let lease_until = match record.state {
        State::InProgress { lease_until, .. } => Some(lease_until),
        State::Unknown { .. } | State::Released { .. } | State::Completed { .. } => None,
    };
    let prior_until = record.prior.map(|prior| prior.remembered_until);
    let ends = [Some(record.forgotten_at()), lease_until, prior_until];
    ends.into_iter().flatten().filter(|end| *end > now).min().unwrap_or(Timestamp::from_micros(u64::MAX))
}

pub(crate) fn now(row: &PgRow, operation: &'static str) -> Result<Timestamp, StoreError> {
    Ok(Timestamp::from_micros(from_i64(row.try_get("now").during(operation)?)))
}

#[async_trait]
impl IdempotencyStore for PostgresStore {
    async fn get(&self, key: &Key) -> Result<Option<Snapshot>, StoreError> {
        let (stored, now) = self.shared.get(&Name::of(key), "get", self.shared.pool.deadline()).await?;
        let record = stored.map(|stored| stored.record);
        Ok(moves::read(record.as_ref(), now).cloned().map(|record| Snapshot { record, now }))
    }

    async fn acquire_lock(&self, key: &Key, claim: &Claim) -> Result<Acquired, StoreError> {
        const ACQUIRE: &str = "acquire_lock";
        let name = Name::of(key);
        let deadline = self.shared.pool.deadline();
        loop {
            let acquiring = Acquiring { name: name.clone(), claim: claim.clone() };
            match self.shared.acquiring.call(ACQUIRE, acquiring).await? {
                Found::New { fence } => {
                    let lock = Lock { owner: claim.owner, fence };
                    return Ok(Acquired::Acquired(Grant { lock, attempt: 1, prior: None }));
                }
                Found::Row { stored, now, next_fence } => {
                    let Move { answer, write } = moves::acquire(Some(&stored.record), claim, now, next_fence);
                    let Some(record) = write else { return Ok(answer) };
                    match self.shared.change(ACQUIRE, &name, deadline, &stored, &record, now).await? {
                        Changed::Yes => return Ok(answer),
                        Changed::No => {}
                        Changed::HeldByTransaction => return Ok(held_by_transaction(stored.record.attempt)),
                    }
                }
                Found::HeldByTransaction => return Ok(held_by_transaction(1)),
                Found::Unreadable(error) => return Err(error),
                Found::Gone => {}
            }
            if Instant::now() >= deadline {
                let message = "the row was changed by others again and again";
                return Err(StoreError::new(StoreErrorKind::Unavailable, ACQUIRE).with_message(message));
            }
        }
    }

    async fn extend_lock(&self, key: &Key, lock: &Lock, lease: Duration) -> Result<Held, StoreError> {
        const EXTEND: &str = "extend_lock";
        let (name, pool, deadline) = (Name::of(key), &self.shared.pool, self.shared.pool.deadline());
        let extend = || {
            let query = pool.query(&pool.sql.extend).bind(name.key.clone());
            let query = query.bind(lock.owner.as_u128().to_be_bytes().to_vec());
            query.bind(to_i64(lock.fence.get())).bind(micros(lease))
        };
        if !pool.until(deadline, EXTEND, extend).await?.is_empty() {
            return Ok(Held::Held);
        }
        // It is not in progress under this lock, or somebody else is at it: looked at by itself.
        let make = |record: Option<&Record>, now| moves::extend(record, *lock, lease, now);
        self.shared.in_two_steps(EXTEND, &name, deadline, make).await
    }

    async fn store_result(
        &self,
        key: &Key,
        lock: &Lock,
        result: &Completion,
        retention: Duration,
    ) -> Result<Held, StoreError> {
        const STORE: &str = "store_result";
        fits(result)?;
        let (name, deadline) = (Name::of(key), self.shared.pool.deadline());
        let completing = Completing { name: name.clone(), lock: *lock, result: result.clone(), retention };
        if self.shared.completing.call(STORE, completing).await? {
            return Ok(Held::Held);
        }
        // It is not in progress under this lock, or somebody else is at it: looked at by itself.
        let make = |record: Option<&Record>, now| moves::store(record, *lock, result, retention, now);
        self.shared.in_two_steps(STORE, &name, deadline, make).await
    }

    async fn release_lock(&self, key: &Key, lock: &Lock, effect: Effect) -> Result<Held, StoreError> {
        let make = |record: Option<&Record>, now| moves::release(record, *lock, effect, now);
        let deadline = self.shared.pool.deadline();
        self.shared.in_two_steps("release_lock", &Name::of(key), deadline, make).await
    }

    fn watch(&self, key: &Key) -> Watch {
        self.shared.watching.watch(Name::of(key))
    }

    async fn guarantees(&self) -> Result<Guarantees, StoreError> {
        guarantees::found(&self.shared.pool).await
    }
}

/// Whether a result can be kept.
pub(crate) fn fits(result: &Completion) -> Result<(), StoreError> {
    match result {
        Completion::Value(value) if value.len() > LARGEST_VALUE => {
            let message = format!("a value of {} bytes; the most are {LARGEST_VALUE}", value.len());
            Err(StoreError::new(StoreErrorKind::TooLarge, "store_result").with_message(message))
        }
        Completion::Value(_) | Completion::Omitted(_) => Ok(()),
    }
}

/// A transaction holds the key, under an attempt that nobody sees before its end. When that is, nothing
/// tells: come back soon.
pub(crate) const fn held_by_transaction(attempt: u32) -> Acquired {
    Acquired::InProgress { attempt, remaining: Duration::from_millis(500) }
}
