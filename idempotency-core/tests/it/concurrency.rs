//! Many callers at once, on real threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use idempotency_core::{Error, Idempotency};
use tokio::task::{JoinSet, yield_now};

use crate::support::{Model, key_of};

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn of_64_callers_of_one_key_exactly_one_runs_a_thousand_times() {
    let handle = Idempotency::new(Model::new());
    for round in 0..1000 {
        let key = Arc::new(key_of(&round.to_string()));
        let runs = Arc::new(AtomicU32::new(0));
        let mut callers = JoinSet::new();
        for caller in 0..64u32 {
            let (handle, key, runs) = (handle.clone(), key.clone(), runs.clone());
            callers.spawn(async move {
                let operation = async |_| {
                    yield_now().await;
                    Ok::<_, Error>((caller, runs.fetch_add(1, Ordering::SeqCst)))
                };
                let outcome = handle.call(&key).wait(MINUTE).run(operation).await.unwrap();
                (outcome.is_replay(), outcome.into_inner())
            });
        }
        let answers = callers.join_all().await;
        assert_eq!(runs.load(Ordering::SeqCst), 1);
        assert_eq!(answers.iter().filter(|(replayed, _)| !replayed).count(), 1);
        let first = answers[0].1;
        assert!(answers.iter().all(|(_, value)| *value == first), "round {round}: {answers:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn ten_thousand_keys_with_eight_duplicates_each_run_ten_thousand_times() {
    const KEYS: u64 = 10_000;
    let handle = Idempotency::new(Model::new());
    let runs = Arc::new(AtomicU64::new(0));
    let mut callers = JoinSet::new();
    for caller in 0..64u64 {
        let (handle, runs) = (handle.clone(), runs.clone());
        callers.spawn(async move {
            // Eight callers go through the same keys, each from elsewhere on.
            for at in 0..KEYS / 8 {
                let n = (at + caller / 8 * 150) % (KEYS / 8) * 8 + caller % 8;
                let key = key_of(&n.to_string());
                let operation = async |_| {
                    runs.fetch_add(1, Ordering::SeqCst);
                    yield_now().await;
                    Ok::<_, Error>(n)
                };
                assert_eq!(*handle.call(&key).wait(MINUTE).run(operation).await.unwrap(), n);
            }
        });
    }
    callers.join_all().await;
    assert_eq!(runs.load(Ordering::SeqCst), KEYS);
}
