//! A run that its caller polls, and that goes on by itself when the caller goes away.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::runtime::Handle;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::{Instrument, Span};

use crate::outcome::Outcome;
use crate::shared::Inner;

type Run<T, E> = Pin<Box<dyn Future<Output = Result<Outcome<T>, E>> + Send>>;

/// A run that needs no task of its own while its caller polls it; made by
/// [`Call::detachable`](crate::Call::detachable).
///
/// Awaiting it gives what [`Idempotency::execute_once`](crate::Idempotency::execute_once) would. Dropped
/// before the operation was first polled, the key is free again; dropped later, the run goes on to its end in
/// a task, within the `tracing` span in which it was made. A panic of the operation goes through, and ends the run.
#[must_use = "futures do nothing unless polled"]
pub struct Detachable<T: Send + 'static, E: Send + 'static> {
    /// `None` once it is over. By the token, `drain` waits for it.
    run: Option<(Run<T, E>, TaskTrackerToken)>,
    begun: Begun,
    inner: Arc<Inner>,
    runtime: Handle,
    /// The caller's, in which the run goes on.
    span: Span,
}

/// Whether a run's operation may have been polled.
#[derive(Clone, Debug, Default)]
pub(crate) struct Begun(Arc<AtomicBool>);

impl Begun {
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl<T: Send + 'static, E: Send + 'static> Detachable<T, E> {
    pub(crate) fn new(
        inner: Arc<Inner>,
        begun: Begun,
        run: impl Future<Output = Result<Outcome<T>, E>> + Send + 'static,
    ) -> Self {
        let run: Run<T, E> = Box::pin(run);
        let tracked = inner.background.token();
        Self { run: Some((run, tracked)), begun, inner, runtime: Handle::current(), span: Span::current() }
    }
}

impl<T: Send + 'static, E: Send + 'static> Future for Detachable<T, E> {
    type Output = Result<Outcome<T>, E>;

    /// # Panics
    /// When polled after its end.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // Taken out: what panics must not be polled again, by a task or by anybody.
        let (mut run, tracked) = self.run.take().expect("not polled after its end");
        let polled = run.as_mut().poll(cx);
        if polled.is_pending() {
            self.run = Some((run, tracked));
        }
        polled
    }
}

impl<T: Send + 'static, E: Send + 'static> Drop for Detachable<T, E> {
    fn drop(&mut self) {
        let Some((run, tracked)) = self.run.take() else { return };
        // Whoever polls a run drops it, so the flag needs no ordering of its own.
        if self.begun.0.load(Ordering::Relaxed) {
            let rest = async move { drop(run.await) }.instrument(self.span.clone());
            self.inner.background.spawn_on(rest, &self.runtime);
        } else {
            drop(run);
        }
        // Last, so that `drain` waits for what is told to the store from here on.
        drop(tracked);
    }
}

impl<T: Send + 'static, E: Send + 'static> fmt::Debug for Detachable<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Detachable").field("begun", &self.begun).finish_non_exhaustive()
    }
}
