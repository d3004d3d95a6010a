//! What the tests share: a store that is the moves and nothing else, one that fails as told, and
//! short ways to say what is meant.

pub(crate) mod desk;
mod faulty;
mod ghost;
mod model;

use std::future::pending;
use std::pin::pin;
use std::sync::LazyLock;
use std::task::Poll;
use std::time::Duration;

pub(crate) use faulty::{Fault, Faulty, Method};
pub(crate) use ghost::Ghost;
use idempotency_core::{Effect, Error, Idempotency, Key, Outcome, Running};
pub(crate) use model::{Model, TokioClock};
use tokio::time::{sleep, timeout};

pub(crate) const LEASE: Duration = Duration::from_secs(30);
/// Well over anything that a run may still be telling its store.
pub(crate) const LONG: Duration = Duration::from_secs(20 * 60);

pub(crate) static KEY: LazyLock<Key> = LazyLock::new(|| key_of("ord_42"));

/// The same operation for another request.
pub(crate) static OTHER_REQUEST: LazyLock<Key> =
    LazyLock::new(|| Key::payment("create", "ord_42").request(&("EUR", 1)).build().unwrap());

pub(crate) fn key_of(order: &str) -> Key {
    Key::payment("create", order).request(&("EUR", 1999)).build().unwrap()
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

/// How an operation may fail.
#[derive(Debug)]
pub(crate) enum Failed {
    /// Nobody knows what the provider did.
    TimedOut,
    /// The provider was never asked.
    NotSent,
    /// The library's own error.
    Core(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Core(error)
    }
}

/// Which of them had no effect.
pub(crate) fn effect_of(failed: &Failed) -> Effect {
    match failed {
        Failed::NotSent => Effect::None,
        Failed::TimedOut | Failed::Core(_) => Effect::Unknown,
    }
}

/// Runs an operation that fails, and says how the call ended.
pub(crate) async fn fail(handle: &Idempotency, key: &Key, failed: Failed) -> Failed {
    handle.call(key).effect_of(effect_of).run(async |_| Err::<u32, _>(failed)).await.unwrap_err()
}

/// Leaves an attempt that lapses: begun, then dropped in the middle.
pub(crate) async fn abandon(handle: &Idempotency, key: &Key) {
    let began = handle.execute_once(key, pending::<Result<u32, Error>>());
    assert!(timeout(Duration::from_millis(1), began).await.is_err());
}

/// A call in a task of its own that takes so long and gives `value`.
pub(crate) fn start(handle: &Idempotency, key: &Key, takes: Duration, value: u32) -> Running<u32, Error> {
    handle.call(key).spawn(move |_| async move {
        sleep(takes).await;
        Ok(value)
    })
}
