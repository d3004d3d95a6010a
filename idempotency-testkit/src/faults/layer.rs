//! The layer itself.

use std::collections::{BTreeMap, VecDeque};
use std::future::pending;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use idempotency_core::{
    Acquired, Claim, Completion, Effect, Guarantees, Held, IdempotencyStore, Key, Lock, Page, Purged, Snapshot, Stats,
    StoreError, StoreErrorKind, Upkeep, Watch,
};
use tokio::time::sleep;

use super::chances::Chances;
use super::fault::Fault;
use crate::call::{Answer, Call, Method};

/// A layer over a store whose calls fail, hang, come late or panic, as planned or by chance.
///
/// What was planned for the next calls of a method comes first, then what is always so, then chance.
/// Watching, [`guarantees`](IdempotencyStore::guarantees) and [`Upkeep`] are left alone, but for
/// [`deaf`](Self::deaf).
///
/// Cloned, it is the same layer.
///
/// ```
/// use idempotency_core::{Fingerprint, Claim, IdempotencyStore, Key, SystemClock};
/// use idempotency_testkit::{Method, ReferenceStore, faults::{Fault, Faults}};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Faults::new(ReferenceStore::new(SystemClock::new())).plan(Method::Acquire, [Fault::DOWN, Fault::LOST]);
/// let (key, claim) = (Key::new("payment:create", "ord_42").build()?, Claim::new(Fingerprint::NONE));
/// assert!(store.acquire_lock(&key, &claim).await.is_err() && store.get(&key).await?.is_none());
/// assert!(store.acquire_lock(&key, &claim).await.is_err() && store.get(&key).await?.is_some());
/// assert_eq!(store.calls(Method::Acquire), 2);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Faults<S> {
    store: Arc<S>,
    shared: Arc<Mutex<Shared>>,
    detached: bool,
}

#[derive(Debug, Default)]
struct Shared {
    planned: BTreeMap<Method, VecDeque<Fault>>,
    always: BTreeMap<Method, Fault>,
    chances: Chances,
    calls: BTreeMap<Method, usize>,
    deaf: bool,
}

impl<S> Clone for Faults<S> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), shared: self.shared.clone(), detached: self.detached }
    }
}

impl<S> Faults<S> {
    /// A layer that disturbs nothing yet.
    pub fn new(store: S) -> Self {
        Self { store: Arc::new(store), shared: Arc::default(), detached: false }
    }

    /// Carries each call out in a task of its own, as a server does: a caller that goes away once the
    /// call was sent neither undoes nor stops it. Within a tokio runtime.
    #[must_use]
    pub fn detached(self) -> Self {
        Self { detached: true, ..self }
    }

    /// [`Faults::next`], for building one.
    #[must_use]
    pub fn plan(self, method: Method, faults: impl IntoIterator<Item = Fault>) -> Self {
        self.next(method, faults);
        self
    }

    /// [`Faults::by_chance`], for building one.
    #[must_use]
    pub fn chances(self, chances: Chances) -> Self {
        self.by_chance(chances);
        self
    }

    /// The next calls of a method have these faults, after what was planned for it before.
    pub fn next(&self, method: Method, faults: impl IntoIterator<Item = Fault>) {
        self.shared().planned.entry(method).or_default().extend(faults);
    }

    /// All later calls of a method have this fault, but for those with a plan of their own.
    pub fn always(&self, method: Method, fault: Fault) {
        self.shared().always.insert(method, fault);
    }

    /// From now on, the calls that have no other fault have one by chance.
    pub fn by_chance(&self, chances: Chances) {
        self.shared().chances = chances;
    }

    /// From now on, everything works. What hangs goes on hanging.
    pub fn heal(&self) {
        let mut shared = self.shared();
        *shared = Shared { calls: std::mem::take(&mut shared.calls), ..Shared::default() };
    }

    /// From now on until it [heals](Self::heal), no watch that is begun ever tells anything.
    pub fn deaf(&self) {
        self.shared().deaf = true;
    }

    /// How many calls of a method there were, with and without a fault.
    #[must_use]
    pub fn calls(&self, method: Method) -> usize {
        self.shared().calls.get(&method).copied().unwrap_or(0)
    }

    /// The store underneath.
    #[must_use]
    pub fn inner(&self) -> &S {
        &self.store
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call, and tells its fault.
    fn fault(&self, method: Method) -> Fault {
        let mut shared = self.shared();
        let calls = shared.calls.entry(method).or_default();
        let number = *calls;
        *calls += 1;
        let planned = shared.planned.get_mut(&method).and_then(VecDeque::pop_front);
        planned.or_else(|| shared.always.get(&method).copied()).unwrap_or_else(|| shared.chances.roll(method, number))
    }
}

impl<S: IdempotencyStore> Faults<S> {
    async fn call(&self, key: &Key, call: Call) -> Result<Answer, StoreError> {
        let method = call.method();
        let fault = self.fault(method);
        let error = |kind| Err(StoreError::new(kind, method.name()).with_message("a fault as planned"));
        match fault {
            Fault::Before(kind) => return error(kind),
            Fault::Hangs => return pending().await,
            Fault::Panics => panic!("a store panics in {}, as planned", method.name()),
            Fault::LateAfterError(kind, by) => {
                tokio::spawn(carried_out(self.store.clone(), key.clone(), call, by));
                return error(kind);
            }
            Fault::Late(_)
            | Fault::Works
            | Fault::After(_)
            | Fault::HangsAfter
            | Fault::LateAfter(_)
            | Fault::PanicsAfter => {}
        }
        let late = if let Fault::Late(by) = fault { by } else { Duration::ZERO };
        let answer = if self.detached {
            match tokio::spawn(carried_out(self.store.clone(), key.clone(), call, late)).await {
                Ok(answer) => answer,
                Err(failed) => match failed.try_into_panic() {
                    Ok(panic) => resume_unwind(panic),
                    // The runtime shuts down.
                    Err(_) => error(StoreErrorKind::InDoubt),
                },
            }
        } else {
            if !late.is_zero() {
                sleep(late).await;
            }
            call.send(key, &*self.store).await
        };
        match fault {
            Fault::After(kind) => error(kind),
            Fault::HangsAfter => pending().await,
            Fault::PanicsAfter => panic!("a store panics after {}, as planned", method.name()),
            Fault::LateAfter(by) => {
                sleep(by).await;
                answer
            }
            Fault::Works
            | Fault::Before(_)
            | Fault::Hangs
            | Fault::Late(_)
            | Fault::LateAfterError(..)
            | Fault::Panics => answer,
        }
    }

    async fn held(&self, key: &Key, call: Call) -> Result<Held, StoreError> {
        match self.call(key, call).await? {
            Answer::Held(held) => Ok(held),
            Answer::Found(_) | Answer::Acquired(_) => Err(StoreError::new(StoreErrorKind::Internal, "held")),
        }
    }
}

async fn carried_out<S: IdempotencyStore>(
    store: Arc<S>,
    key: Key,
    call: Call,
    late: Duration,
) -> Result<Answer, StoreError> {
    if !late.is_zero() {
        sleep(late).await;
    }
    call.send(&key, &*store).await
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: IdempotencyStore> IdempotencyStore for Faults<S> {
    async fn get(&self, key: &Key) -> Result<Option<Snapshot>, StoreError> {
        match self.call(key, Call::Get).await? {
            Answer::Found(found) => Ok(found.map(|found| *found)),
            Answer::Acquired(_) | Answer::Held(_) => Err(StoreError::new(StoreErrorKind::Internal, "get")),
        }
    }

    async fn acquire_lock(&self, key: &Key, claim: &Claim) -> Result<Acquired, StoreError> {
        match self.call(key, Call::Acquire(Box::new(claim.clone()))).await? {
            Answer::Acquired(acquired) => Ok(acquired),
            Answer::Found(_) | Answer::Held(_) => Err(StoreError::new(StoreErrorKind::Internal, "acquire_lock")),
        }
    }

    async fn extend_lock(&self, key: &Key, lock: &Lock, lease: Duration) -> Result<Held, StoreError> {
        self.held(key, Call::Extend(*lock, lease)).await
    }

    async fn store_result(
        &self,
        key: &Key,
        lock: &Lock,
        result: &Completion,
        retention: Duration,
    ) -> Result<Held, StoreError> {
        self.held(key, Call::Store(*lock, result.clone(), retention)).await
    }

    async fn release_lock(&self, key: &Key, lock: &Lock, effect: Effect) -> Result<Held, StoreError> {
        self.held(key, Call::Release(*lock, effect)).await
    }

    fn watch(&self, key: &Key) -> Watch {
        if self.shared().deaf { Watch::never() } else { self.store.watch(key) }
    }

    async fn guarantees(&self) -> Result<Guarantees, StoreError> {
        self.store.guarantees().await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: Upkeep> Upkeep for Faults<S> {
    async fn purge(&self, limit: usize) -> Result<Purged, StoreError> {
        self.store.purge(limit).await
    }

    async fn stats(&self) -> Result<Stats, StoreError> {
        self.store.stats().await
    }

    async fn list(&self, after: Option<&Key>, limit: usize) -> Result<Page, StoreError> {
        self.store.list(after, limit).await
    }
}
