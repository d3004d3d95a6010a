//! How soon a waiter in another process has the result.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use idempotency::{Error, Idempotency, Key};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use super::{Raw, Tell, handle, open_at, unique};
use crate::measure::{Report, Round, Sides, pairs};
use crate::value::{Payment, keys};

const PAIRS: usize = 11;
const RUNS: usize = 50;
/// How long a waiter waits before it is woken: so long that it watches, and polls only now and then.
const WAITS: Duration = Duration::from_millis(12);

/// Wake-ups against round trips, both by tasks that found nothing to do meanwhile. Counted from when
/// the holder knew the result to be stored, and from when its operation returned.
pub(super) fn run(runtime: &Runtime, url: &str, tell: Tell<'_>) -> io::Result<()> {
    let prefix = unique("bench-wake");
    let connect = || -> io::Result<_> { Ok(Arc::new(handle(runtime.block_on(open_at(url, &prefix))?)?)) };
    let (holder, waiter) = (connect()?, connect()?);
    let raw = runtime.block_on(Raw::connect(url))?;
    for (case, since) in [("redis/wake", Since::Stored), ("redis/wake-returned", Since::Returned)] {
        let salt = since as usize * 1000;
        let wakes = |n| runtime.block_on(wakes(&holder, &waiter, keys(salt + n, RUNS), since));
        let trips = |n| runtime.block_on(round_trips(&raw, keys(salt + n, RUNS)));
        tell(Report::of(case.to_owned(), "waiter", "round trip", &pairs(PAIRS, wakes, trips)))?;
    }
    Ok(())
}

/// From when on it is counted.
#[derive(Clone, Copy)]
enum Since {
    Stored,
    Returned,
}

async fn wakes(holder: &Arc<Idempotency>, waiter: &Arc<Idempotency>, keys: Vec<Key>, since: Since) -> Round {
    let mut latencies = Vec::with_capacity(keys.len());
    for key in keys {
        let (running, runs) = oneshot::channel();
        let (go, may_go) = oneshot::channel::<()>();
        let holds = tokio::spawn({
            let (holder, key) = (holder.clone(), key.clone());
            async move {
                let mut returned = None;
                let operation = async {
                    let _ = running.send(());
                    may_go.await.expect("it is told to go on");
                    returned = Some(Instant::now());
                    Ok::<_, Error>(Payment::sample())
                };
                let outcome = holder.execute_once(&key, operation).await;
                let stored = Instant::now();
                assert!(outcome.is_ok_and(|outcome| !outcome.is_replay()));
                match since {
                    Since::Stored => stored,
                    Since::Returned => returned.expect("it ran"),
                }
            }
        });
        runs.await.expect("it is acquired");
        let waits = tokio::spawn({
            let (waiter, key) = (waiter.clone(), key.clone());
            async move {
                let operation = |_| async { Ok::<_, Error>(Payment::sample()) };
                let outcome = waiter.call(&key).wait(Duration::from_secs(60)).run(operation).await;
                let woken = Instant::now();
                assert!(outcome.is_ok_and(|outcome| outcome.is_replay()));
                woken
            }
        });
        tokio::time::sleep(WAITS).await;
        let _ = go.send(());
        let since = holds.await.expect("it is stored");
        let woken = waits.await.expect("it has the value");
        latencies.push(woken.saturating_duration_since(since));
    }
    Round::of_latencies(latencies)
}

async fn round_trips(raw: &Raw, keys: Vec<Key>) -> Round {
    let mut latencies = Vec::with_capacity(keys.len());
    for key in keys {
        raw.fresh(&key).await;
        tokio::time::sleep(WAITS).await;
        let sent = Instant::now();
        raw.get(&key).await;
        latencies.push(sent.elapsed());
    }
    Round::of_latencies(latencies)
}
