//! What the tests share: a store that is the moves and nothing else, one that fails as told, and
//! short ways to say what is meant.

pub(crate) mod desk;
mod faulty;
mod ghost;
mod model;

use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

pub(crate) use faulty::{Fault, Faulty, Method};
pub(crate) use ghost::Ghost;
use idempotency_core::{Error, Idempotency, Key, Outcome};
pub(crate) use model::{Model, TokioClock};

pub(crate) const LEASE: Duration = Duration::from_secs(30);
/// Well over anything that a run may still be telling its store.
pub(crate) const LONG: Duration = Duration::from_secs(20 * 60);

pub(crate) fn key() -> Key {
    Key::payment("create", "ord_42").request(&("EUR", 1999)).build().unwrap()
}

/// The same operation for another request.
pub(crate) fn other_request() -> Key {
    Key::payment("create", "ord_42").request(&("EUR", 1)).build().unwrap()
}

/// A store that fails as told, and a handle over it.
pub(crate) fn faulty() -> (std::sync::Arc<Faulty>, Idempotency) {
    let store = std::sync::Arc::new(Faulty::new());
    let handle = Idempotency::new(store.clone());
    (store, handle)
}

/// Runs an operation that gives `value` at once.
pub(crate) async fn run(handle: &Idempotency, key: &Key, value: u32) -> Result<Outcome<u32>, Error> {
    handle.execute_once(key, async move { Ok(value) }).await
}

/// Waits until whatever was left to the background is done.
pub(crate) async fn settle_down(handle: &Idempotency) {
    handle.drain(LONG).await.unwrap();
}

/// Polls a future `times` times at the most, as it is woken, then drops it.
pub(crate) async fn polled<F: Future>(times: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut polls = 0;
    std::future::poll_fn(|cx| {
        if polls == times {
            return Poll::Ready(None);
        }
        polls += 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if polls == times => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Is pending so many times, and wakes at once each time.
pub(crate) async fn yields(times: usize) {
    let mut left = times;
    std::future::poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
