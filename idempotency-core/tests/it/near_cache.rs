//! The near cache: replays from this process, and nothing that the store would not say.

use std::sync::Arc;
use std::time::Duration;

use idempotency_core::layers::NearCache;
use idempotency_core::{Acquired, Claim, Error, Idempotency, IdempotencyStore, Upkeep};
use tokio::time::sleep;

use crate::support::{Fault, Faulty, KEY, LEASE, Method, OTHER_REQUEST, fail, key_of, run};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

fn cached(longest: Duration) -> (Arc<Faulty>, Idempotency) {
    let store = Arc::new(Faulty::new());
    let cache = NearCache::new(store.clone(), 1 << 20, longest).unwrap();
    (store, Idempotency::new(cache))
}

#[tokio::test(start_paused = true)]
async fn a_replay_asks_the_store_once_and_then_nobody() {
    let (store, handle) = cached(MINUTE);
    let _ = run(&handle, &KEY, 1).await.unwrap();
    let first = run(&handle, &KEY, 2).await.unwrap();
    sleep(SECOND * 7).await;
    for _ in 0..5 {
        let again = run(&handle, &KEY, 2).await.unwrap();
        assert_eq!((*again, again.attempt()), (1, 1));
        let (origin, before) = (again.origin().unwrap(), first.origin().unwrap());
        assert_eq!(origin.completed_at, before.completed_at);
        assert_eq!(origin.remaining, before.remaining - SECOND * 7);
    }
    assert_eq!(store.count(Method::Acquire), 2);
    // Its status, too.
    assert!(matches!(handle.status(&KEY).await.unwrap(), idempotency_core::Status::Completed { .. }));
    assert_eq!(store.count(Method::Get), 0);
}

#[tokio::test(start_paused = true)]
async fn a_result_is_kept_no_longer_than_its_retention_counted_from_before_it_was_asked_for() {
    let (store, handle) = cached(MINUTE * 60);
    let handle = handle.with_retention(SECOND * 20).unwrap();
    let _ = run(&handle, &KEY, 1).await.unwrap();
    // The answer is made at once, but comes four seconds late.
    store.next(Method::Acquire, [Fault::LateAfter(SECOND * 4)]);
    sleep(SECOND * 10).await;
    let late = handle.clone().with_store_limit(MINUTE).unwrap();
    assert!(run(&late, &KEY, 2).await.unwrap().is_replay());
    sleep(SECOND * 6 - Duration::from_millis(1)).await;
    assert!(run(&handle, &KEY, 3).await.unwrap().is_replay());
    assert_eq!(store.count(Method::Acquire), 2);
    sleep(Duration::from_millis(1)).await;
    let anew = run(&handle, &KEY, 4).await.unwrap();
    assert_eq!((*anew, anew.is_replay()), (4, false));
}

#[tokio::test(start_paused = true)]
async fn a_deletion_is_seen_after_the_longest_time() {
    let (store, handle) = cached(SECOND * 5);
    let _ = run(&handle, &KEY, 1).await.unwrap();
    assert!(run(&handle, &KEY, 2).await.unwrap().is_replay());
    store.tamper(&KEY, |record| record.attempt = 9);
    sleep(SECOND * 5 - Duration::from_millis(1)).await;
    assert_eq!(run(&handle, &KEY, 2).await.unwrap().attempt(), 1);
    sleep(Duration::from_millis(1)).await;
    assert_eq!(run(&handle, &KEY, 2).await.unwrap().attempt(), 9);
}

#[tokio::test(start_paused = true)]
async fn another_request_is_a_mismatch_from_the_cache_too() {
    let (store, handle) = cached(MINUTE);
    let _ = run(&handle, &KEY, 1).await.unwrap();
    let _ = run(&handle, &KEY, 2).await.unwrap();
    assert!(matches!(run(&handle, &OTHER_REQUEST, 2).await, Err(Error::Mismatch { .. })));
    assert_eq!(handle.status(&OTHER_REQUEST).await.unwrap(), idempotency_core::Status::Mismatch);
    assert_eq!(store.count(Method::Acquire), 2);
}

#[tokio::test(start_paused = true)]
async fn the_cache_itself_compares_requests() {
    let store = Arc::new(Faulty::new());
    let cache = Arc::new(NearCache::new(store, 1 << 20, MINUTE).unwrap());
    let handle = Idempotency::new(cache.clone());
    let _ = run(&handle, &KEY, 1).await.unwrap();
    let _ = run(&handle, &KEY, 2).await.unwrap();
    let answer = cache.acquire_lock(&OTHER_REQUEST, &Claim::new(OTHER_REQUEST.fingerprint())).await.unwrap();
    assert_eq!(answer, Acquired::Mismatch);
}

#[tokio::test(start_paused = true)]
async fn only_results_are_kept() {
    let (store, handle) = cached(MINUTE);
    crate::support::abandon(&handle, &KEY).await;
    for _ in 0..3 {
        assert!(matches!(run(&handle, &KEY, 1).await, Err(Error::InProgress { .. })));
        assert!(handle.status(&KEY).await.is_ok());
    }
    assert_eq!((store.count(Method::Acquire), store.count(Method::Get)), (4, 3));
    let released = key_of("released");
    let _ = fail(&handle, &released, crate::support::Failed::NotSent).await;
    assert!(handle.status(&released).await.is_ok());
    assert_eq!(*run(&handle, &released, 5).await.unwrap(), 5);
    assert_eq!(handle.status(&key_of("absent")).await.unwrap(), idempotency_core::Status::Absent);
    sleep(LEASE).await;
    assert!(run(&handle, &KEY, 1).await.unwrap().prior().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_result_read_by_get_is_kept_too_and_all_else_goes_through() {
    let (store, handle) = cached(MINUTE);
    let _ = handle.call(&KEY).confirm().run(async |_| Ok::<u32, Error>(1)).await.unwrap();
    assert!(handle.status(&KEY).await.is_ok());
    assert!(run(&handle, &KEY, 2).await.unwrap().is_replay());
    assert_eq!((store.count(Method::Acquire), store.count(Method::Get), store.count(Method::Extend)), (1, 1, 1));
    let cache = NearCache::new(store.clone(), 0, MINUTE).unwrap();
    assert!(cache.guarantees().await.is_ok() && cache.purge(1).await.is_ok());
    assert_eq!((cache.stats().await.unwrap().completed, cache.list(None, 5).await.unwrap().records.len()), (1, 1));
    assert_eq!(store.count(Method::Other), 4);
    drop(cache.watch(&KEY));
    assert!(NearCache::new(store, 0, Duration::ZERO).is_err());
}
