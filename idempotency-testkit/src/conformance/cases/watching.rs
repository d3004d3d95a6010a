//! Watches: woken when a lock ends, or never; and in nobody's way.

use std::sync::Arc;
use std::time::Duration;

use idempotency_core::{Effect, Watch};
use tokio::time::timeout;

use crate::call::Call;
use crate::conformance::bench::Bench;
use crate::conformance::desk::Desk;
use crate::conformance::failure::{Failure, Outcome};
use crate::conformance::sample::value;
use crate::rule::Rule;

/// How long a store may take to wake a watcher that it wakes at all, or to begin a watch.
fn limit(desk: &Desk) -> Duration {
    desk.bench.limit().min(Duration::from_secs(5))
}

/// Begins a watch, away from the runtime's own threads, since one that blocks would take one of them.
async fn watch(desk: &Desk) -> Outcome<Watch> {
    let (store, key) = (desk.bench.store(), desk.key.clone());
    let limit = limit(desk);
    match timeout(limit, tokio::task::spawn_blocking(move || store.watch(&key))).await {
        Ok(watch) => watch.map_err(Failure::panicked),
        Err(_) => Err(Failure::of(Rule::RequestsEnd, format!("watch() had not returned after {limit:?}: it blocks"))),
    }
}

async fn is_woken(desk: &mut Desk, by: &str, effect: Option<Effect>) -> Outcome {
    let (bench, limit) = (desk.bench.clone(), limit(desk));
    let lock = desk.granted(&bench.claim(1)).await?.lock;
    let watches = [watch(desk).await?, watch(desk).await?, watch(desk).await?];
    // Two that are waiting already, and one that begins to only after the change.
    let [one, other, late] = watches;
    let (one, other) = (tokio::spawn(one), tokio::spawn(other));
    match effect {
        Some(effect) => desk.release(lock, effect).await?,
        None => desk.store(lock, &value("done"), bench.times.retention).await?,
    };
    for (number, watch) in [one, other, tokio::spawn(late)].into_iter().enumerate() {
        if timeout(limit, watch).await.is_err() {
            let text = format!(
                "watcher {number} was not woken by {by} within {limit:?}; a store that cannot tell gives \
                 `Watch::never()` and declares `.lacks(Capability::Watch, …)`"
            );
            return Err(Failure::of(Rule::RequestsEnd, text).at(&desk.key, &desk.story));
        }
    }
    Ok(())
}

pub(crate) async fn a_watch_is_woken_by_a_result(bench: Arc<Bench>) -> Outcome {
    is_woken(&mut bench.desk("by a result"), "a result", None).await
}

pub(crate) async fn a_watch_is_woken_by_a_release(bench: Arc<Bench>) -> Outcome {
    for effect in [Effect::None, Effect::Unknown, Effect::Settled] {
        let mut desk = bench.desk(format!("by {effect:?}"));
        is_woken(&mut desk, "a release", Some(effect)).await?;
    }
    Ok(())
}

/// Watches are awaited, polled once, never polled, and dropped, beside all the calls of a key's life.
pub(crate) async fn a_watch_is_in_nobodys_way(bench: Arc<Bench>) -> Outcome {
    let mut desk = bench.desk("watched");
    let mut kept = Vec::new();
    for round in 0..4 {
        for number in 0..20 {
            let mut watch = watch(&desk).await?;
            if number % 2 == 0 {
                let _polled_once = std::future::poll_fn(|cx| {
                    std::task::Poll::Ready(std::future::Future::poll(std::pin::Pin::new(&mut watch), cx).is_ready())
                })
                .await;
            }
            if number % 4 < 2 {
                kept.push(watch);
            }
        }
        match round {
            0 => drop(desk.granted(&bench.claim(1)).await?),
            1 => drop(desk.extend(desk.last_lock(), bench.times.lease).await?),
            2 => drop(desk.store(desk.last_lock(), &value("done"), bench.times.retention).await?),
            _ => drop(desk.acquire(&bench.claim(2)).await?),
        }
    }
    drop(kept);
    desk.look().await
}

/// Whether a watch of this store resolves when a result is stored, within a second; whatever else may be
/// wrong with it.
pub(super) async fn resolves(bench: &Arc<Bench>) -> Outcome<bool> {
    let desk = bench.desk("does it tell");
    let (_, answer) = bench.send(&desk.key, &Call::Acquire(Box::new(bench.claim(1)))).await?;
    let lock = answer.granted().map_or(desk.last_lock(), |grant| grant.lock);
    let watch = tokio::spawn(watch(&desk).await?);
    bench.send(&desk.key, &Call::Store(lock, value("done"), bench.times.retention)).await?;
    Ok(timeout(Duration::from_secs(1), watch).await.is_ok())
}
