//! Execution in the caller's own transaction.
//!
//! The record and the caller's rows are written by one transaction, and so committed together or not at
//! all. While it is open nobody sees its record; what holds the key is an advisory lock of the
//! transaction's, which the store's own statements respect. All that is said to the server is said by
//! tasks that nobody cancels: a transaction whose begin is cut off would stay open in its pool.

use std::collections::HashMap;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use idempotency_core::{
    Acquired, Attempt, Claim, Completion, Effect, Error, Grant, Guarantees, Held, Idempotency, IdempotencyStore, Key,
    Lock, Outcome, Owner, Replay, Snapshot, State, StoreError, StoreErrorKind, Timestamp, Watch,
    moves::{self, Move},
};
use sqlx::{AssertSqlSafe, PgConnection, Postgres, Row};
use tokio::sync::{Mutex as Lockable, OwnedMappedMutexGuard, OwnedMutexGuard, oneshot};
use tokio::time::Instant;

use crate::carry::Pool;
use crate::error::{Operation, told};
use crate::row::{self, Name, Stored, from_i64, to_i64};
use crate::store::{PostgresStore, held_by_transaction, look_at, now};

const ACQUIRE: &str = "acquire_lock";
const STORE: &str = "store_result";

/// How long to wait before a transaction is asked for again that is not over yet.
const PAUSE: Duration = Duration::from_millis(25);

impl PostgresStore {
    /// Runs operations in transactions of this store's database, with the settings of `idempotency`, which
    /// also [drains](Idempotency::drain) them. Make it once, and keep it.
    #[must_use]
    pub fn transactions(&self, idempotency: &Idempotency) -> Transactions {
        let store = TransactionStore { store: self.clone(), runs: Arc::default() };
        Transactions { idempotency: idempotency.over(store.clone()), store, wait: None }
    }
}

/// Runs operations once a key, each in a transaction together with its record.
#[derive(Clone, Debug)]
pub struct Transactions {
    idempotency: Idempotency,
    store: TransactionStore,
    wait: Option<Duration>,
}

impl Transactions {
    /// Waits up to `limit` for an attempt that is running, instead of answering *in progress*. It holds no
    /// connection while it waits.
    #[must_use]
    pub fn waiting(self, limit: Duration) -> Self {
        Self { wait: Some(limit), ..self }
    }

    /// Runs `operation` once for this key, in a transaction (READ COMMITTED) that also holds its record.
    ///
    /// What the operation writes through its [`Transaction`] happens **exactly once**, however often and
    /// wherever the key is called, whoever is killed, and when: rows and record are committed together or
    /// not at all. That is true of what it writes there, and of nothing else: a message sent or a card
    /// charged inside of it may be so more than once. Write an outbox row instead, and send from that.
    ///
    /// An operation that fails, panics or is killed leaves nothing: its rows are rolled back, and the key is
    /// as it was before. A duplicate that comes while it runs, in a transaction or not, is told at once
    /// that it is in progress. The run goes on when its caller goes away, to its end; to bound it, set
    /// `idle_in_transaction_session_timeout` and `statement_timeout` in it.
    ///
    /// The operation must neither commit nor roll back the transaction itself; savepoints are fine
    /// (`transaction.begin()`), where each is committed, rolled back or dropped: of one that is forgotten
    /// (`std::mem::forget`) the driver takes the end for that of the transaction. It must not keep the
    /// [`Transaction`] after its end.
    ///
    /// # Errors
    /// The operation's own; and as [`Idempotency::execute_once`], and besides [`Error::Uncommitted`], where
    /// the transaction was not committed, or nobody knows whether it was.
    ///
    /// # Panics
    /// With the operation's panic; outside a tokio runtime.
    pub async fn execute_in_transaction<T, E, F, Fut>(&self, key: &Key, operation: F) -> Result<Outcome<T>, E>
    where
        T: Replay + 'static,
        E: From<Error> + Send + 'static,
        F: FnOnce(Transaction, Attempt) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        let ran = Arc::new(OnceLock::new());
        let call = self.idempotency.call(key);
        let call = match self.wait {
            Some(limit) => call.wait(limit),
            None => call,
        };
        let (store, running) = (self.store.clone(), ran.clone());
        let outcome = call.spawn(move |attempt| run(store, running, attempt, operation)).await?;
        match (ran.get(), outcome.is_replay()) {
            (Some(run), false) => match run.uncommitted().await {
                None => Ok(outcome),
                Some(source) => Err(Error::Uncommitted { key: key.clone(), source }.into()),
            },
            (None, _) | (Some(_), true) => Ok(outcome),
        }
    }
}

async fn run<T, E, F, Fut>(
    store: TransactionStore,
    ran: Arc<OnceLock<Arc<Run>>>,
    attempt: Attempt,
    operation: F,
) -> Result<T, E>
where
    E: From<Error>,
    F: FnOnce(Transaction, Attempt) -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    let run = attempt.lock().and_then(|lock| store.run_of(lock.owner));
    let Some(run) = run else { return Err(missing(&attempt).into()) };
    let run = ran.get_or_init(|| run);
    let open = run.phase.clone().lock_owned().await;
    let Ok(connection) = OwnedMutexGuard::try_map(open, Phase::connection) else {
        return Err(missing(&attempt).into());
    };
    let mut unfinished = Unfinished { run, store: &store, owner: attempt.lock().map(|lock| lock.owner) };
    let value = operation(Transaction(connection), attempt).await;
    unfinished.owner = None;
    value
}

fn missing(attempt: &Attempt) -> Error {
    let source = StoreError::new(StoreErrorKind::Internal, ACQUIRE).with_message("its transaction is not open");
    Error::Store { key: attempt.key().clone(), source }
}

/// Rolls back what an operation leaves that panics, or is cut off with its runtime.
struct Unfinished<'a> {
    run: &'a Run,
    store: &'a TransactionStore,
    owner: Option<Owner>,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        let Some(owner) = self.owner else { return };
        self.store.runs().remove(&owner);
        if let Ok(mut phase) = self.run.phase.try_lock() {
            *phase = Phase::Over(End::RolledBack(None));
        }
    }
}

/// The open transaction, as its operation has it: a connection of the driver's, for `&mut *transaction`.
pub struct Transaction(OwnedMappedMutexGuard<Phase, PgConnection>);

impl Deref for Transaction {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.0
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.0
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Transaction")
    }
}

/// One run's transaction.
#[derive(Debug, Default)]
struct Run {
    phase: Arc<Lockable<Phase>>,
}

impl Run {
    /// Why it is not, or not surely, committed.
    async fn uncommitted(&self) -> Option<StoreError> {
        let Ok(phase) = self.phase.try_lock() else {
            return Some(in_doubt("it is not over yet"));
        };
        match &*phase {
            Phase::Over(End::Committed(_)) => None,
            Phase::Over(End::RolledBack(Some((kind, why)))) => {
                Some(StoreError::new(*kind, "commit").with_message(why.clone()))
            }
            Phase::Over(End::InDoubt { .. }) => Some(in_doubt("the connection broke while it was committed")),
            Phase::Idle | Phase::Open(_) | Phase::Over(End::RolledBack(None)) => {
                Some(StoreError::new(StoreErrorKind::Unavailable, "commit").with_message("it was rolled back"))
            }
        }
    }
}

fn in_doubt(message: &str) -> StoreError {
    StoreError::new(StoreErrorKind::InDoubt, "commit").with_message(message)
}

/// How far a run's transaction is.
#[derive(Debug, Default)]
enum Phase {
    #[default]
    Idle,
    Open(Box<Open>),
    Over(End),
}

#[derive(Debug)]
struct Open {
    transaction: sqlx::Transaction<'static, Postgres>,
    /// The server's number for it.
    number: i64,
    before: Option<Stored>,
    record: idempotency_core::Record,
    grant: Grant,
    began: (Instant, Timestamp),
}

#[derive(Debug)]
enum End {
    Committed(Lock),
    RolledBack(Option<(StoreErrorKind, String)>),
    InDoubt { lock: Lock, number: i64, until: Timestamp },
}

impl Phase {
    fn connection(&mut self) -> Option<&mut PgConnection> {
        match self {
            Self::Open(open) => Some(&mut open.transaction),
            Self::Idle | Self::Over(_) => None,
        }
    }
}

/// The store as the runs in transactions see it: a lock is an open transaction.
#[derive(Clone, Debug)]
struct TransactionStore {
    store: PostgresStore,
    runs: Arc<Mutex<HashMap<Owner, Arc<Run>>>>,
}

impl TransactionStore {
    fn runs(&self) -> MutexGuard<'_, HashMap<Owner, Arc<Run>>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run_of(&self, owner: Owner) -> Option<Arc<Run>> {
        self.runs().get(&owner).cloned()
    }

    fn pool(&self) -> &Pool {
        &self.store.shared.pool
    }

    async fn acquire(&self, phase: &mut Phase, key: &Key, claim: &Claim) -> Result<Acquired, StoreError> {
        match phase {
            Phase::Idle => {}
            Phase::Open(open) => return Ok(Acquired::Acquired(open.grant)),
            Phase::Over(_) => return Ok(Acquired::Ended),
        }
        let (pool, name) = (self.pool(), Name::of(key));
        // What comes after the lock is looked at by a statement of its own, which sees what whoever had it
        // before has written.
        // BEGIN comes last, and takes in what came before it: if that fails, it has not begun. A connection that
        // fails after its BEGIN would go back to its pool in a transaction, of which the driver does not know.
        let begin = format!(
            "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; \
             SELECT set_config('idempotency.free', pg_try_advisory_xact_lock({})::text, true); BEGIN",
            pool.lock_of(&name)
        );
        let asked_at = Instant::now();
        let mut transaction = pool.transactions.begin_with(AssertSqlSafe(begin)).await.during(ACQUIRE)?;
        let look = pool.query(&pool.sql.look).bind(name.key).fetch_one(&mut *transaction).await.during(ACQUIRE)?;
        let before = row::read(&look).during(ACQUIRE)?;
        let now = now(&look, ACQUIRE)?;
        let attempt = before.as_ref().map_or(1, |stored| stored.record.attempt);
        let answer = if look.try_get::<bool, _>("free").during(ACQUIRE)? {
            let next_fence = look.try_get::<Option<i64>, _>("next_fence").during(ACQUIRE)?;
            let next_fence = idempotency_core::Fence::new(from_i64(next_fence.unwrap_or_default()));
            moves::acquire(before.as_ref().map(|stored| &stored.record), claim, now, next_fence)
        } else {
            match &before {
                // What is done does not change any more.
                Some(Stored { record, .. }) if moves::read(Some(record), now).is_some() && is_completed(record) => {
                    moves::acquire(Some(record), claim, now, record.lock.fence)
                }
                _ => Move { answer: held_by_transaction(attempt), write: None },
            }
        };
        if let (Acquired::Acquired(grant), Some(record)) = (&answer.answer, answer.write) {
            let number = look.try_get::<Option<i64>, _>("number").during(ACQUIRE)?.unwrap_or_default();
            let open = Open { transaction, number, before, record, grant: *grant, began: (asked_at, now) };
            *phase = Phase::Open(Box::new(open));
        } else {
            transaction.rollback().await.during(ACQUIRE)?;
        }
        Ok(answer.answer)
    }

    /// Writes the record, and commits.
    async fn commit(
        &self,
        phase: &mut Phase,
        key: &Key,
        lock: Lock,
        result: &Completion,
        retention: Duration,
    ) -> Result<Held, StoreError> {
        let Phase::Open(open) = std::mem::take(phase) else { return Ok(Held::Lost) };
        let Open { mut transaction, number, before, record, began: (at, from), .. } = *open;
        let now = from.plus(at.elapsed());
        // If this is dropped on the way, it was not committed.
        *phase = Phase::Over(End::RolledBack(None));
        let Move { write: Some(record), .. } = moves::store(Some(&record), lock, result, retention, now) else {
            return Ok(Held::Lost);
        };
        match self.write(&mut transaction, key, number, before, &record, now).await {
            Ok(true) => {}
            Ok(false) => {
                let begun = sqlx::query_scalar::<_, bool>("SELECT txid_current() = $1").persistent(false).bind(number);
                let (kind, why) = if let Ok(false) = begun.fetch_one(&mut *transaction).await {
                    let why = "the operation ended the transaction itself: what it wrote before may be there, without a \
                               record; it must neither commit nor roll back";
                    (StoreErrorKind::InDoubt, why)
                } else {
                    (StoreErrorKind::Unavailable, "the key was changed by others meanwhile")
                };
                *phase = Phase::Over(End::RolledBack(Some((kind, why.into()))));
                return Ok(Held::Lost);
            }
            Err(error) => {
                let error = told("commit", error);
                // It was not committed, whatever became of the statement.
                let kind =
                    if error.kind() == StoreErrorKind::InDoubt { StoreErrorKind::Unavailable } else { error.kind() };
                *phase = Phase::Over(End::RolledBack(Some((kind, error.to_string()))));
                return Ok(Held::Lost);
            }
        }
        *phase = Phase::Over(End::InDoubt { lock, number, until: record.forgotten_at() });
        if let Err(error) = transaction.commit().await {
            tracing::warn!(%key, %error, "the answer to a commit did not come; asking what became of it");
            return self.settle(phase, key, &error.to_string()).await;
        }
        *phase = Phase::Over(End::Committed(lock));
        Ok(Held::Held)
    }

    async fn write(
        &self,
        connection: &mut PgConnection,
        key: &Key,
        number: i64,
        before: Option<Stored>,
        record: &idempotency_core::Record,
        now: Timestamp,
    ) -> Result<bool, sqlx::Error> {
        let (pool, name) = (self.pool(), Name::of(key));
        if let Some(Stored { record: known, .. }) = before {
            let lease_until = match known.state {
                State::InProgress { lease_until, .. } => Some(row::time(lease_until)),
                State::Unknown { .. } | State::Released { .. } | State::Completed { .. } => None,
            };
            let query = pool.query(&pool.sql.keep_known).bind(name.key.clone()).bind(to_i64(known.lock.fence.get()));
            let query = row::bind(query, record, look_at(record, now)).bind(number);
            let query = query.bind(row::letter(&known.state)).bind(lease_until);
            if query.fetch_optional(&mut *connection).await?.is_some() {
                return Ok(true);
            }
            // Only what counted as absent can have been purged meanwhile.
            if moves::read(Some(&known), now).is_some() {
                return Ok(false);
            }
        }
        let query = pool.query(&pool.sql.keep_new).bind(name.key).bind(name.long);
        let query = row::bind(query, record, look_at(record, now)).bind(number);
        Ok(query.fetch_optional(&mut *connection).await?.is_some())
    }

    /// Asks the server what became of a commit whose answer did not come.
    async fn settle(&self, phase: &mut Phase, key: &Key, why: &str) -> Result<Held, StoreError> {
        let Phase::Over(End::InDoubt { lock, number, until }) = *phase else { return Ok(Held::Lost) };
        let (pool, name) = (self.pool(), Name::of(key));
        let give_up_at = Instant::now() + pool.limit;
        loop {
            let status = || sqlx::query("SELECT txid_status($1) AS status").persistent(false).bind(number);
            let row = pool.one(STORE, status).await?;
            let status: Option<String> = row.try_get("status").during(STORE)?;
            match status.as_deref() {
                // Of this one, or of another: a server that crashed, or a standby in its place, gives the number of
                // what it lost away again.
                Some("committed") => {
                    let (found, now) = self.store.shared.get(&name, STORE, pool.deadline()).await?;
                    if found.is_some_and(|found| found.record.lock == lock && is_completed(&found.record)) {
                        *phase = Phase::Over(End::Committed(lock));
                        return Ok(Held::Held);
                    }
                    if now >= until {
                        return Err(in_doubt("the record that would tell is past its retention"));
                    }
                    *phase = Phase::Over(End::RolledBack(Some((StoreErrorKind::Unavailable, why.to_owned()))));
                    return Ok(Held::Lost);
                }
                Some("aborted") => {
                    *phase = Phase::Over(End::RolledBack(Some((StoreErrorKind::Unavailable, why.to_owned()))));
                    return Ok(Held::Lost);
                }
                _ if Instant::now() >= give_up_at => return Err(in_doubt("the server still is at it")),
                _ => tokio::time::sleep(PAUSE).await,
            }
        }
    }
}

/// A transaction that was perhaps begun. Where nobody is there any more to be told so, it is rolled back.
struct Opening {
    store: TransactionStore,
    owner: Owner,
    phase: OwnedMutexGuard<Phase>,
    is_wanted: bool,
}

impl Drop for Opening {
    fn drop(&mut self) {
        if !self.is_wanted {
            // Whoever asks again with the same owner begins anew.
            if matches!(*self.phase, Phase::Open(_)) {
                *self.phase = Phase::Idle;
            }
            self.store.runs().remove(&self.owner);
        }
    }
}

fn is_completed(record: &idempotency_core::Record) -> bool {
    matches!(record.state, State::Completed { .. })
}

/// What a task answers that nobody cancels; `None` from one that panicked or was cut off.
async fn uncancelled<T: Send + 'static>(
    operation: &'static str,
    work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::spawn(work).await.unwrap_or_else(|error| {
        Err(StoreError::new(StoreErrorKind::InDoubt, operation).with_message("its task was cut off").with_source(error))
    })
}

#[async_trait]
impl IdempotencyStore for TransactionStore {
    async fn get(&self, key: &Key) -> Result<Option<Snapshot>, StoreError> {
        self.store.get(key).await
    }

    async fn acquire_lock(&self, key: &Key, claim: &Claim) -> Result<Acquired, StoreError> {
        let (store, key, claim) = (self.clone(), key.clone(), claim.clone());
        let run = self.runs().entry(claim.owner).or_default().clone();
        let (tell, told) = oneshot::channel();
        tokio::spawn(async move {
            let phase = run.phase.clone().lock_owned().await;
            // Whoever had it before may have taken it away.
            store.runs().insert(claim.owner, run);
            let mut opening = Opening { store, owner: claim.owner, phase, is_wanted: false };
            let answer = opening.store.clone().acquire(&mut opening.phase, &key, &claim).await;
            let _ = tell.send((answer, opening));
        });
        let Ok((answer, mut opening)) = told.await else {
            return Err(StoreError::new(StoreErrorKind::InDoubt, ACQUIRE).with_message("its task was cut off"));
        };
        opening.is_wanted = matches!(answer, Ok(Acquired::Acquired(_)));
        answer
    }

    /// The transaction itself is the lock: there is nothing to renew.
    async fn extend_lock(&self, _: &Key, lock: &Lock, _: Duration) -> Result<Held, StoreError> {
        let Some(run) = self.run_of(lock.owner) else { return Ok(Held::Lost) };
        Ok(match run.phase.try_lock().as_deref() {
            Ok(Phase::Idle | Phase::Over(_)) => Held::Lost,
            Ok(Phase::Open(_)) | Err(_) => Held::Held,
        })
    }

    async fn store_result(
        &self,
        key: &Key,
        lock: &Lock,
        result: &Completion,
        retention: Duration,
    ) -> Result<Held, StoreError> {
        crate::store::fits(result)?;
        let Some(run) = self.run_of(lock.owner) else { return Ok(Held::Lost) };
        let (store, key, lock, result) = (self.clone(), key.clone(), *lock, result.clone());
        uncancelled(STORE, async move {
            let mut phase = run.phase.clone().lock_owned().await;
            let answer = match &*phase {
                Phase::Open(open) if open.grant.lock == lock => {
                    store.commit(&mut phase, &key, lock, &result, retention).await
                }
                Phase::Over(End::Committed(by)) if *by == lock => Ok(Held::Held),
                Phase::Over(End::InDoubt { .. }) => store.settle(&mut phase, &key, "the connection broke").await,
                Phase::Idle | Phase::Open(_) | Phase::Over(_) => Ok(Held::Lost),
            };
            if answer.is_ok() {
                store.runs().remove(&lock.owner);
            }
            answer
        })
        .await
    }

    /// Whatever the effect was, it is rolled back, and the key is as it was before.
    async fn release_lock(&self, _: &Key, lock: &Lock, _: Effect) -> Result<Held, StoreError> {
        let Some(run) = self.runs().remove(&lock.owner) else { return Ok(Held::Held) };
        uncancelled("release_lock", async move {
            let mut phase = run.phase.clone().lock_owned().await;
            if let Phase::Open(open) = std::mem::replace(&mut *phase, Phase::Over(End::RolledBack(None))) {
                // Where this fails the connection is broken, and the server rolls back by itself.
                let _ = open.transaction.rollback().await;
            }
            Ok(Held::Held)
        })
        .await
    }

    fn watch(&self, key: &Key) -> Watch {
        self.store.watch(key)
    }

    async fn guarantees(&self) -> Result<Guarantees, StoreError> {
        self.store.guarantees().await
    }
}
