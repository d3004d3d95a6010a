//! One call with settings of its own.

use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};
use std::time::Duration;

use tokio::task::JoinHandle;
use tracing::Instrument;

use crate::attempt::Attempt;
use crate::codec::{AnyCodec, Codec, Replay};
use crate::detachable::{Begun, Detachable};
use crate::error::{Error, InvalidCall};
use crate::key::Key;
use crate::lock::{Effect, OnUnknown};
use crate::note::{Attributes, Context, InvalidNote};
use crate::outcome::Outcome;
use crate::plan::{Classify, NoReconcile, Plan, Reconcile, Unclassified};
use crate::run::Run;
use crate::shared::{Inner, warn_if_short};
use crate::time::checked;

/// One call with settings of its own; ends with [`Call::run`], [`Call::spawn`] or [`Call::detachable`].
///
/// A setting that is not valid is told by the run, before anything is asked of the store.
#[derive(Debug)]
#[must_use = "a call does nothing until `run`, `spawn` or `detachable`"]
pub struct Call<'a, C = Unclassified, R = NoReconcile> {
    pub(crate) inner: &'a Arc<Inner>,
    pub(crate) key: &'a Key,
    pub(crate) plan: Plan,
    classify: C,
    reconcile: R,
}

impl<'a> Call<'a> {
    pub(crate) fn new(inner: &'a Arc<Inner>, key: &'a Key) -> Self {
        Self { inner, key, plan: Plan::new(inner.settings.clone()), classify: Unclassified, reconcile: NoReconcile }
    }
}

impl<'a, C, R> Call<'a, C, R> {
    fn timed(mut self, name: &'static str, given: Duration, set: impl FnOnce(&mut Plan, Duration)) -> Self {
        match checked(name, given) {
            Ok(duration) => set(&mut self.plan, duration),
            Err(error) => return self.fail(error.into()),
        }
        self
    }

    fn fail(mut self, error: InvalidCall) -> Self {
        self.plan.error.get_or_insert(error);
        self
    }

    /// Sets how long the lock holds without renewal.
    pub fn lease(self, lease: Duration) -> Self {
        warn_if_short(lease);
        self.timed("lease", lease, |plan, lease| plan.settings.lease = lease)
    }

    /// Sets how long the result is replayed.
    pub fn retention(self, retention: Duration) -> Self {
        self.timed("retention", retention, |plan, retention| {
            plan.settings.retention = retention;
            plan.settings.unknown_retention = plan.settings.unknown_retention.max(retention);
        })
    }

    /// Sets how long the lease is renewed at the most.
    pub fn max_run(self, max_run: Duration) -> Self {
        self.timed("longest run", max_run, |plan, max_run| plan.settings.max_run = max_run)
    }

    /// Waits up to `limit` for an attempt that is running, instead of answering *in progress*. The
    /// value comes as soon as it is stored; a key that becomes free meanwhile is run.
    pub fn wait(self, limit: Duration) -> Self {
        self.timed("wait", limit, |plan, limit| plan.wait = Some(limit))
    }

    /// Sets what to do when the last attempt is unknown. For [`OnUnknown::Reconcile`], see
    /// [`Call::reconcile`].
    pub fn on_unknown(mut self, on_unknown: OnUnknown) -> Self {
        self.plan.settings.on_unknown = on_unknown;
        self
    }

    /// Sets how the result becomes bytes.
    pub fn codec(mut self, codec: impl Codec) -> Self {
        self.plan.settings.codec = AnyCodec::new(codec);
        self
    }

    /// Has only the fact kept that the operation is done, not its value: a duplicate is answered
    /// [`Error::NotReplayable`]. For values that must not be stored.
    pub fn keep_fact_only(mut self) -> Self {
        self.plan.fact_only = true;
        self
    }

    /// Confirms the lock by one more round trip before the operation runs. A lock whose caller died
    /// before it was even answered then counts as released once its lease is over, instead of as
    /// unknown: with [`OnUnknown::Refuse`], no operator is needed for it.
    pub fn confirm(mut self) -> Self {
        self.plan.confirms = true;
        self
    }

    /// Runs the operation even if the store cannot be reached, **without any protection**: a
    /// duplicate may run at the same time. The outcome says so.
    pub fn fail_open(mut self) -> Self {
        self.plan.fail_open = true;
        self
    }

    /// Keeps where the call comes from with the record, to be shown on replay.
    pub fn context(mut self, context: Context) -> Self {
        self.plan.context = context;
        self
    }

    /// Keeps a trace parent with the record (W3C Trace Context).
    pub fn trace_parent(self, trace_parent: impl Into<String>) -> Self {
        self.noted(|plan| plan.context.clone().with_trace_parent(trace_parent).map(|context| plan.context = context))
    }

    /// Keeps a correlation id with the record.
    pub fn correlation_id(self, id: impl Into<String>) -> Self {
        self.noted(|plan| plan.context.clone().with_correlation_id(id).map(|context| plan.context = context))
    }

    /// Keeps an attribute with the record: a webhook's type, an order.
    pub fn attribute(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.noted(|plan| plan.attributes.clone().with(name, value).map(|attributes| plan.attributes = attributes))
    }

    /// Keeps these attributes with the record, and no others that were given before.
    pub fn attributes(mut self, attributes: Attributes) -> Self {
        self.plan.attributes = attributes;
        self
    }

    fn noted(mut self, note: impl FnOnce(&mut Plan) -> Result<(), InvalidNote>) -> Self {
        match note(&mut self.plan) {
            Ok(()) => self,
            Err(error) => self.fail(error.into()),
        }
    }

    /// Says which of the operation's errors surely had no effect: [`Effect::None`] frees the key.
    /// Without this, every error leaves the attempt unknown, as most errors of a remote call do not
    /// tell whether it was carried out.
    pub fn effect_of<E, F>(self, classify: F) -> Call<'a, F, R>
    where
        F: Fn(&E) -> Effect + Send,
    {
        let Self { inner, key, plan, reconcile, .. } = self;
        Call { inner, key, plan, classify, reconcile }
    }

    /// Asks what happened before it runs after an unknown attempt, under the lock: `Some(value)`
    /// becomes the result, and the operation does not run; `None` lets it run, still told of the
    /// prior attempt; an error leaves the key unknown and is the call's error.
    ///
    /// `None` is safe only if the look itself bars the earlier attempt, which may be merely slow and
    /// act after the look: a provider that deduplicates on the downstream key, or that from now on
    /// rejects fences smaller than this attempt's.
    pub fn reconcile<T, E, F, Fut>(mut self, reconcile: F) -> Call<'a, C, F>
    where
        F: FnOnce(Attempt) -> Fut + Send,
        Fut: Future<Output = Result<Option<T>, E>> + Send,
    {
        self.plan.settings.on_unknown = OnUnknown::Reconcile;
        let Self { inner, key, plan, classify, .. } = self;
        Call { inner, key, plan, classify, reconcile }
    }

    /// Runs `operation` once for this key. It may borrow, and ends with its caller; see
    /// [`Idempotency::execute_once`](crate::Idempotency::execute_once) for what that means.
    ///
    /// # Errors
    /// As [`Idempotency::execute_once`](crate::Idempotency::execute_once).
    pub fn run<T, E, F, Fut>(self, operation: F) -> impl Future<Output = Result<Outcome<T>, E>> + Send + 'a
    where
        T: Replay + 'a,
        E: From<Error> + Send + 'a,
        F: FnOnce(Attempt) -> Fut + Send + 'a,
        Fut: Future<Output = Result<T, E>> + Send + 'a,
        C: Classify<E> + 'a,
        R: Reconcile<T, E> + 'a,
    {
        let Self { inner, key, plan, classify, reconcile } = self;
        async move { Run::new(inner, key, plan)?.execute(operation, classify, reconcile).await }
    }

    /// Runs `operation` in a task of its own, which goes on to its end when the caller goes away.
    ///
    /// Dropping what this returns does not stop the run;
    /// [`Idempotency::drain`](crate::Idempotency::drain) waits for it.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn spawn<T, E, F, Fut>(self, operation: F) -> Running<T, E>
    where
        T: Replay + 'static,
        E: From<Error> + Send + 'static,
        F: FnOnce(Attempt) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        C: Classify<E> + 'static,
        R: Reconcile<T, E> + 'static,
    {
        let Self { inner, key, plan, classify, reconcile } = self;
        let (inner, key) = (inner.clone(), key.clone());
        let of = key.clone();
        let tracker = inner.background.clone();
        let run = async move { Run::new(&inner, &key, plan)?.execute(operation, classify, reconcile).await };
        // The task's log lines are its caller's.
        let task = tracker.spawn(run.in_current_span());
        Running { task, key: of }
    }

    /// Runs `operation` for as long as what this returns is polled, and when that is dropped, on to its end
    /// in a task: as [`Call::spawn`], without the price of a task for a caller that stays.
    ///
    /// A caller that neither polls nor drops it holds it up. Dropped before `operation` was first polled,
    /// nothing ran and the key is free again; so whoever waits for another's run, and goes away, does not run
    /// later. A look ([`Call::reconcile`]) ends with its caller.
    /// [`Idempotency::drain`](crate::Idempotency::drain) waits for it from the start.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn detachable<T, E, F, Fut>(self, operation: F) -> Detachable<T, E>
    where
        T: Replay + 'static,
        E: From<Error> + Send + 'static,
        F: FnOnce(Attempt) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        C: Classify<E> + 'static,
        R: Reconcile<T, E> + 'static,
    {
        let Self { inner, key, plan, classify, reconcile } = self;
        let (inner, key) = (inner.clone(), key.clone());
        let (begun, of) = (Begun::default(), inner.clone());
        let begins = begun.clone();
        let operation = move |attempt| {
            begins.set();
            operation(attempt)
        };
        let run = async move { Run::new(&inner, &key, plan)?.execute(operation, classify, reconcile).await };
        Detachable::new(of, begun, run)
    }
}

/// A run that goes on by itself; awaiting it gives what
/// [`Idempotency::execute_once`](crate::Idempotency::execute_once) would.
#[derive(Debug)]
pub struct Running<T, E> {
    task: JoinHandle<Result<Outcome<T>, E>>,
    key: Key,
}

impl<T, E: From<Error>> Future for Running<T, E> {
    type Output = Result<Outcome<T>, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        match ready!(Pin::new(&mut self.task).poll(cx)) {
            Ok(outcome) => Poll::Ready(outcome),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                Err(_) => Poll::Ready(Err(Error::Shutdown { key: self.key.clone() }.into())),
            },
        }
    }
}
