//! The store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use idempotency_core::{
    Acquired, Claim, Completion, Effect, Fence, Grant, Guarantees, Held, IdempotencyStore, Key, Lock, Record, Snapshot,
    State, StoreError, StoreErrorKind, Timestamp, Watch, moves,
};
use redis::{Cmd, Value};

use crate::config::RedisStoreConfig;
use crate::contended::Contended;
use crate::error::{Operation, damaged, nonsense};
use crate::layout::{self, micros};
use crate::link::{Completing, Ended, Failure, Job, Servers, number};
use crate::remembered::Remembered;
use crate::replicas::Replicas;
use crate::scripts::{self, Move};
use crate::{guarantees, opening, watch};

/// The largest value that is kept, in bytes: one value on its way delays all others on its connection.
const LARGEST_VALUE: usize = 16 * 1024 * 1024;

/// An idempotency store in Redis or Valkey.
///
/// Each record is one key. Clones and threads share its connections: one for calls to each server, and
/// one more where changes are watched or replicas waited for.
///
/// Every call ends within [`with_limit`](RedisStoreConfig::with_limit). A call without an answer may be
/// sent again, as every store's may; the store itself sends none again, but for one whose script the
/// server has forgotten or whose key another server of the cluster has.
#[derive(Clone, Debug)]
pub struct RedisStore {
    pub(crate) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) servers: Arc<Servers>,
    pub(crate) config: RedisStoreConfig,
    remembered: Remembered,
    contended: Contended,
    /// The servers can compare a value and set it by one command.
    compares: AtomicBool,
}

impl RedisStore {
    /// Opens the store: reaches its servers, and makes sure that they are new enough (Redis 7.0, or any
    /// Valkey) and do not evict keys.
    ///
    /// # Errors
    /// [`StoreError`]: *unavailable* where no server answers within the limit (or within
    /// [`Start::Wait`](crate::Start::Wait)), *misconfigured* where one is too old, evicts keys, or will
    /// not have us.
    pub async fn open(config: RedisStoreConfig) -> Result<Self, StoreError> {
        let waits = config.replicas.map(|replicas| ("time to wait for replicas", replicas.within));
        let times = [("limit", config.limit), ("clock tolerance", config.clock_tolerance)];
        for (name, given) in times.into_iter().chain(waits) {
            if given < Duration::from_millis(1) || given > Duration::from_secs(24 * 60 * 60) {
                return Err(crate::config::misconfigured(format!(
                    "the {name} of {given:?} is not within 1 ms and a day"
                )));
            }
        }
        #[cfg(feature = "tls")]
        crate::tls::install_provider();
        let servers = Arc::new(Servers::new(config.place.clone(), config.options()));
        let compares = opening::look_at(&servers, &config).await?;
        let shared = Shared {
            servers,
            config,
            remembered: Remembered::default(),
            contended: Contended::new(),
            compares: AtomicBool::new(compares),
        };
        Ok(Self { shared: Arc::new(shared) })
    }
}

/// What a script over one key answers.
struct Found {
    now: Timestamp,
    record: Option<(Bytes, Option<u64>)>,
    changed: bool,
}

impl Shared {
    /// The name of a key's record.
    pub(crate) fn name(&self, key: &Key) -> Vec<u8> {
        [self.config.prefix.as_bytes(), key.as_str().as_bytes()].concat()
    }

    async fn call(&self, operation: &'static str, name: &[u8], job: Job) -> Result<Value, StoreError> {
        let sent = Instant::now();
        let (ended, node) = self.servers.call(name, job).await.during(operation)?;
        let Ended { result, history, .. } = ended;
        let answer = result.during(operation)?;
        // What a move answers begins with the time.
        if let Value::Array(parts) = &answer
            && let [now, _, _, _] = &parts[..]
            && let Some(now) = number(now)
        {
            node.clock.observe(sent, Timestamp::from_micros(now));
        }
        if node.replicas.is_some() {
            let have_all = Replicas::have_all(&node, name, &self.config.prefix, history.as_deref());
            tokio::time::timeout_at((sent + self.whole_limit()).into(), have_all)
                .await
                .unwrap_or_else(|_| Err(Failure::late(node.place())))
                .during(operation)?;
        }
        Ok(answer)
    }

    /// How long a call may take that waits for replicas, where it has to.
    fn whole_limit(&self) -> Duration {
        self.config.limit + self.config.replicas.map_or(Duration::ZERO, |replicas| replicas.within)
    }

    /// A further step of a call, in what is left of its limit.
    async fn goes_on<T>(
        &self,
        operation: &'static str,
        begun: Instant,
        step: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let late = || StoreError::new(StoreErrorKind::InDoubt, operation).with_message("no answer came in time");
        tokio::time::timeout_at((begun + self.whole_limit()).into(), step).await.unwrap_or_else(|_| Err(late()))
    }

    async fn by(
        &self,
        operation: &'static str,
        script: &'static Move,
        key: &Key,
        args: Vec<Vec<u8>>,
    ) -> Result<Value, StoreError> {
        let name = self.name(key);
        self.call(operation, &name.clone(), Job::Move { script, name, args }).await
    }

    async fn held(
        &self,
        operation: &'static str,
        script: &'static Move,
        key: &Key,
        args: Vec<Vec<u8>>,
    ) -> Result<Held, StoreError> {
        match self.by(operation, script, key, args).await? {
            Value::Int(1) => Ok(Held::Held),
            Value::Int(0) => Ok(Held::Lost),
            _ => Err(nonsense(operation, "a move by something else than 0 or 1")),
        }
    }

    fn pad(&self) -> Vec<u8> {
        text(self.config.clock_tolerance.as_millis())
    }

    fn outlives_tolerance(&self, kept: Duration) -> bool {
        kept >= self.config.clock_tolerance + Duration::from_millis(1)
    }

    /// Acquires by `SET NX` a key that is most likely new. `None` where the server has to look.
    async fn acquire_new(&self, key: &Key, claim: &Claim) -> Result<Option<Acquired>, StoreError> {
        const ACQUIRE: &str = "acquire_lock";
        let name = self.name(key);
        if self.contended.has(&name) {
            return Ok(None);
        }
        let node = self.servers.node(&name).await.during(ACQUIRE)?;
        let Some(now) = node.clock.now().filter(|_| self.outlives_tolerance(claim.unknown_retention)) else {
            return Ok(None);
        };
        let record = first_attempt(claim, now);
        let (lock, written) = (record.lock, Bytes::from(layout::begun(&record)));
        // One millisecond more, for the part of one that the server leaves out.
        let kept = micros(claim.lease).saturating_add(micros(claim.unknown_retention)).div_ceil(1000).saturating_add(1);
        let mut set = Cmd::with_capacity(7, name.len() + written.len() + 64);
        set.arg("SET").arg(&name).arg(&written[..]).arg("NX").arg("GET").arg("PX").arg(kept);
        match self.call(ACQUIRE, &name, Job::Command(set)).await? {
            Value::Nil => {
                self.remembered.add(record, written);
                Ok(Some(Acquired::Acquired(Grant { lock, attempt: 1, prior: None })))
            }
            Value::BulkString(found) => {
                let stored = layout::decode(&found.into(), None).map_err(|garbled| damaged(ACQUIRE, garbled))?;
                // It is there, so it is to be replayed; whatever else is there, the server judges.
                if !stored.expires_with_key || !matches!(stored.record.state, State::Completed { .. }) {
                    self.contended.add(&name);
                    return Ok(None);
                }
                let Snapshot { record, now } = stored.read_at(node.clock.now().unwrap_or(now));
                let answer = moves::acquire(Some(&record), claim, now, Fence::default()).answer;
                // Nothing was written, so there is no lock, whatever a damaged record says.
                Ok(Some(answer).filter(|answer| !matches!(answer, Acquired::Acquired(_))))
            }
            _ => Err(nonsense(ACQUIRE, "SET NX GET by something else than a record")),
        }
    }

    async fn acquire_by_script(&self, script: &'static Move, key: &Key, claim: &Claim) -> Result<Acquired, StoreError> {
        const ACQUIRE: &str = "acquire_lock";
        let first = layout::begun(&first_attempt(claim, Timestamp::default()));
        let settles = text(u8::from(claim.settles));
        let args = vec![first, text(micros(claim.lease)), settles, self.pad()];
        let found = found(ACQUIRE, self.by(ACQUIRE, script, key, args).await?)?;
        let Some((bytes, expires)) = found.record else { return Err(nonsense(ACQUIRE, "an acquisition by no record")) };
        let stored = layout::decode(&bytes, expires).map_err(|garbled| damaged(ACQUIRE, garbled))?;
        let Snapshot { record, now } = stored.read_at(found.now);
        if found.changed {
            let grant = Grant { lock: record.lock, attempt: record.attempt, prior: record.prior };
            self.remembered.add(record, bytes);
            return Ok(Acquired::Acquired(grant));
        }
        // Nothing was changed: what this record means for the claim is said in one place.
        match moves::acquire(Some(&record), claim, now, Fence::default()).answer {
            Acquired::Acquired(_) => Err(nonsense(ACQUIRE, "that a key is held, which is free")),
            answer @ Acquired::InProgress { .. } => {
                self.contended.add(&self.name(key));
                Ok(answer)
            }
            answer => {
                self.contended.remove(&self.name(key));
                Ok(answer)
            }
        }
    }

    /// Completes a record that this process acquired, if it is still in progress. `None` where the
    /// server has to look.
    async fn complete(
        &self,
        key: &Key,
        lock: &Lock,
        result: &Completion,
        retention: Duration,
    ) -> Result<Option<Held>, StoreError> {
        const STORE: &str = "store_result";
        let Some(acquired) = self.remembered.get(lock).filter(|_| self.outlives_tolerance(retention)) else {
            return Ok(None);
        };
        let name = self.name(key);
        let node = self.servers.node(&name).await.during(STORE)?;
        let Some(now) = node.clock.now() else { return Ok(None) };
        let State::InProgress { unknown_retention, .. } = acquired.record.state else { return Ok(None) };
        if !self.outlives_tolerance(unknown_retention) {
            return Ok(None);
        }
        let compares = acquired.is_exact && self.compares.load(Ordering::Relaxed);
        let completing = Completing {
            begins: layout::in_progress_under(*lock),
            expected: compares.then(|| acquired.written.to_vec()),
            record: layout::completed(&acquired.record, now, now.plus(retention), result),
            keep_ms: micros(retention).div_ceil(1000),
            name: name.clone(),
        };
        match self.call(STORE, &name, Job::Complete(completing)).await {
            Ok(Value::Int(1) | Value::Okay) => Ok(Some(Held::Held)),
            Ok(Value::Int(0) | Value::Nil) => Ok(None),
            Ok(_) => Err(nonsense(STORE, "a completion by something else than 0 or 1")),
            Err(error) if compares && error.kind() == StoreErrorKind::Internal => {
                // A server of the cluster that is older than the one that was asked at the start.
                self.compares.store(false, Ordering::Relaxed);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

#[async_trait]
impl IdempotencyStore for RedisStore {
    async fn get(&self, key: &Key) -> Result<Option<Snapshot>, StoreError> {
        let found = found("get", self.shared.by("get", &scripts::GET, key, Vec::new()).await?)?;
        let Some((bytes, expires)) = found.record else { return Ok(None) };
        let stored = layout::decode(&bytes, expires).map_err(|garbled| damaged("get", garbled))?;
        let snapshot = stored.read_at(found.now);
        Ok(Some(snapshot).filter(|snapshot| moves::read(Some(&snapshot.record), snapshot.now).is_some()))
    }

    async fn acquire_lock(&self, key: &Key, claim: &Claim) -> Result<Acquired, StoreError> {
        const ACQUIRE: &str = "acquire_lock";
        let begun = Instant::now();
        let script = match self.shared.acquire_new(key, claim).await {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) => &scripts::ACQUIRE,
            // A full server refuses the command whatever it would find; only a new key needs room.
            Err(error) if error.kind() == StoreErrorKind::Full => &scripts::ACQUIRE_AGAIN,
            Err(error) => return Err(error),
        };
        // Boxed, as the everyday call need not carry it about.
        let by_script = Box::pin(self.shared.acquire_by_script(script, key, claim));
        match self.shared.goes_on(ACQUIRE, begun, by_script).await {
            Err(error) if error.kind() == StoreErrorKind::Full => {
                let again = Box::pin(self.shared.acquire_by_script(&scripts::ACQUIRE_AGAIN, key, claim));
                self.shared.goes_on(ACQUIRE, begun, again).await
            }
            acquired => acquired,
        }
    }

    async fn extend_lock(&self, key: &Key, lock: &Lock, lease: Duration) -> Result<Held, StoreError> {
        self.shared.remembered.extended(lock);
        let args = vec![layout::lock_bytes(*lock).to_vec(), text(micros(lease)), self.shared.pad()];
        self.shared.held("extend_lock", &scripts::EXTEND, key, args).await
    }

    async fn store_result(
        &self,
        key: &Key,
        lock: &Lock,
        result: &Completion,
        retention: Duration,
    ) -> Result<Held, StoreError> {
        let (value, omitted) = layout::value_of(result);
        if value.len() > LARGEST_VALUE {
            let message = format!("a value of {} bytes; the most are {LARGEST_VALUE}", value.len());
            return Err(StoreError::new(StoreErrorKind::TooLarge, "store_result").with_message(message));
        }
        let begun = Instant::now();
        // What has no value is stored also where the server is full, which the short way is not.
        let completed = match omitted {
            0 => self.shared.complete(key, lock, result, retention).await?,
            _ => None,
        };
        let held = match completed {
            Some(held) => held,
            None => {
                let script = if omitted == 0 { &scripts::STORE } else { &scripts::STORE_FACT };
                let lock = layout::lock_bytes(*lock).to_vec();
                let args = vec![lock, text(omitted), value.to_vec(), text(micros(retention)), self.shared.pad()];
                let by_script = Box::pin(self.shared.held("store_result", script, key, args));
                self.shared.goes_on("store_result", begun, by_script).await?
            }
        };
        self.shared.remembered.forget(lock);
        Ok(held)
    }

    async fn release_lock(&self, key: &Key, lock: &Lock, effect: Effect) -> Result<Held, StoreError> {
        let effect = match effect {
            Effect::None => b"N",
            Effect::Unknown => b"U",
            Effect::Settled => b"S",
        };
        let args = vec![layout::lock_bytes(*lock).to_vec(), effect.to_vec(), self.shared.pad()];
        let held = self.shared.held("release_lock", &scripts::RELEASE, key, args).await?;
        self.shared.remembered.forget(lock);
        Ok(held)
    }

    fn watch(&self, key: &Key) -> Watch {
        watch::watch(&self.shared.servers, self.shared.name(key))
    }

    async fn guarantees(&self) -> Result<Guarantees, StoreError> {
        guarantees::found(&self.shared.servers, &self.shared.config).await
    }
}

/// The record of a claim that acquires a new key, as a move makes it.
fn first_attempt(claim: &Claim, now: Timestamp) -> Record {
    let fence = Fence::new(now.as_micros());
    Record {
        fingerprint: claim.fingerprint,
        lock: Lock { owner: claim.owner, fence },
        attempt: 1,
        prior: None,
        on_unknown: claim.on_unknown,
        acquired_at: now,
        context: claim.context.clone(),
        attributes: claim.attributes.clone(),
        state: State::InProgress {
            lease_until: Timestamp::default(),
            confirmed: !claim.confirms,
            retention: claim.retention,
            unknown_retention: claim.unknown_retention,
        },
    }
}

/// Reads what [`GET`](scripts::GET) and [`ACQUIRE`](scripts::ACQUIRE) answer: the time, the record, the
/// key's expiry, and whether the record was changed.
fn found(operation: &'static str, answer: Value) -> Result<Found, StoreError> {
    if let Value::Array(parts) = answer
        && let Ok([now, record, expires, changed]) = <[Value; 4]>::try_from(parts)
        && let Some(now) = number(&now)
    {
        let record = match record {
            Value::BulkString(record) => Some((Bytes::from(record), number(&expires))),
            _ => None,
        };
        return Ok(Found { now: Timestamp::from_micros(now), record, changed: changed == Value::Int(1) });
    }
    Err(nonsense(operation, "a move by something else than a record"))
}

fn text(value: impl ToString) -> Vec<u8> {
    value.to_string().into_bytes()
}
