//! Many tasks at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use idempotency_core::{Error, Idempotency, Key, State, Upkeep};
use tokio::task::JoinSet;

use super::{LEASE, PURGED_BY, RETENTION, Subject, claim, key};

const TASKS: u32 = 64;
const ROUNDS: u32 = 1000;
const KEYS: u32 = 10_000;
const DUPLICATES: u32 = 8;
const WAIT: Duration = Duration::from_secs(60);

/// Calls once; counts the run. The value and whether it was replayed.
async fn call(handle: Idempotency, key: Key, runs: Arc<AtomicU32>, value: u32) -> (u32, bool) {
    let operation = |_| async move {
        runs.fetch_add(1, Relaxed);
        tokio::task::yield_now().await;
        Ok::<_, Error>(value)
    };
    let outcome = handle.call(&key).wait(WAIT).run(operation).await.unwrap();
    (*outcome, outcome.is_replay())
}

async fn joined<T: 'static>(mut tasks: JoinSet<T>) -> Vec<T> {
    let mut all = Vec::new();
    while let Some(one) = tasks.join_next().await {
        all.push(one.unwrap());
    }
    all
}

pub(crate) async fn one_run_a_key_however_many_ask(subject: &Subject) {
    let handle = Idempotency::new(subject.store.clone());
    for round in 0..ROUNDS {
        let (key, runs) = (key(format!("round {round}")), Arc::new(AtomicU32::new(0)));
        let mut tasks = JoinSet::new();
        for task in 0..TASKS {
            tasks.spawn(call(handle.clone(), key.clone(), runs.clone(), task));
        }
        let answers = joined(tasks).await;
        assert_eq!(runs.load(Relaxed), 1, "runs in round {round}");
        assert_eq!(answers.iter().filter(|(_, replayed)| !replayed).count(), 1, "round {round}");
        assert!(answers.iter().all(|(value, _)| *value == answers[0].0), "round {round}: {answers:?}");
    }
}

pub(crate) async fn many_keys_many_duplicates(subject: &Subject) {
    let handle = Idempotency::new(subject.store.clone());
    let runs: Arc<Vec<_>> = Arc::new((0..KEYS).map(|_| Arc::new(AtomicU32::new(0))).collect());
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let (handle, runs) = (handle.clone(), runs.clone());
        tasks.spawn(async move {
            let mut replays = 0;
            // Every duplicate goes through the keys from about the same place, and so meets the others.
            for call_number in (task..KEYS * DUPLICATES).step_by(TASKS as usize) {
                let number = (call_number / DUPLICATES + call_number % 3) % KEYS;
                let key = key(format!("many {number}"));
                let (value, replayed) = call(handle.clone(), key, runs[number as usize].clone(), number).await;
                assert_eq!(value, number, "another key's value");
                replays += u32::from(replayed);
            }
            replays
        });
    }
    let replays: u32 = joined(tasks).await.into_iter().sum();
    let more_than_once = runs.iter().filter(|runs| runs.load(Relaxed) != 1).count();
    assert_eq!(more_than_once, 0, "keys that did not run exactly once");
    assert_eq!(replays, KEYS * DUPLICATES - KEYS);
}

/// Keys that expired are begun anew while they are purged.
pub(crate) async fn purging_under_load_loses_nothing(subject: &Subject) {
    const PURGED_KEYS: u32 = 400;
    let handle = Idempotency::new(subject.store.clone()).with_retention(RETENTION).unwrap();
    for round in 0..5_u32 {
        let done = Arc::new(AtomicU32::new(0));
        let store = subject.store.clone();
        let purging = tokio::spawn({
            let done = done.clone();
            async move {
                let mut removed = 0;
                while done.load(Relaxed) < 16 {
                    removed += store.purge(7).await.unwrap().removed;
                    tokio::task::yield_now().await;
                }
                removed
            }
        });
        let mut tasks = JoinSet::new();
        for task in 0..16 {
            let (handle, done) = (handle.clone(), done.clone());
            tasks.spawn(async move {
                for number in (task..PURGED_KEYS).step_by(16) {
                    let key = key(format!("purged {number}"));
                    let runs = Arc::new(AtomicU32::new(0));
                    for duplicate in 0..3 {
                        let (value, _) = call(handle.clone(), key.clone(), runs.clone(), round).await;
                        assert_eq!(value, round, "{key} was answered from before it expired");
                        assert_eq!(runs.load(Relaxed), 1, "{key} was lost: call {duplicate} of round {round} ran");
                    }
                }
                done.fetch_add(1, Relaxed);
            });
        }
        joined(tasks).await;
        let removed = purging.await.unwrap();
        assert!(removed <= PURGED_KEYS as usize, "{removed} removed");
        let stats = subject.store.stats().await.unwrap();
        assert_eq!((stats.completed, stats.in_progress, stats.unknown), (u64::from(PURGED_KEYS), 0, 0));
        for number in 0..PURGED_KEYS {
            let found = subject.store.get(&key(format!("purged {number}"))).await.unwrap();
            assert!(matches!(found.unwrap().record.state, State::Completed { .. }));
        }
        subject.clock.advance(RETENTION + PURGED_BY);
    }
    subject.granted(&key("one more"), &claim(1)).await;
    subject.clock.advance(LEASE + PURGED_BY);
    while subject.store.purge(1000).await.unwrap().more {}
    assert_eq!(subject.store.stats().await.unwrap().expired, 0);
}
