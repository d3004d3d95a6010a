//! Many tasks at once through `execute_once`, the way that services use a store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use idempotency_core::{Error, Idempotency, Key, State};
use tokio::task::JoinSet;

use crate::conformance::bench::Bench;
use crate::conformance::failure::{Failure, Outcome};
use crate::conformance::sample::{built, key};
use crate::rule::Rule;

const TASKS: u32 = 64;
const ROUNDS: u32 = 1000;
const KEYS: u32 = 10_000;
const DUPLICATES: u32 = 8;
const WAIT: Duration = Duration::from_secs(60);

fn check(is_so: bool, text: impl FnOnce() -> String) -> Outcome {
    if is_so { Ok(()) } else { Err(Failure::of(Rule::OneEffect, text())) }
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::of(Rule::OneEffect, format!("a call failed: {error}"))
}

/// Calls once; counts the run. The value and whether it was replayed.
async fn call(handle: Idempotency, key: Key, runs: Arc<AtomicU32>, value: u32) -> Outcome<(u32, bool)> {
    let operation = |_| async move {
        runs.fetch_add(1, Relaxed);
        tokio::task::yield_now().await;
        Ok::<_, Error>(value)
    };
    let outcome = handle.call(&key).wait(WAIT).run(operation).await.map_err(failed)?;
    Ok((*outcome, outcome.is_replay()))
}

async fn joined<T: 'static>(mut tasks: JoinSet<Outcome<T>>) -> Outcome<Vec<T>> {
    let mut all = Vec::new();
    while let Some(one) = tasks.join_next().await {
        all.push(one.unwrap_or_else(|error| Err(Failure::panicked(error)))?);
    }
    Ok(all)
}

pub(crate) async fn a_duplicate_gets_the_first_value(bench: Arc<Bench>) -> Outcome {
    let handle = Idempotency::new(bench.store());
    let key = |amount: u32| built(Key::new("payment:create", "ord_42").request(&amount));
    let charge = async { Ok::<_, Error>("charged".to_owned()) };
    let first = handle.execute_once(&key(1999), charge).await.map_err(failed)?;
    check(!first.is_replay(), || "the first call was answered with a replay".into())?;
    let must_not_run = async { Ok::<_, Error>("ran again".to_owned()) };
    let again = handle.execute_once(&key(1999), must_not_run).await.map_err(failed)?;
    check(again.is_replay() && *again == "charged", || format!("the duplicate got {:?}", *again))?;
    let other = handle.execute_once(&key(1), async { Ok::<_, Error>(String::new()) }).await;
    match other {
        Err(Error::Mismatch { .. }) => Ok(()),
        other => Err(Failure::of(Rule::NoCrossTalk, format!("another request under the key got {other:?}"))),
    }
}

pub(crate) async fn one_run_a_key_however_many_ask(bench: Arc<Bench>) -> Outcome {
    let handle = Idempotency::new(bench.store());
    for round in 0..bench.rounds(ROUNDS) {
        let (key, runs) = (key(format!("round {round}")), Arc::new(AtomicU32::new(0)));
        let mut tasks = JoinSet::new();
        for task in 0..TASKS {
            tasks.spawn(call(handle.clone(), key.clone(), runs.clone(), task));
        }
        let answers = joined(tasks).await?;
        check(runs.load(Relaxed) == 1, || format!("round {round}: {} runs of one key", runs.load(Relaxed)))?;
        let first_runs = answers.iter().filter(|(_, replayed)| !replayed).count();
        check(first_runs == 1, || format!("round {round}: {first_runs} callers were told that they ran it"))?;
        let alike = answers.iter().all(|(value, _)| *value == answers[0].0);
        check(alike, || format!("round {round}: not all got the same value: {answers:?}"))?;
    }
    Ok(())
}

pub(crate) async fn many_keys_with_many_duplicates_run_once_each(bench: Arc<Bench>) -> Outcome {
    let handle = Idempotency::new(bench.store());
    let keys = bench.rounds(KEYS);
    let runs: Arc<Vec<_>> = Arc::new((0..keys).map(|_| Arc::new(AtomicU32::new(0))).collect());
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let (handle, runs) = (handle.clone(), runs.clone());
        tasks.spawn(async move {
            let mut replays = 0;
            // Every duplicate goes through the keys from about the same place, and so meets the others.
            for call_number in (task..keys * DUPLICATES).step_by(TASKS as usize) {
                let number = (call_number / DUPLICATES + call_number % 3) % keys;
                let key = key(format!("many {number}"));
                let (value, replayed) = call(handle.clone(), key, runs[number as usize].clone(), number).await?;
                check(value == number, || format!("key {number} was answered with key {value}'s value"))?;
                replays += u32::from(replayed);
            }
            Ok(replays)
        });
    }
    let replays: u32 = joined(tasks).await?.into_iter().sum();
    let wrong = runs.iter().filter(|runs| runs.load(Relaxed) != 1).count();
    check(wrong == 0, || format!("{wrong} keys did not run exactly once"))?;
    check(replays == keys * DUPLICATES - keys, || format!("{replays} replays of {keys} keys"))
}

/// Keys that expired are begun anew while they are purged.
pub(crate) async fn purging_under_load_loses_nothing(bench: Arc<Bench>) -> Outcome {
    const CALLERS: u32 = 16;
    let purged_keys = bench.rounds(400).max(CALLERS);
    let upkeep = bench.upkeep()?;
    // In real time, the whole round must fit into the retention.
    let retention = if bench.clock().is_ok() { bench.times.retention } else { bench.times.retention * 10 };
    let handle = Idempotency::new(bench.store()).with_retention(retention).map_err(failed)?;
    for round in 0..if bench.clock().is_ok() { 5_u32 } else { 2 } {
        let done = Arc::new(AtomicU32::new(0));
        let purging = tokio::spawn({
            let (done, upkeep) = (done.clone(), upkeep.clone());
            async move {
                let mut removed = 0;
                while done.load(Relaxed) < CALLERS {
                    removed += upkeep.purge(7).await.map_err(failed)?.removed;
                    tokio::task::yield_now().await;
                }
                Ok(removed)
            }
        });
        let mut tasks = JoinSet::new();
        for task in 0..CALLERS {
            let (handle, done) = (handle.clone(), done.clone());
            tasks.spawn(async move {
                let work = async {
                    for number in (task..purged_keys).step_by(CALLERS as usize) {
                        let key = key(format!("purged {number}"));
                        let runs = Arc::new(AtomicU32::new(0));
                        for duplicate in 0..3 {
                            let (value, _) = call(handle.clone(), key.clone(), runs.clone(), round).await?;
                            check(value == round, || format!("{key} was answered from before it expired"))?;
                            let once = runs.load(Relaxed) == 1;
                            check(once, || format!("{key} was lost: call {duplicate} of round {round} ran"))?;
                        }
                    }
                    Ok(())
                };
                let worked = work.await;
                // The purge stops when all are done, also where one failed.
                done.fetch_add(1, Relaxed);
                worked
            });
        }
        joined(tasks).await?;
        let removed: usize = purging.await.unwrap_or_else(|error| Err(Failure::panicked(error)))?;
        check(removed <= purged_keys as usize, || format!("{removed} removed of {purged_keys}"))?;
        let stats = upkeep.stats().await.map_err(failed)?;
        let counts = (stats.completed, stats.in_progress, stats.unknown);
        check(counts == (u64::from(purged_keys), 0, 0), || format!("completed, in progress, unknown: {counts:?}"))?;
        for number in 0..purged_keys {
            let found = bench.store().get(&key(format!("purged {number}"))).await.map_err(failed)?;
            let completed = found.is_some_and(|found| matches!(found.record.state, State::Completed { .. }));
            check(completed, || format!("key {number} is not completed after round {round}"))?;
        }
        bench.pass(retention + bench.purged_by()).await;
    }
    let one_more = crate::call::Call::Acquire(Box::new(bench.claim(1)));
    bench.send(&key("one more"), &one_more).await?;
    bench.pass(bench.times.lease + bench.purged_by()).await;
    while upkeep.purge(1000).await.map_err(failed)?.more {}
    let expired = upkeep.stats().await.map_err(failed)?.expired;
    check(expired == 0, || format!("{expired} expired records are left after all were purged"))
}
