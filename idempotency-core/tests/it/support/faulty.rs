//! A store that fails as told.

use std::collections::{HashMap, VecDeque};
use std::future::pending;
use std::ops::Deref;
use std::pin::pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use idempotency_core::{
    Acquired, Claim, Completion, Effect, Guarantees, Held, IdempotencyStore, Key, Lock, Page, Purged, Snapshot, Stats,
    StoreError, StoreErrorKind, Upkeep, Watch,
};
use tokio::time::sleep;

use super::{Model, yields};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Method {
    Get,
    Acquire,
    Extend,
    Store,
    Release,
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No fault.
    Works,
    /// Fails; nothing was done.
    Before(StoreErrorKind),
    /// It was done, but the answer is lost.
    After(StoreErrorKind),
    /// Never answers; nothing was done.
    Hangs,
    /// It was done, but an answer never comes.
    HangsAfter,
    /// Is done only after this time, and then answered.
    Late(Duration),
    /// Is done at once, but answered only after this time.
    LateAfter(Duration),
    /// Panics at this poll, counted from 1.
    PanicsAt(usize),
}

impl Fault {
    /// Fails in passing, with nothing done.
    pub(crate) const DOWN: Self = Self::Before(StoreErrorKind::Unavailable);
    /// Was done, but the answer is lost.
    pub(crate) const LOST: Self = Self::After(StoreErrorKind::InDoubt);
}

/// A [`Model`] whose calls fail as told, are pending for a while, and are counted.
#[derive(Debug)]
pub(crate) struct Faulty {
    model: Model,
    next: Mutex<HashMap<Method, VecDeque<Fault>>>,
    always: Mutex<HashMap<Method, Fault>>,
    calls: Mutex<Vec<Method>>,
    /// How often each call is pending before what it does, and again after it.
    yields: AtomicUsize,
    deaf: AtomicBool,
    /// How many claims to come are said to be over.
    ended: AtomicUsize,
}

impl Deref for Faulty {
    type Target = Model;

    fn deref(&self) -> &Model {
        &self.model
    }
}

impl Faulty {
    pub(crate) fn new() -> Self {
        Self {
            model: Model::new(),
            next: Mutex::default(),
            always: Mutex::default(),
            calls: Mutex::default(),
            yields: AtomicUsize::new(0),
            deaf: AtomicBool::new(false),
            ended: AtomicUsize::new(0),
        }
    }

    /// What the next calls of a method do.
    pub(crate) fn next(&self, method: Method, faults: impl IntoIterator<Item = Fault>) {
        self.next.lock().unwrap().entry(method).or_default().extend(faults);
    }

    /// What all later calls of a method do.
    pub(crate) fn always(&self, method: Method, fault: Fault) {
        self.always.lock().unwrap().insert(method, fault);
    }

    /// From now on, everything works.
    pub(crate) fn heal(&self) {
        self.next.lock().unwrap().clear();
        self.always.lock().unwrap().clear();
    }

    /// From now on, each call is pending so many times before what it does and after it.
    pub(crate) fn yields(&self, times: usize) {
        self.yields.store(times, Ordering::SeqCst);
    }

    /// From now on, no watch ever tells anything.
    pub(crate) fn deaf(&self) {
        self.deaf.store(true, Ordering::SeqCst);
    }

    /// Of so many claims from now on it is said that they are over.
    pub(crate) fn ended(&self, times: usize) {
        self.ended.store(times, Ordering::SeqCst);
    }

    /// The calls so far.
    pub(crate) fn calls(&self) -> Vec<Method> {
        self.calls.lock().unwrap().clone()
    }

    /// How many calls of a method there were.
    pub(crate) fn count(&self, method: Method) -> usize {
        self.calls().into_iter().filter(|call| *call == method).count()
    }

    async fn call<T>(
        &self,
        method: Method,
        call: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        self.calls.lock().unwrap().push(method);
        let scripted = self.next.lock().unwrap().get_mut(&method).and_then(VecDeque::pop_front);
        let fault = scripted.or_else(|| self.always.lock().unwrap().get(&method).copied()).unwrap_or(Fault::Works);
        let error = |kind| Err(StoreError::new(kind, "test").with_message("as told"));
        let times = self.yields.load(Ordering::SeqCst);
        let mut whole = pin!(async move {
            yields(times).await;
            match fault {
                Fault::Before(kind) => return error(kind),
                Fault::Hangs => pending().await,
                Fault::Late(by) => sleep(by).await,
                Fault::Works | Fault::After(_) | Fault::HangsAfter | Fault::LateAfter(_) | Fault::PanicsAt(_) => {}
            }
            let answer = call.await;
            match fault {
                Fault::HangsAfter => pending().await,
                Fault::LateAfter(by) => sleep(by).await,
                Fault::Works
                | Fault::Before(_)
                | Fault::After(_)
                | Fault::Hangs
                | Fault::Late(_)
                | Fault::PanicsAt(_) => {}
            }
            yields(times).await;
            if let Fault::After(kind) = fault { error(kind) } else { answer }
        });
        let mut polls = 0;
        std::future::poll_fn(move |cx| {
            polls += 1;
            let polled = whole.as_mut().poll(cx);
            assert_ne!(fault, Fault::PanicsAt(polls), "the store panics as told");
            // A panic counts even where the call would have been done by then.
            match (fault, polled) {
                (Fault::PanicsAt(at), Poll::Ready(_)) if polls < at => panic!("the store panics as told, at last"),
                (_, polled) => polled,
            }
        })
        .await
    }
}

#[async_trait]
impl IdempotencyStore for Faulty {
    async fn get(&self, key: &Key) -> Result<Option<Snapshot>, StoreError> {
        self.call(Method::Get, self.model.get(key)).await
    }

    async fn acquire_lock(&self, key: &Key, claim: &Claim) -> Result<Acquired, StoreError> {
        if self.ended.try_update(Ordering::SeqCst, Ordering::SeqCst, |times| times.checked_sub(1)).is_ok() {
            return self.call(Method::Acquire, async { Ok(Acquired::Ended) }).await;
        }
        self.call(Method::Acquire, self.model.acquire_lock(key, claim)).await
    }

    async fn extend_lock(&self, key: &Key, lock: &Lock, lease: Duration) -> Result<Held, StoreError> {
        self.call(Method::Extend, self.model.extend_lock(key, lock, lease)).await
    }

    async fn store_result(
        &self,
        key: &Key,
        lock: &Lock,
        result: &Completion,
        retention: Duration,
    ) -> Result<Held, StoreError> {
        self.call(Method::Store, self.model.store_result(key, lock, result, retention)).await
    }

    async fn release_lock(&self, key: &Key, lock: &Lock, effect: Effect) -> Result<Held, StoreError> {
        self.call(Method::Release, self.model.release_lock(key, lock, effect)).await
    }

    fn watch(&self, key: &Key) -> Watch {
        if self.deaf.load(Ordering::SeqCst) { Watch::never() } else { self.model.watch(key) }
    }

    async fn guarantees(&self) -> Result<Guarantees, StoreError> {
        self.call(Method::Other, self.model.guarantees()).await
    }
}

#[async_trait]
impl Upkeep for Faulty {
    async fn purge(&self, limit: usize) -> Result<Purged, StoreError> {
        self.call(Method::Other, self.model.purge(limit)).await
    }

    async fn stats(&self) -> Result<Stats, StoreError> {
        self.call(Method::Other, self.model.stats()).await
    }

    async fn list(&self, after: Option<&Key>, limit: usize) -> Result<Page, StoreError> {
        self.call(Method::Other, self.model.list(after, limit)).await
    }
}
