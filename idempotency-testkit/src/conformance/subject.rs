//! The store that a case is given, and what it declares.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use idempotency_core::{IdempotencyStore, ManualClock, Upkeep, defaults};

use super::sample;

/// What not every store can do, or not every test of one can set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Capability {
    /// The store implements [`Upkeep`].
    Upkeep,
    /// The store is on a [`ManualClock`]. Without one the cases wait in real time, for leases of
    /// a third of a second, and those in which the clock jumps are left out.
    Clock,
    /// [`IdempotencyStore::watch`] resolves when a key's lock ends, for watchers in this process.
    Watch,
    /// The test can close the store and open it again over the same records.
    Reopen,
}

impl Capability {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Upkeep, Self::Clock, Self::Watch, Self::Reopen];

    /// What having it means.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Upkeep => "implements `Upkeep`",
            Self::Clock => "is on a clock that the test moves",
            Self::Watch => "wakes watchers when a lock ends",
            Self::Reopen => "can be closed and opened again",
        }
    }
}

type Reopening = Pin<Box<dyn Future<Output = Subject> + Send>>;

/// The store that a case is given: fresh and empty, with what must outlive it, and with what it
/// declares to lack.
///
/// ```
/// use std::sync::Arc;
/// use idempotency_testkit::ReferenceStore;
/// use idempotency_testkit::conformance::{Capability, Subject, sample};
///
/// fn fresh() -> Subject {
///     let clock = sample::clock();
///     Subject::new(ReferenceStore::new(clock.clone()))
///         .on_clock(clock)
///         .lacks(Capability::Reopen, "it is in memory")
/// }
/// # let _subject = fresh();
/// ```
#[must_use = "a subject does nothing until a case is run on it"]
pub struct Subject {
    pub(super) handles: Handles,
    pub(super) clock: Option<Arc<ManualClock>>,
    pub(super) lacks: BTreeMap<Capability, String>,
    pub(super) reopen: Option<Arc<dyn Fn() -> Reopening + Send + Sync>>,
    pub(super) limit: Duration,
    pub(super) fewer: u32,
    pub(super) largest: usize,
    pub(super) purged_by: Option<Duration>,
    pub(super) forgets_by_itself: bool,
    // Dropped last.
    pub(super) guards: Vec<Box<dyn Any + Send + Sync>>,
}

/// The store's handles; the store is closed when the last is dropped.
#[derive(Clone)]
pub(super) struct Handles {
    pub(super) store: Arc<dyn IdempotencyStore>,
    pub(super) upkeep: Option<Arc<dyn Upkeep>>,
}

impl Subject {
    /// A store with [`Upkeep`].
    pub fn new(store: impl Upkeep) -> Self {
        let store = Arc::new(store);
        Self::of(Handles { store: store.clone(), upkeep: Some(store) })
    }

    /// A store without [`Upkeep`], which must be declared too:
    /// [`lacks`](Self::lacks)[`(Capability::Upkeep, …)`](Capability::Upkeep).
    pub fn minimal(store: impl IdempotencyStore) -> Self {
        Self::of(Handles { store: Arc::new(store), upkeep: None })
    }

    fn of(handles: Handles) -> Self {
        Self {
            handles,
            clock: None,
            lacks: BTreeMap::new(),
            reopen: None,
            limit: Duration::from_secs(30),
            fewer: 1,
            largest: defaults::RESULT_LIMIT,
            purged_by: None,
            forgets_by_itself: false,
            guards: Vec::new(),
        }
    }

    /// Says that the store is on this clock, which the cases then move.
    pub fn on_clock(self, clock: Arc<ManualClock>) -> Self {
        Self { clock: Some(clock), ..self }
    }

    /// Keeps what must outlive the store, such as its folder or its server.
    pub fn guarded_by(mut self, guard: impl Any + Send + Sync) -> Self {
        self.guards.push(Box::new(guard));
        self
    }

    /// Declares that the store, or its test, lacks something, and why.
    ///
    /// The cases about it then pass, and print this; the case `what_is_declared_is_true` fails where
    /// it turns out to be untrue.
    pub fn lacks(mut self, what: Capability, why: impl Into<String>) -> Self {
        self.lacks.insert(what, why.into());
        self
    }

    /// Says how the store is opened again over the same records, once this one is closed: its last
    /// handle is dropped before `open` is called.
    ///
    /// Of the subject that `open` gives, only the store and the guards are used.
    pub fn reopened_by<F, S>(self, open: F) -> Self
    where
        F: Fn() -> S + Send + Sync + 'static,
        S: IntoSubject + Send + 'static,
    {
        let open = Arc::new(move || -> Reopening {
            let opened = open();
            Box::pin(async move { opened.into_subject().await })
        });
        Self { reopen: Some(open), ..self }
    }

    /// Sets how long one call may take before the store counts as hung; 30 s by default.
    pub fn answering_within(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// Runs one in `n` of the rounds, for stores that are slow: in cases that otherwise have up to a
    /// hundred thousand calls.
    pub fn one_round_in(self, n: u32) -> Self {
        Self { fewer: n.max(1), ..self }
    }

    /// Sets the largest value that the store takes, in bytes, where that is not the library's default
    /// of 1 MiB.
    pub fn with_values_up_to(self, bytes: usize) -> Self {
        Self { largest: bytes, ..self }
    }

    /// Sets how long after the end of a record's retention a purge removes it; by default at once in
    /// real time, and [`sample::PURGED_BY`] on a clock that the test moves.
    pub fn purged_by(self, at_most: Duration) -> Self {
        Self { purged_by: Some(at_most), ..self }
    }

    /// Says that expired records go without a purge, as with a server's own expiry: then statistics and
    /// purges may count fewer of them.
    pub fn forgetting_by_itself(self) -> Self {
        Self { forgets_by_itself: true, ..self }
    }

    pub(super) fn has(&self, what: Capability) -> bool {
        match what {
            Capability::Upkeep => self.handles.upkeep.is_some(),
            Capability::Clock => self.clock.is_some(),
            Capability::Watch => !self.lacks.contains_key(&what),
            Capability::Reopen => self.reopen.is_some(),
        }
    }

    pub(super) fn purge_delay(&self) -> Duration {
        let default = if self.clock.is_some() { sample::PURGED_BY } else { Duration::ZERO };
        self.purged_by.unwrap_or(default)
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject")
            .field("store", &self.handles.store)
            .field("clock", &self.clock)
            .field("lacks", &self.lacks)
            .finish_non_exhaustive()
    }
}

/// What a builder returns: a [`Subject`], or a future of one.
pub trait IntoSubject {
    /// Makes the subject.
    fn into_subject(self) -> impl Future<Output = Subject> + Send;
}

impl IntoSubject for Subject {
    async fn into_subject(self) -> Self {
        self
    }
}

impl<F: Future<Output = Subject> + Send> IntoSubject for F {
    fn into_subject(self) -> impl Future<Output = Subject> + Send {
        self
    }
}
