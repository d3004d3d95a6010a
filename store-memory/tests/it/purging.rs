//! A store that is purged on a schedule.

use std::sync::Arc;
use std::time::Duration;

use idempotency_core::{IdempotencyStore, InvalidDuration, ManualClock, PurgeReport, PurgeSchedule, Upkeep};
use idempotency_store_memory::MemoryStore;
use idempotency_testkit::conformance::sample;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::Instant;

const HOUR: Duration = Duration::from_secs(60 * 60);

type Store = Arc<MemoryStore<Arc<ManualClock>>>;

/// A store, and its clock.
fn store() -> (Store, Arc<ManualClock>) {
    let clock = sample::clock();
    (Arc::new(MemoryStore::with_clock(clock.clone())), clock)
}

/// So many records, all expired.
async fn fill(store: &Store, clock: &ManualClock, records: u32) {
    for number in 0..records {
        let claim = sample::claim(number.into());
        let _granted = store.acquire_lock(&sample::key(number.to_string()), &claim).await.unwrap();
    }
    clock.advance(100 * (sample::LEASE + sample::RETENTION + sample::UNKNOWN_RETENTION));
}

fn reports() -> (impl FnMut(PurgeReport) + Send + 'static, UnboundedReceiver<PurgeReport>) {
    let (tell, told) = unbounded_channel();
    (move |report| tell.send(report).unwrap(), told)
}

#[tokio::test(start_paused = true)]
async fn each_round_removes_all_and_is_told_of() {
    let (store, clock) = store();
    fill(&store, &clock, 25).await;
    let (report, mut told) = reports();
    let began = Instant::now();
    let purging = PurgeSchedule::every(HOUR).unwrap().with_batch(10).start(store.clone(), report);

    let round = told.recv().await.unwrap();
    assert_eq!((round.removed, round.error.is_none()), (25, true));
    assert!(round.batches >= 3, "{round:?}");
    assert!(began.elapsed() >= HOUR, "the first round is due after an hour");
    assert_eq!(store.stats().await.unwrap().expired, 0);

    fill(&store, &clock, 5).await;
    assert_eq!(told.recv().await.unwrap().removed, 5);
    assert!(began.elapsed() >= 2 * HOUR, "one round an hour");
    purging.stop().await;
    assert!(told.recv().await.is_none(), "it has ended");
}

#[tokio::test(start_paused = true)]
async fn the_first_round_may_be_made_at_once() {
    let (store, clock) = store();
    fill(&store, &clock, 3).await;
    let (report, mut told) = reports();
    let began = Instant::now();
    let _purging = PurgeSchedule::every(HOUR).unwrap().at_start().start(store, report);
    assert_eq!(told.recv().await.unwrap().removed, 3);
    assert!(began.elapsed() < HOUR);
}

#[tokio::test(start_paused = true)]
async fn it_rests_between_batches() {
    let (store, clock) = store();
    fill(&store, &clock, 30).await;
    let (report, mut told) = reports();
    let began = Instant::now();
    let schedule = PurgeSchedule::every(HOUR).unwrap().with_batch(10).with_pause(Duration::from_secs(60)).at_start();
    let _purging = schedule.start(store, report);
    let round = told.recv().await.unwrap();
    assert_eq!(round.removed, 30);
    assert!(began.elapsed() >= Duration::from_secs(120), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn stopped_it_ends_between_two_batches() {
    let (store, clock) = store();
    fill(&store, &clock, 30).await;
    let (report, mut told) = reports();
    let schedule = PurgeSchedule::every(HOUR).unwrap().with_batch(10).with_pause(HOUR).at_start();
    let purging = schedule.start(store.clone(), report);
    tokio::time::sleep(Duration::from_secs(1)).await;
    purging.stop().await;
    assert_eq!(told.recv().await.unwrap().removed, 10);
    assert_eq!(store.stats().await.unwrap().expired, 20);
}

#[tokio::test(start_paused = true)]
async fn dropped_it_purges_no_longer() {
    let (store, _) = store();
    let (report, mut told) = reports();
    drop(PurgeSchedule::every(HOUR).unwrap().start(store, report));
    assert!(told.recv().await.is_none());
}

#[test]
fn an_interval_of_nothing_is_refused() {
    let InvalidDuration { name, given, .. } = PurgeSchedule::every(Duration::ZERO).unwrap_err();
    assert_eq!((name, given), ("purge interval", Duration::ZERO));
}
