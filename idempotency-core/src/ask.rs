//! Asking a store: within a limit, and without its panics.

use std::future::ready;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

use crate::error::{StoreError, StoreErrorKind};

type Call<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Asks a store, for at most `limit`. A panic inside the store is an error: it must not cost the
/// caller a value that its operation returned.
///
/// The call is made in here, as a store written by hand may panic before it gives its future.
pub(crate) fn ask<'a, T: Send + 'a>(
    operation: &'static str,
    limit: Duration,
    call: impl FnOnce() -> Call<'a, T>,
) -> Ask<'a, T> {
    let call = catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|_| Box::pin(ready(Err(panicked(operation)))));
    Ask { call, operation, within: Within::new(limit) }
}

fn panicked(operation: &'static str) -> StoreError {
    StoreError::new(StoreErrorKind::Internal, operation).with_message("it panicked")
}

/// One call to a store.
#[must_use = "nothing is asked unless it is awaited"]
pub(crate) struct Ask<'a, T> {
    call: Call<'a, T>,
    operation: &'static str,
    within: Within,
}

impl<T> Future for Ask<'_, T> {
    type Output = Result<T, StoreError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        match catch_unwind(AssertUnwindSafe(|| this.call.as_mut().poll(cx))) {
            Ok(Poll::Ready(answer)) => Poll::Ready(answer),
            Ok(Poll::Pending) if this.within.is_over(cx) => {
                let message = format!("no answer within {:?}", this.within.limit);
                Poll::Ready(Err(StoreError::new(StoreErrorKind::InDoubt, this.operation).with_message(message)))
            }
            Ok(Poll::Pending) => Poll::Pending,
            Err(_) => Poll::Ready(Err(panicked(this.operation))),
        }
    }
}

/// A limit whose timer is made only when something is not ready at once: for an embedded store's
/// call, a timer would cost as much as the answer.
struct Within {
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Within {
    const fn new(limit: Duration) -> Self {
        Self { limit, timer: None }
    }

    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        let limit = self.limit;
        self.timer.get_or_insert_with(|| Box::pin(sleep(limit))).as_mut().poll(cx).is_ready()
    }
}
