//! Asking a store: within a limit, and without its panics.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use crate::error::{StoreError, StoreErrorKind};

/// Awaits one call to a store for at most `limit`. A panic inside the store is an error: it must not
/// cost the caller a value that its operation returned.
pub(crate) async fn ask<T>(
    operation: &'static str,
    limit: Duration,
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let mut call = pin!(call);
    let unpanicked = poll_fn(move |cx| {
        catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(cx))).unwrap_or_else(|_| {
            let panicked = StoreError::new(StoreErrorKind::Internal, operation).with_message("it panicked");
            Poll::Ready(Err(panicked))
        })
    });
    within(limit, unpanicked).await.unwrap_or_else(|| {
        Err(StoreError::new(StoreErrorKind::InDoubt, operation).with_message(format!("no answer within {limit:?}")))
    })
}

/// Awaits a future for at most `limit`. What is ready at once, as an embedded store's answer is, does
/// not pay for a timer, which would cost as much as that answer.
pub(crate) async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    match poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await {
        Poll::Ready(output) => Some(output),
        Poll::Pending => tokio::time::timeout(limit, future).await.ok(),
    }
}
