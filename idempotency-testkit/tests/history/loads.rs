//! Histories of real stores under many callers at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use idempotency_core::{
    Acquired, Claim, Clock, Completion, Effect, Fingerprint, Grant, Guarantees, Held, IdempotencyStore, Key, Lock,
    Snapshot, StoreError, SystemClock, Watch, moves,
};
use idempotency_store_memory::MemoryStore;
use idempotency_store_sled::{SledStore, SledStoreConfig};
use idempotency_testkit::history::{History, Recording, Verdict};
use idempotency_testkit::{ReferenceStore, Rule};

use crate::random::{Dice, seeds};

const CALLERS: usize = 64;

#[derive(Clone, Copy)]
struct Size {
    keys: usize,
    rounds: usize,
    /// How long a short lease is: longer than most calls take.
    short: Duration,
}

/// Many callers on a few keys, who claim, extend, look, store, release, and go away in the middle.
fn load<S: IdempotencyStore>(clock: SystemClock, store: S, seed: u64, size: Size) -> History {
    let recording = Recording::by_clock(clock);
    let store = Arc::new(store);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(8).enable_all().build().unwrap();
    runtime.block_on(async {
        let callers = (0..CALLERS).map(|caller| {
            let store = recording.client(format!("caller {caller}"), store.clone());
            let mut dice = Dice(seed.wrapping_mul(1_000) + caller as u64);
            tokio::spawn(async move {
                for _ in 0..size.rounds {
                    let key = dice.below(size.keys);
                    round(&store, &mut dice, key, size.short).await;
                }
            })
        });
        for caller in callers.collect::<Vec<_>>() {
            caller.await.unwrap();
        }
    });
    drop(runtime);
    recording.history()
}

/// The same callers, who all come to the same new key at once, again and again.
fn all_at_once<S: IdempotencyStore>(clock: SystemClock, store: S, seed: u64) -> History {
    let recording = Recording::by_clock(clock);
    let store = Arc::new(store);
    let begin = Arc::new(tokio::sync::Barrier::new(CALLERS));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(8).enable_all().build().unwrap();
    runtime.block_on(async {
        let callers = (0..CALLERS).map(|caller| {
            let store = recording.client(format!("caller {caller}"), store.clone());
            let begin = begin.clone();
            let mut dice = Dice(seed.wrapping_mul(1_000) + caller as u64);
            tokio::spawn(async move {
                for key in 0..20 {
                    begin.wait().await;
                    round(&store, &mut dice, key, Duration::from_millis(5)).await;
                }
            })
        });
        for caller in callers.collect::<Vec<_>>() {
            caller.await.unwrap();
        }
    });
    drop(runtime);
    recording.history()
}

async fn round<S: IdempotencyStore>(store: &S, dice: &mut Dice, key: usize, short: Duration) {
    let key = Key::new("load", key.to_string()).build().unwrap();
    let claim = Claim {
        // So short that some lapse while their holder runs.
        lease: short * dice.pick(&[1, 4, 200]),
        retention: short * dice.pick(&[2, 10]),
        unknown_retention: short * 20,
        ..Claim::new(Fingerprint::NONE)
    };
    if dice.one_in(10) {
        // Its caller goes away, before or after it was carried out.
        let mut asked = Box::pin(store.acquire_lock(&key, &claim));
        let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(asked.as_mut().poll(cx))).await;
        drop(polled);
        return;
    }
    let answered = store.acquire_lock(&key, &claim).await;
    if let Ok(Acquired::Acquired(Grant { lock, .. })) = answered {
        if dice.one_in(2) {
            tokio::task::yield_now().await;
            store.extend_lock(&key, &lock, claim.lease).await.unwrap();
        }
        match dice.below(4) {
            0 => drop(store.release_lock(&key, &lock, Effect::None).await.unwrap()),
            1 => drop(store.release_lock(&key, &lock, Effect::Unknown).await.unwrap()),
            2 => {}
            _ => {
                let value = Completion::Value(Bytes::from(lock.fence.to_string()));
                store.store_result(&key, &lock, &value, claim.retention).await.unwrap();
            }
        }
    } else if dice.one_in(2) {
        store.get(&key).await.unwrap();
    }
    tokio::task::yield_now().await;
}

fn is_possible(history: &History, seed: u64) {
    let begun = Instant::now();
    let checked = history.check().unwrap_or_else(|verdict| panic!("IDEMPOTENCY_SEED={seed}\n{verdict}"));
    println!("{checked:?} in {:?}", begun.elapsed());
}

#[test]
fn what_the_memory_store_did_under_64_callers_is_possible() {
    for seed in seeds(3) {
        for (keys, rounds) in [(1, 25), (20, 100)] {
            let clock = SystemClock::new();
            let store = MemoryStore::with_clock(clock.clone());
            is_possible(&load(clock, store, seed, Size { keys, rounds, short: Duration::from_millis(1) }), seed);
        }
    }
}

#[test]
fn what_the_sled_store_did_under_64_callers_is_possible() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    for seed in seeds(2) {
        let config = SledStoreConfig::new(folder.path().join(seed.to_string()));
        let clock = SystemClock::new();
        let store = runtime.block_on(SledStore::open_with_clock(config, clock.clone())).unwrap();
        is_possible(&load(clock, store, seed, Size { keys: 3, rounds: 15, short: Duration::from_millis(300) }), seed);
    }
}

/// Looks, and then locks by what it saw: another caller may have come between.
#[derive(Debug)]
struct LooksThenLocks(ReferenceStore);

#[async_trait]
impl IdempotencyStore for LooksThenLocks {
    async fn get(&self, key: &Key) -> Result<Option<Snapshot>, StoreError> {
        self.0.get(key).await
    }

    async fn acquire_lock(&self, key: &Key, claim: &Claim) -> Result<Acquired, StoreError> {
        let seen = self.0.record(key);
        let now = self.0.clock().now();
        tokio::task::yield_now().await;
        Ok(self.0.make(key, |_, _, next_fence| moves::acquire(seen.as_ref(), claim, now, next_fence)))
    }

    async fn extend_lock(&self, key: &Key, lock: &Lock, lease: Duration) -> Result<Held, StoreError> {
        self.0.extend_lock(key, lock, lease).await
    }

    async fn store_result(
        &self,
        key: &Key,
        lock: &Lock,
        result: &Completion,
        retention: Duration,
    ) -> Result<Held, StoreError> {
        self.0.store_result(key, lock, result, retention).await
    }

    async fn release_lock(&self, key: &Key, lock: &Lock, effect: Effect) -> Result<Held, StoreError> {
        self.0.release_lock(key, lock, effect).await
    }

    fn watch(&self, key: &Key) -> Watch {
        self.0.watch(key)
    }

    async fn guarantees(&self) -> Result<Guarantees, StoreError> {
        self.0.guarantees().await
    }
}

#[test]
fn what_a_store_did_that_looks_and_then_locks_is_impossible() {
    for seed in seeds(3) {
        let clock = SystemClock::new();
        let store = LooksThenLocks(ReferenceStore::new(clock.clone()));
        let verdict = all_at_once(clock, store, seed).check().unwrap_err();
        let Verdict::Impossible(impossible) = &verdict else { panic!("IDEMPOTENCY_SEED={seed}\n{verdict}") };
        println!("{impossible}");
        assert!(Rule::ALL.contains(&impossible.rule()));
        assert!(impossible.at > 0);
    }
}
