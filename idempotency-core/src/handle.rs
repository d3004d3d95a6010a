//! The handle: a store, what a service wants of it by default, and the renewer.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::TaskTracker;

use crate::ask::ask;
use crate::call::Call;
use crate::codec::{AnyCodec, Codec, Replay};
use crate::error::{Error, InvalidCall, StoreError};
use crate::exclusive::{Exclusive, Exclusively};
use crate::guarantees::{Requirements, TooWeak};
use crate::key::Key;
use crate::lock::{OnUnknown, defaults};
use crate::outcome::Outcome;
use crate::renewer::Renewer;
use crate::shared::{Inner, Settings, warn_if_short};
use crate::status::Status;
use crate::store::IdempotencyStore;
use crate::time::{InvalidDuration, checked};

/// Runs operations once a key, over a store.
///
/// Cloning is cheap and shares everything. A service makes one handle and keeps it; a handle made
/// from it by a `with_…` shares the store alone, and is [drained](Self::drain) by itself.
#[derive(Clone, Debug)]
pub struct Idempotency {
    inner: Arc<Inner>,
}

impl Idempotency {
    /// A handle with the defaults: a lease of 30 s, a retention of 24 h, an unknown retention of 30
    /// days, runs of at most an hour, *run again*, bincode, results to 1 MiB.
    pub fn new(store: impl IdempotencyStore) -> Self {
        let settings = Settings {
            lease: defaults::LEASE,
            retention: defaults::RETENTION,
            unknown_retention: defaults::UNKNOWN_RETENTION,
            max_run: defaults::MAX_RUN,
            store_limit: defaults::STORE_LIMIT,
            result_limit: defaults::RESULT_LIMIT,
            on_unknown: OnUnknown::default(),
            codec: AnyCodec::Bincode,
        };
        Self::with_settings(Arc::new(store), settings)
    }

    fn with_settings(store: Arc<dyn IdempotencyStore>, settings: Settings) -> Self {
        let renewer = Renewer::new(store.clone());
        let background = TaskTracker::new();
        // Takes tasks all the same; closed for good, so that whoever waits is told whenever it is empty.
        background.close();
        Self { inner: Arc::new(Inner { store, settings, renewer, background }) }
    }

    fn changed(self, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = self.inner.settings.clone();
        change(&mut settings);
        Self::with_settings(self.inner.store.clone(), settings)
    }

    /// Sets how long a lock holds without renewal. The process that died holds its key for so long;
    /// a pause longer than it (a suspended machine, a long garbage collection of a neighbour) loses
    /// the lock. 30 s by default; under 10 s is warned about once.
    ///
    /// # Errors
    /// [`InvalidDuration`] for zero and what overflows.
    pub fn with_lease(self, lease: Duration) -> Result<Self, InvalidDuration> {
        let lease = checked("lease", lease)?;
        warn_if_short(lease);
        Ok(self.changed(|settings| settings.lease = lease))
    }

    /// Sets how long a result is replayed; 24 h by default. It should not exceed how long the
    /// provider deduplicates on the downstream key. An unknown retention that would be shorter
    /// becomes as long.
    ///
    /// # Errors
    /// [`InvalidDuration`] for zero and what overflows.
    pub fn with_retention(self, retention: Duration) -> Result<Self, InvalidDuration> {
        let retention = checked("retention", retention)?;
        Ok(self.changed(|settings| {
            settings.retention = retention;
            settings.unknown_retention = settings.unknown_retention.max(retention);
        }))
    }

    /// Sets how long an unknown attempt is remembered; 30 days by default. At most once ends with it.
    ///
    /// # Errors
    /// [`InvalidCall`] for zero, what overflows, and what is shorter than the retention.
    pub fn with_unknown_retention(self, unknown: Duration) -> Result<Self, InvalidCall> {
        let unknown = checked("unknown retention", unknown)?;
        let retention = self.inner.settings.retention;
        if unknown < retention {
            return Err(InvalidCall::UnknownRetention { unknown, retention });
        }
        Ok(self.changed(|settings| settings.unknown_retention = unknown))
    }

    /// Sets how long a run's lease is renewed at the most, so that a hung call does not hold its key
    /// for ever; an hour by default. The lock is lost a lease after that, and the run is told.
    ///
    /// # Errors
    /// [`InvalidDuration`] for zero and what overflows.
    pub fn with_max_run(self, max_run: Duration) -> Result<Self, InvalidDuration> {
        let max_run = checked("longest run", max_run)?;
        Ok(self.changed(|settings| settings.max_run = max_run))
    }

    /// Sets how long a call waits for its store before the operation, and again after it; 5 s by
    /// default. Before, it then fails and nothing runs. After, the caller gets its value, marked
    /// unrecorded, and the store is asked on in the background.
    ///
    /// # Errors
    /// [`InvalidDuration`] for zero and what overflows.
    pub fn with_store_limit(self, limit: Duration) -> Result<Self, InvalidDuration> {
        let limit = checked("store limit", limit)?;
        Ok(self.changed(|settings| settings.store_limit = limit))
    }

    /// Sets the largest encoded result that is kept, in bytes; 1 MiB by default, 64 MiB at the most.
    /// A larger one goes to its caller, and the record says that it was.
    #[must_use]
    pub fn with_result_limit(self, bytes: usize) -> Self {
        const MOST: usize = 64 * 1024 * 1024;
        self.changed(|settings| settings.result_limit = bytes.min(MOST))
    }

    /// Sets what to do with a key whose last attempt is unknown. [`OnUnknown::RunAgain`] by default.
    #[must_use]
    pub fn with_on_unknown(self, on_unknown: OnUnknown) -> Self {
        self.changed(|settings| settings.on_unknown = on_unknown)
    }

    /// Sets how results become bytes. [`Bincode`](crate::Bincode) by default.
    #[must_use]
    pub fn with_codec(self, codec: impl Codec) -> Self {
        self.changed(|settings| settings.codec = AnyCodec::new(codec))
    }

    /// Refuses a store that is weaker than the service needs, or that cannot tell. For start-up.
    ///
    /// # Errors
    /// [`RequireError`], saying what is missing and which setting to change.
    pub async fn require(&self, requirements: Requirements) -> Result<(), RequireError> {
        let Inner { store, settings, .. } = &*self.inner;
        let guarantees = ask("guarantees", settings.store_limit, || store.guarantees()).await?;
        Ok(requirements.check(&guarantees)?)
    }

    /// Runs `operation` once for this key: a duplicate gets the first run's value instead.
    ///
    /// `Ok` means that the caller holds the operation's value, `Err` that it does not. The error is
    /// the operation's own, or [`Error`] converted into it, which says why nothing ran.
    ///
    /// An `async` block may need its error named: `async { …; Ok::<_, MyError>(value) }`, where
    /// `MyError: From<Error>`. The value is kept by the handle's codec: see
    /// [`Bincode`](crate::Bincode) for the types that need `Json`.
    ///
    /// # Cancellation
    /// Dropped before `operation` was first polled, the key is free again. Dropped later, nobody
    /// knows what the operation did: the lock is left to lapse, and the next call meets an unknown
    /// attempt. Dropped after the operation returned, its result is recorded in the background. A
    /// panic of the operation goes through, as if dropped. For a run that outlives its caller, see
    /// [`Call::spawn`].
    ///
    /// # Errors
    /// The operation's error: the attempt then is unknown, unless [`Call::effect_of`] says that it
    /// had no effect. Otherwise [`Error`]: in progress, mismatch, unknown, not replayable, or the
    /// store's.
    ///
    /// # Panics
    /// Outside a tokio runtime, or in one without timers (`enable_time`); and with the operation's own
    /// panic.
    pub fn execute_once<'a, T, E>(
        &'a self,
        key: &'a Key,
        operation: impl Future<Output = Result<T, E>> + Send + 'a,
    ) -> impl Future<Output = Result<Outcome<T>, E>> + Send + 'a
    where
        T: Replay + 'a,
        E: From<Error> + Send + 'a,
    {
        self.call(key).run(move |_| operation)
    }

    /// A call with settings of its own.
    pub fn call<'a>(&'a self, key: &'a Key) -> Call<'a> {
        Call::new(&self.inner, key)
    }

    /// Runs `job` unless another run of this name is under way, in any process over the store:
    /// [`Idempotency::exclusive`] with the handle's settings.
    ///
    /// # Errors
    /// As [`Exclusive::run`].
    ///
    /// # Panics
    /// As [`Exclusive::run`].
    pub fn run_exclusively<'a, T, E>(
        &'a self,
        name: impl Into<String>,
        job: impl Future<Output = Result<T, E>> + Send + 'a,
    ) -> impl Future<Output = Result<Exclusively<T>, E>> + Send + 'a
    where
        T: Replay + 'a,
        E: From<Error> + Send + 'a,
    {
        self.exclusive(name).run(move |_| job)
    }

    /// A run of the job `name`, of which there is never more than one at once, in all processes over the
    /// store; with settings of its own.
    pub fn exclusive(&self, name: impl Into<String>) -> Exclusive<'_> {
        Exclusive::new(&self.inner, name.into())
    }

    /// How things stand with a key. For showing; to act on it, call.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn status(&self, key: &Key) -> Result<Status, StoreError> {
        let Inner { store, settings, .. } = &*self.inner;
        let found = ask("get", settings.store_limit, || store.get(key)).await?;
        Ok(Status::of(found, key))
    }

    /// How long a result is replayed, unless a call says otherwise.
    #[must_use]
    pub fn retention(&self) -> Duration {
        self.inner.settings.retention
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn IdempotencyStore> {
        &self.inner.store
    }

    /// A handle with the same settings over another store, which is [drained](Self::drain) with this one:
    /// for a store's other ways to run, such as in a transaction.
    #[must_use]
    pub fn over(&self, store: impl IdempotencyStore) -> Self {
        let store: Arc<dyn IdempotencyStore> = Arc::new(store);
        let renewer = Renewer::new(store.clone());
        let Inner { settings, background, .. } = &*self.inner;
        let (settings, background) = (settings.clone(), background.clone());
        Self { inner: Arc::new(Inner { store, settings, renewer, background }) }
    }

    /// Waits until all detached runs, and all that is still to be told to the store, are done; for a
    /// graceful shutdown. Others may begin meanwhile: stop taking requests first.
    ///
    /// # Errors
    /// [`StillRunning`] after `limit`.
    pub async fn drain(&self, limit: Duration) -> Result<(), StillRunning> {
        let background = &self.inner.background;
        let done = tokio::time::timeout(limit, background.wait()).await;
        done.map_err(|_| StillRunning { tasks: background.len() })
    }
}

/// Runs `operation` once for this key: [`Idempotency::execute_once`] as a function.
///
/// # Errors
/// As the method.
pub async fn execute_once<T, E>(
    idempotency: &Idempotency,
    key: &Key,
    operation: impl Future<Output = Result<T, E>> + Send,
) -> Result<Outcome<T>, E>
where
    T: Replay,
    E: From<Error> + Send,
{
    idempotency.execute_once(key, operation).await
}

/// A store was not taken.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum RequireError {
    /// It is too weak, or cannot tell.
    #[error(transparent)]
    TooWeak(#[from] TooWeak),
    /// It could not be asked.
    #[error("the store could not be asked what it guarantees")]
    Store(#[from] StoreError),
}

/// For whoever reads it where a program's `main` returns it: as `Display`, and then why.
impl fmt::Debug for RequireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooWeak(error) => write!(f, "{error}"),
            Self::Store(error) => write!(f, "{self}: {error:?}"),
        }
    }
}

/// Something still ran when the limit was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{tasks} detached runs or endings are still under way")]
pub struct StillRunning {
    /// How many.
    pub tasks: usize,
}
