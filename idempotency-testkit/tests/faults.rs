//! What the layer of faults does to calls, and what runs make of it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic, in its helpers too")]

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use idempotency_core::{
    Acquired, Claim, Clock, Error, Fingerprint, Idempotency, IdempotencyStore, Key, ManualClock, Outcome, StoreError,
    StoreErrorKind, SystemClock, Timestamp, Upkeep,
};
use idempotency_testkit::faults::{Chances, Fault, Faults};
use idempotency_testkit::history::{History, Recording};
use idempotency_testkit::{Method, ReferenceStore};

type Layer = Faults<ReferenceStore<ManualClock>>;

fn key(id: impl ToString) -> Key {
    Key::new("payment:create", id.to_string()).build().unwrap()
}

fn layer() -> Layer {
    Faults::new(ReferenceStore::new(ManualClock::new(Timestamp::from_micros(1))))
}

fn claim() -> Claim {
    Claim::new(Fingerprint::NONE)
}

async fn acquire(layer: &Layer) -> Result<Acquired, StoreError> {
    layer.acquire_lock(&key(1), &claim()).await
}

fn was_done(layer: &Layer) -> bool {
    layer.inner().record(&key(1)).is_some()
}

/// Polls once, as a caller does that goes away before the answer.
async fn once<T>(asked: impl Future<Output = T>) -> Poll<T> {
    let mut asked = Box::pin(asked);
    poll_fn(|cx| Poll::Ready(asked.as_mut().poll(cx))).await
}

#[tokio::test]
async fn a_call_fails_before_or_after_its_effect_with_the_error_that_was_planned() {
    for kind in [StoreErrorKind::Unavailable, StoreErrorKind::InDoubt, StoreErrorKind::Full] {
        for (fault, done) in [(Fault::Before(kind), false), (Fault::After(kind), true)] {
            let layer = layer().plan(Method::Acquire, [fault]);
            let error = acquire(&layer).await.unwrap_err();
            assert_eq!((error.kind(), error.operation()), (kind, "acquire_lock"));
            assert_eq!(was_done(&layer), done, "{fault:?}");
            assert!(acquire(&layer).await.is_ok(), "the plan was for one call");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_hangs_before_or_after_its_effect() {
    for (fault, done) in [(Fault::Hangs, false), (Fault::HangsAfter, true)] {
        let layer = layer().plan(Method::Acquire, [fault]);
        assert!(tokio::time::timeout(Duration::from_secs(3_600), acquire(&layer)).await.is_err());
        assert_eq!(was_done(&layer), done, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_is_done_late_or_answered_late() {
    let by = Duration::from_secs(5);
    for (fault, done_at_first) in [(Fault::Late(by), false), (Fault::LateAfter(by), true)] {
        let layer = layer().plan(Method::Acquire, [fault]);
        let begun = tokio::time::Instant::now();
        let asked = tokio::spawn({
            let layer = layer.clone();
            async move { acquire(&layer).await }
        });
        tokio::task::yield_now().await;
        assert_eq!(was_done(&layer), done_at_first, "{fault:?}");
        assert!(asked.await.unwrap().is_ok() && was_done(&layer));
        assert_eq!(begun.elapsed(), by);
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_was_held_up_is_done_after_its_error_was_told() {
    let late = Fault::LateAfterError(StoreErrorKind::InDoubt, Duration::from_secs(5));
    let layer = layer().plan(Method::Acquire, [late]);
    assert_eq!(acquire(&layer).await.unwrap_err().kind(), StoreErrorKind::InDoubt);
    assert!(!was_done(&layer));
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(was_done(&layer));
}

#[tokio::test]
async fn a_call_panics_before_or_after_its_effect() {
    for detached in [false, true] {
        for (fault, done) in [(Fault::Panics, false), (Fault::PanicsAfter, true)] {
            let layer = layer().plan(Method::Acquire, [fault]);
            let layer = if detached { layer.detached() } else { layer };
            let asked = layer.clone();
            let joined = tokio::spawn(async move { acquire(&asked).await.is_ok() }).await;
            assert!(joined.unwrap_err().is_panic());
            assert_eq!(was_done(&layer), done, "{fault:?}");
            assert!(acquire(&layer).await.is_ok());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_stops_its_call_unless_that_is_detached() {
    for detached in [false, true] {
        let layer = layer().plan(Method::Acquire, [Fault::Late(Duration::from_secs(1))]);
        let layer = if detached { layer.detached() } else { layer };
        assert!(once(acquire(&layer)).await.is_pending());
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(was_done(&layer), detached);
    }
}

#[tokio::test]
async fn what_was_planned_comes_before_what_is_always_so_and_that_before_chance() {
    let layer = layer().chances(Chances::seeded(1).every(1.0, Fault::LOST));
    layer.always(Method::Get, Fault::DOWN);
    layer.next(Method::Get, [Fault::Works]);
    layer.next(Method::Get, [Fault::Before(StoreErrorKind::Closed)]);
    assert!(layer.get(&key(1)).await.is_ok());
    assert_eq!(layer.get(&key(1)).await.unwrap_err().kind(), StoreErrorKind::Closed);
    assert_eq!(layer.get(&key(1)).await.unwrap_err().kind(), StoreErrorKind::Unavailable);
    assert_eq!(acquire(&layer).await.unwrap_err().kind(), StoreErrorKind::InDoubt);
    layer.heal();
    assert!(layer.get(&key(1)).await.is_ok() && acquire(&layer).await.is_ok());
    assert_eq!((layer.calls(Method::Get), layer.calls(Method::Acquire), layer.calls(Method::Store)), (4, 2, 0));
}

#[tokio::test]
async fn a_deaf_store_never_tells_and_one_that_healed_does() {
    let layer = layer();
    for (deaf, told) in [(true, false), (false, true)] {
        if deaf {
            layer.deaf()
        } else {
            layer.heal()
        }
        let watch = layer.watch(&key(1));
        layer.inner().clock().advance(Duration::from_secs(40));
        acquire(&layer).await.unwrap();
        assert_eq!(once(watch).await.is_ready(), told);
    }
    assert_eq!(layer.stats().await.unwrap().in_progress, 1);
}

async fn errors(seed: u64) -> Vec<Option<StoreErrorKind>> {
    let layer = layer().chances(Chances::seeded(seed).every(0.2, Fault::DOWN).of(Method::Get, 0.3, Fault::LOST));
    let mut errors = Vec::new();
    for at in 0..2_000 {
        errors.push(layer.get(&key(at)).await.err().map(|error| error.kind()));
    }
    errors
}

#[tokio::test]
async fn chance_is_the_same_for_a_seed_and_about_as_likely_as_was_asked_for() {
    assert_eq!(errors(7).await, errors(7).await);
    let seven = errors(7).await;
    assert_ne!(seven, errors(8).await);
    let count = |kind| seven.iter().filter(|error| **error == Some(kind)).count();
    assert!((300..500).contains(&count(StoreErrorKind::Unavailable)), "a fifth of 2,000");
    assert!((500..700).contains(&count(StoreErrorKind::InDoubt)), "three tenths of 2,000");
}

#[test]
#[should_panic(expected = "probabilities are from 0 to 1")]
fn probabilities_over_one_are_refused() {
    let _ = Chances::seeded(1).every(0.7, Fault::DOWN).of(Method::Get, 0.4, Fault::LOST);
}

/// A clock that goes with tokio's, which tests can pause.
#[derive(Clone, Debug)]
struct Paused(tokio::time::Instant);

impl Clock for Paused {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(1).plus(self.0.elapsed())
    }
}

/// What ran under each key, and which of the runs were told of one before.
#[derive(Debug, Default)]
struct Effects(Mutex<BTreeMap<String, Vec<bool>>>);

/// Eight duplicates of each of twenty requests, over a store of which one call in ten has this fault.
async fn duplicates(seed: u64, fault: Fault) -> (History, Effects) {
    let clock = Paused(tokio::time::Instant::now());
    let faults = Faults::new(ReferenceStore::new(clock.clone())).detached();
    let faults = faults.chances(Chances::seeded(seed).every(0.1, fault));
    let recording = Recording::by_clock(clock);
    let effects = Arc::new(Effects::default());
    let callers = (0..8).map(|caller| {
        let store = recording.client(format!("caller {caller}"), faults.clone());
        let effects = effects.clone();
        tokio::spawn(async move {
            let idem = Idempotency::new(store);
            for id in 0..20 {
                let key = key(id);
                let _: Result<Outcome<u64>, Error> = idem
                    .call(&key)
                    .wait(Duration::from_secs(60))
                    .run(|attempt| {
                        let told = attempt.prior().is_some();
                        effects.0.lock().unwrap().entry(id.to_string()).or_default().push(told);
                        async move { Ok(id) }
                    })
                    .await;
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        // Where the store panics, so does its caller.
        drop(caller.await);
    }
    let effects = std::mem::take(&mut *effects.0.lock().unwrap());
    (recording.history(), Effects(Mutex::new(effects)))
}

#[tokio::test(start_paused = true)]
async fn with_any_fault_in_one_call_of_ten_a_key_has_one_effect_unless_a_later_one_was_told() {
    let faults = [
        Fault::DOWN,
        Fault::LOST,
        Fault::LOST_ON_THE_WAY,
        Fault::Before(StoreErrorKind::Full),
        Fault::Hangs,
        Fault::HangsAfter,
        Fault::Late(Duration::from_millis(300)),
        Fault::Late(Duration::from_secs(40)),
        Fault::LateAfter(Duration::from_secs(40)),
        Fault::LateAfterError(StoreErrorKind::InDoubt, Duration::from_secs(3)),
        Fault::PanicsAfter,
    ];
    let seeds = match std::env::var("IDEMPOTENCY_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (0..4).collect(),
    };
    for fault in faults {
        for seed in seeds.iter().copied() {
            let (history, effects) = duplicates(seed, fault).await;
            let effects = effects.0.into_inner().unwrap();
            history.check().unwrap_or_else(|verdict| panic!("IDEMPOTENCY_SEED={seed} {fault:?}\n{verdict}"));
            let silent = effects.iter().find(|(_, runs)| runs.iter().skip(1).any(|told| !told));
            assert_eq!(silent, None, "IDEMPOTENCY_SEED={seed} {fault:?}");
            assert!(!effects.is_empty(), "something ran");
        }
    }
}

#[tokio::test]
async fn a_recorder_over_faults_sees_what_a_caller_sees() {
    let clock = SystemClock::new();
    let recording = Recording::by_clock(clock.clone());
    let faults =
        Faults::new(ReferenceStore::new(clock)).plan(Method::Acquire, [Fault::DOWN, Fault::LOST, Fault::Hangs]);
    let store = recording.client("caller", faults);
    assert!(store.acquire_lock(&key(1), &claim()).await.is_err());
    assert!(store.acquire_lock(&key(1), &claim()).await.is_err());
    assert!(once(store.acquire_lock(&key(1), &claim())).await.is_pending());
    store.get(&key(1)).await.unwrap().unwrap();
    let checked = recording.history().check().unwrap();
    assert_eq!((checked.calls, checked.refused, checked.unanswered), (4, 1, 2));
}
