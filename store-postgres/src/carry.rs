//! Statements that carry many calls.

use std::fmt;
use std::time::Duration;

use idempotency_core::{Claim, Completion, Fence, Lock, StoreError, StoreErrorKind, Timestamp};
use sha2::{Digest, Sha256};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{ConnectOptions, PgPool, Postgres, Row, SqlStr};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep, timeout_at};

use crate::at_hand::{AtHand, Lent};
use crate::error::{Operation, broke, is_about_a_row, lost_a_race, told_of};
use crate::lane::{Call, Carrier, Refused};
use crate::row::{self, Name, Stored, attributes_text, from_i64, micros, policy_number, to_i64, value_of};
use crate::sql::Sql;
use crate::store::{now, only};

/// How long a statement waits that lost against another one: at first, and at the longest.
const AFTER_A_RACE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);
/// How often a statement that carries many calls is tried, before each goes by itself.
const TOGETHER: u32 = 3;

/// A statement with what is bound to it.
pub(crate) type Statement = Query<'static, Postgres, PgArguments>;

/// The server, and what is said to it.
pub(crate) struct Pool {
    pub(crate) pool: PgPool,
    /// What operations get: as the server sets connections up, not as the store's own statements need them.
    pub(crate) transactions: PgPool,
    pub(crate) at_hand: AtHand,
    pub(crate) sql: Sql,
    pub(crate) limit: Duration,
    /// Whether statements may be prepared.
    pub(crate) persistent: bool,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the statements, which are long, nor the driver's pools, which say how they are reached.
        f.debug_struct("Pool").field("place", &self.place()).field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl Pool {
    /// The server's host and port, or its socket.
    pub(crate) fn place(&self) -> String {
        let server = self.pool.connect_options();
        match server.get_socket() {
            Some(socket) => socket.display().to_string(),
            None => format!("{}:{}", server.get_host(), server.get_port()),
        }
    }

    pub(crate) fn query(&self, sql: &SqlStr) -> Statement {
        sqlx::query(sql.clone()).persistent(self.persistent)
    }

    /// What a key is locked by while somebody's transaction decides it.
    pub(crate) fn lock_of(&self, name: &Name) -> i64 {
        let digest = Sha256::new().chain_update(&self.sql.channel).chain_update([0]).chain_update(&name.key).finalize();
        digest.iter().take(8).fold(0_i64, |lock, byte| lock << 8 | i64::from(*byte))
    }

    /// When a call that begins now must be over.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.limit
    }

    /// Runs a statement, and again where it lost against another one: nothing of it was done then.
    pub(crate) async fn again(
        &self,
        operation: &'static str,
        statement: impl Fn() -> Statement + Send,
    ) -> Result<Vec<PgRow>, StoreError> {
        self.until(self.deadline(), operation, statement).await
    }

    /// The same, within a call that has begun already.
    pub(crate) async fn until(
        &self,
        deadline: Instant,
        operation: &'static str,
        statement: impl Fn() -> Statement + Send,
    ) -> Result<Vec<PgRow>, StoreError> {
        self.tried(operation, deadline, u32::MAX, statement).await.map_err(|refused| refused.error)
    }

    /// The same, for a statement of which there is one row.
    pub(crate) async fn one(
        &self,
        operation: &'static str,
        statement: impl Fn() -> Statement + Send,
    ) -> Result<PgRow, StoreError> {
        only(self.again(operation, statement).await?, operation)
    }

    /// Runs a statement up to so many times, and no longer than the limit. Ended then, it may come to its
    /// end all the same.
    async fn tried(
        &self,
        operation: &'static str,
        deadline: Instant,
        times: u32,
        statement: impl Fn() -> Statement + Send,
    ) -> Result<Vec<PgRow>, Refused> {
        let mut pause = AFTER_A_RACE;
        let mut tries = 0;
        loop {
            let failed = match timeout_at(deadline, self.once(statement())).await {
                Ok(Ok(rows)) => return Ok(rows),
                Ok(Err(error)) => error,
                Err(_) => {
                    let message = format!("Postgres: no answer within {:?}", self.limit);
                    let error = StoreError::new(StoreErrorKind::InDoubt, operation).with_message(message);
                    return Err(Refused { error, alone: false });
                }
            };
            if broke(&failed) {
                // The others that are at hand likely are, too: the pool sees to it.
                self.at_hand.give_back();
            }
            let lost = lost_a_race(&failed);
            tries += 1;
            // Not so late that the last try would be cut off, of which nobody knows what it did.
            if !lost || tries >= times || Instant::now() + self.limit / 4 >= deadline {
                let alone = lost || is_about_a_row(&failed);
                return Err(Refused { error: told_of(operation, failed, &self.place()), alone });
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn once(&self, statement: Statement) -> Result<Vec<PgRow>, sqlx::Error> {
        // A clear error, while there is time left to give it.
        let lent = self.at_hand.lend(for_a_connection(self.limit)).await?;
        let mut given = Given { lent: Some(lent), in_transaction: !self.persistent, runtime: Handle::current() };
        let connection = given.lent.as_mut().ok_or(sqlx::Error::PoolClosed)?;
        let rows = if self.persistent {
            statement.fetch_all(&mut **connection).await?
        } else {
            // The driver says a statement in two steps, and a pooler may give each of them to another
            // connection of the server's, unless both are in one transaction.
            sqlx::raw_sql("BEGIN ISOLATION LEVEL READ COMMITTED").execute(&mut **connection).await?;
            let rows = statement.fetch_all(&mut **connection).await?;
            sqlx::raw_sql("COMMIT").execute(&mut **connection).await?;
            rows
        };
        given.lent.take().into_iter().for_each(|lent| self.at_hand.keep(lent));
        Ok(rows)
    }

    /// A pool tries for as long as it may, and then does not tell why it got no connection.
    pub(crate) async fn why_not(&self, error: StoreError) -> StoreError {
        let server = self.pool.connect_options();
        match tokio::time::timeout(self.limit / 8, server.connect()).await {
            Ok(Err(why)) => told_of(error.operation(), why, &self.place()),
            Ok(Ok(_)) | Err(_) => error,
        }
    }
}

/// A connection that says a statement. Not taken out of this, it was cut off; where it may be in a
/// transaction, that ends with it.
struct Given {
    lent: Option<Lent>,
    in_transaction: bool,
    /// It goes back to its pool by a task, and whoever goes away may be outside of any runtime.
    runtime: Handle,
}

impl Drop for Given {
    fn drop(&mut self) {
        let Some(lent) = self.lent.take() else { return };
        let _inside = self.runtime.enter();
        if self.in_transaction {
            drop(lent.detach());
        } else {
            drop(lent);
        }
    }
}

/// How long to wait for a connection: a caller who tries three times within a little more than the limit, as
/// a handle does, is then told that there was none, and not that no answer came.
pub(crate) fn for_a_connection(limit: Duration) -> Duration {
    limit * 3 / 8
}

const ACQUIRE: &str = "acquire_lock";

/// An acquisition.
#[derive(Debug)]
pub(crate) struct Acquiring {
    pub(crate) name: Name,
    pub(crate) claim: Claim,
}

/// What an acquisition finds.
#[derive(Debug)]
pub(crate) enum Found {
    /// Nothing: the key is acquired.
    New { fence: Fence },
    /// A row, which may have to be changed.
    Row { stored: Box<Stored>, now: Timestamp, next_fence: Fence },
    /// Somebody's open transaction decides the key.
    HeldByTransaction,
    /// A row that does not make a record.
    Unreadable(StoreError),
    /// A row that came or went while the statement ran: ask again.
    Gone,
}

impl Call for Acquiring {
    type Answer = Found;

    fn name(&self) -> &Name {
        &self.name
    }
}

impl Carrier<Acquiring> for Pool {
    async fn carry(&self, calls: &[Acquiring]) -> Result<Vec<Found>, Refused> {
        fn all<T>(calls: &[Acquiring], each: impl Fn(&Acquiring) -> T) -> Vec<T> {
            calls.iter().map(each).collect()
        }
        let statement = || {
            if let [Acquiring { name, claim }] = calls {
                // By itself: cheaper to send, and to carry out.
                return self
                    .query(&self.sql.acquire_one)
                    .bind(name.key.clone())
                    .bind(name.long.clone())
                    .bind(claim.owner.as_u128().to_be_bytes())
                    .bind(policy_number(claim.on_unknown))
                    .bind(*claim.fingerprint.as_bytes())
                    .bind(i16::from(claim.fingerprint.version()))
                    .bind(!claim.confirms)
                    .bind(micros(claim.lease))
                    .bind(micros(claim.retention))
                    .bind(micros(claim.unknown_retention))
                    .bind(claim.context.trace_parent().map(ToOwned::to_owned))
                    .bind(claim.context.correlation_id().map(ToOwned::to_owned))
                    .bind(attributes_text(&claim.attributes))
                    .bind(self.lock_of(name));
            }
            self.query(&self.sql.acquire)
                .bind(all(calls, |call| call.name.key.clone()))
                .bind(all(calls, |call| call.name.long.clone()))
                .bind(all(calls, |call| call.claim.owner.as_u128().to_be_bytes().to_vec()))
                .bind(all(calls, |call| policy_number(call.claim.on_unknown)))
                .bind(all(calls, |call| call.claim.fingerprint.as_bytes().to_vec()))
                .bind(all(calls, |call| i16::from(call.claim.fingerprint.version())))
                .bind(all(calls, |call| !call.claim.confirms))
                .bind(all(calls, |call| micros(call.claim.lease)))
                .bind(all(calls, |call| micros(call.claim.retention)))
                .bind(all(calls, |call| micros(call.claim.unknown_retention)))
                .bind(all(calls, |call| call.claim.context.trace_parent().map(ToOwned::to_owned)))
                .bind(all(calls, |call| call.claim.context.correlation_id().map(ToOwned::to_owned)))
                .bind(all(calls, |call| attributes_text(&call.claim.attributes)))
                .bind(all(calls, |call| self.lock_of(&call.name)))
        };
        let rows = self.tried(ACQUIRE, self.deadline(), together(calls), statement).await?;
        let mut found: Vec<Found> = calls.iter().map(|_| Found::Gone).collect();
        for row in &rows {
            let asked: &str = row.try_get("a_key").during(ACQUIRE)?;
            if let Ok(at) = calls.binary_search_by(|call| call.name.key.as_str().cmp(asked)) {
                // A row that is damaged is not its neighbours' fault.
                found[at] = read(row).unwrap_or_else(Found::Unreadable);
            }
        }
        Ok(found)
    }
}

fn read(row: &PgRow) -> Result<Found, StoreError> {
    if let Some(fence) = row.try_get::<Option<i64>, _>("new_fence").during(ACQUIRE)? {
        return Ok(Found::New { fence: Fence::new(from_i64(fence)) });
    }
    if !row.try_get::<bool, _>("free").during(ACQUIRE)? {
        return Ok(Found::HeldByTransaction);
    }
    match row::read(row).during(ACQUIRE)? {
        Some(stored) => {
            let next_fence = row.try_get::<Option<i64>, _>("next_fence").during(ACQUIRE)?;
            let next_fence = Fence::new(from_i64(next_fence.unwrap_or_default()));
            Ok(Found::Row { stored: Box::new(stored), now: now(row, ACQUIRE)?, next_fence })
        }
        None => Ok(Found::Gone),
    }
}

/// A completion.
#[derive(Debug)]
pub(crate) struct Completing {
    pub(crate) name: Name,
    pub(crate) lock: Lock,
    pub(crate) result: Completion,
    pub(crate) retention: Duration,
}

impl Call for Completing {
    /// Whether it was done; if not, it is to be looked at by itself.
    type Answer = bool;

    fn name(&self) -> &Name {
        &self.name
    }

    fn bytes(&self) -> usize {
        match &self.result {
            Completion::Value(value) => value.len(),
            Completion::Omitted(_) => 0,
        }
    }
}

impl Carrier<Completing> for Pool {
    async fn carry(&self, calls: &[Completing]) -> Result<Vec<bool>, Refused> {
        const STORE: &str = "store_result";
        let statement = || {
            if let [call] = calls {
                let (omitted, value) = value_of(&call.result);
                return self
                    .query(&self.sql.complete_one)
                    .bind(call.name.key.clone())
                    .bind(call.lock.owner.as_u128().to_be_bytes())
                    .bind(to_i64(call.lock.fence.get()))
                    .bind(omitted)
                    .bind(value)
                    .bind(micros(call.retention));
            }
            let (mut omitted, mut values) = (Vec::with_capacity(calls.len()), Vec::with_capacity(calls.len()));
            for call in calls {
                let (why, value) = value_of(&call.result);
                omitted.push(why);
                values.push(value);
            }
            self.query(&self.sql.complete)
                .bind(calls.iter().map(|call| call.name.key.clone()).collect::<Vec<_>>())
                .bind(calls.iter().map(|call| call.lock.owner.as_u128().to_be_bytes().to_vec()).collect::<Vec<_>>())
                .bind(calls.iter().map(|call| to_i64(call.lock.fence.get())).collect::<Vec<_>>())
                .bind(omitted)
                .bind(values)
                .bind(calls.iter().map(|call| micros(call.retention)).collect::<Vec<_>>())
        };
        let rows = self.tried(STORE, self.deadline(), together(calls), statement).await?;
        let mut done = vec![false; calls.len()];
        for row in &rows {
            let key: &str = row.try_get("key").during(STORE)?;
            if let Ok(at) = calls.binary_search_by(|call| call.name.key.as_str().cmp(key)) {
                done[at] = true;
            }
        }
        Ok(done)
    }
}

/// How often calls are tried: each by itself, as long as there is time.
fn together<C>(calls: &[C]) -> u32 {
    if calls.len() > 1 { TOGETHER } else { u32::MAX }
}
