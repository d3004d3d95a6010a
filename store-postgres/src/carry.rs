//! Statements that carry many calls.

use std::sync::Arc;
use std::time::Duration;

use idempotency_core::{Claim, Completion, Fence, Lock, StoreError, StoreErrorKind, Timestamp};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, PgPool, Postgres, Row};

use crate::error::{Operation, lost_a_race};
use crate::lane::{Call, Carrier};
use crate::row::{self, Name, Stored, attributes_text, from_i64, micros, policy_number, to_i64, value_of};
use crate::sql::Sql;
use crate::store::now;

/// How long a statement waits that lost against another one.
const AFTER_A_RACE: Duration = Duration::from_millis(2);

/// The server, and what is said to it.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) pool: PgPool,
    pub(crate) sql: Sql,
    pub(crate) limit: Duration,
    /// Whether statements may be prepared.
    pub(crate) persistent: bool,
}

impl Pool {
    pub(crate) fn query(&self, sql: &str) -> Query<'static, Postgres, PgArguments> {
        // Nothing of a caller's is in it but the names, which were checked.
        sqlx::query(AssertSqlSafe(sql.to_owned())).persistent(self.persistent)
    }

    /// Runs a statement, and again where it lost against another one: nothing of it was done then.
    pub(crate) async fn again<T>(
        &self,
        operation: &'static str,
        statement: impl AsyncFn() -> Result<T, sqlx::Error>,
    ) -> Result<T, StoreError> {
        self.within(operation, async {
            loop {
                match statement().await {
                    Err(error) if lost_a_race(&error) => tokio::time::sleep(AFTER_A_RACE).await,
                    outcome => return outcome.during(operation),
                }
            }
        })
        .await
    }

    /// Ends a call that takes longer than the limit. Its statement may come to its end all the same.
    pub(crate) async fn within<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        tokio::time::timeout(self.limit, call).await.unwrap_or_else(|_| {
            let message = format!("Postgres: no answer within {:?}", self.limit);
            Err(StoreError::new(StoreErrorKind::InDoubt, operation).with_message(message))
        })
    }
}

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
    HeldByTransaction { attempt: u32 },
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
    async fn carry(&self, calls: &[Acquiring]) -> Result<Vec<Found>, StoreError> {
        const ACQUIRE: &str = "acquire_lock";
        fn all<T>(calls: &[Acquiring], each: impl Fn(&Acquiring) -> T) -> Vec<T> {
            calls.iter().map(each).collect()
        }
        let rows = self.again(ACQUIRE, async || {
            let query = self
                .query(&self.sql.acquire)
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
                .bind(all(calls, |call| attributes_text(&call.claim.attributes)));
            query.fetch_all(&self.pool).await
        })
        .await?;
            let mut found: Vec<Found> = calls.iter().map(|_| Found::Gone).collect();
            for row in &rows {
                let asked: &str = row.try_get("asked").during(ACQUIRE)?;
                if let Ok(at) = calls.binary_search_by(|call| call.name.key.as_str().cmp(asked)) {
                    found[at] = read(row)?;
                }
            }
            Ok(found)
    }
}

fn read(row: &PgRow) -> Result<Found, StoreError> {
    const ACQUIRE: &str = "acquire_lock";
    if let Some(fence) = row.try_get::<Option<i64>, _>("new_fence").during(ACQUIRE)? {
        return Ok(Found::New { fence: Fence::new(from_i64(fence)) });
    }
    let stored = row::read(row).during(ACQUIRE)?;
    if !row.try_get::<bool, _>("free").during(ACQUIRE)? {
        return Ok(Found::HeldByTransaction { attempt: stored.map_or(1, |stored| stored.record.attempt) });
    }
    match stored {
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
}

impl Carrier<Completing> for Pool {
    async fn carry(&self, calls: &[Completing]) -> Result<Vec<bool>, StoreError> {
        const STORE: &str = "store_result";
        let rows = self.again(STORE, async || {
            let (mut omitted, mut values) = (Vec::with_capacity(calls.len()), Vec::with_capacity(calls.len()));
            for call in calls {
                let (why, value) = value_of(&call.result);
                omitted.push(why);
                values.push(value);
            }
            let query = self
                .query(&self.sql.complete)
                .bind(calls.iter().map(|call| call.name.key.clone()).collect::<Vec<_>>())
                .bind(calls.iter().map(|call| call.lock.owner.as_u128().to_be_bytes().to_vec()).collect::<Vec<_>>())
                .bind(calls.iter().map(|call| to_i64(call.lock.fence.get())).collect::<Vec<_>>())
                .bind(omitted)
                .bind(values)
                .bind(calls.iter().map(|call| micros(call.retention)).collect::<Vec<_>>());
            query.fetch_all(&self.pool).await
        })
        .await?;
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

/// A shared pool carries, too.
impl<C: Call, T: Carrier<C>> Carrier<C> for Arc<T> {
    async fn carry(&self, calls: &[C]) -> Result<Vec<C::Answer>, StoreError> {
        (**self).carry(calls).await
    }
}
