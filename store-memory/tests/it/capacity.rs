//! A store has room for so many keys, and forgets none before its time.

use std::sync::Arc;
use std::time::Duration;

use idempotency_core::{Acquired, Claim, Effect, Held, IdempotencyStore, Key, ManualClock, StoreErrorKind, Upkeep};
use idempotency_store_memory::MemoryStore;

use idempotency_testkit::conformance::sample::{LEASE, RETENTION, UNKNOWN_RETENTION, claim, clock, key, value};

const ROOM: usize = 12;

fn full_of(room: usize) -> (Arc<ManualClock>, MemoryStore<Arc<ManualClock>>) {
    let clock = clock();
    (clock.clone(), MemoryStore::with_clock(clock).with_capacity(room))
}

async fn acquire(store: &impl IdempotencyStore, key: &Key, claim: &Claim) -> Acquired {
    store.acquire_lock(key, claim).await.unwrap()
}

async fn granted(store: &impl IdempotencyStore, key: &Key, claim: &Claim) -> idempotency_core::Lock {
    let Acquired::Acquired(grant) = acquire(store, key, claim).await else { panic!("no lock on {key}") };
    grant.lock
}

/// Nobody new gets in, and nothing is changed by asking.
async fn is_full(store: &impl Upkeep) {
    let before = store.list(None, 100).await.unwrap();
    let error = store.acquire_lock(&key("new"), &claim(1)).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Full);
    assert_eq!(error.operation(), "acquire_lock");
    assert!(error.to_string().contains(&format!("it holds {ROOM} keys, its capacity")), "{error}");
    assert_eq!(store.get(&key("new")).await.unwrap(), None);
    assert_eq!(store.list(None, 100).await.unwrap(), before);
}

#[tokio::test]
async fn a_full_store_refuses_new_keys_and_serves_those_it_knows() {
    let (clock, store) = full_of(ROOM);
    let keys: Vec<_> = (0..ROOM).map(|number| key(format!("{number}"))).collect();
    let mut locks = Vec::new();
    for key in &keys {
        locks.push(granted(&store, key, &claim(1)).await);
    }
    is_full(&store).await;
    // Every way that a known key can go needs no room.
    for (key, lock) in keys.iter().zip(&locks).take(9) {
        assert_eq!(store.extend_lock(key, lock, LEASE).await.unwrap(), Held::Held);
    }
    for (key, lock) in keys.iter().zip(&locks).take(3) {
        assert_eq!(store.store_result(key, lock, &value("kept"), RETENTION).await.unwrap(), Held::Held);
    }
    assert_eq!(store.release_lock(&keys[3], &locks[3], Effect::None).await.unwrap(), Held::Held);
    assert_eq!(store.release_lock(&keys[4], &locks[4], Effect::Unknown).await.unwrap(), Held::Held);
    is_full(&store).await;
    assert!(matches!(acquire(&store, &keys[0], &claim(2)).await, Acquired::Completed(_)));
    assert!(matches!(acquire(&store, &keys[5], &claim(2)).await, Acquired::InProgress { .. }));
    assert!(matches!(acquire(&store, &keys[3], &claim(2)).await, Acquired::Acquired(grant) if grant.attempt == 2));
    assert!(matches!(acquire(&store, &keys[4], &claim(2)).await, Acquired::Acquired(grant) if grant.prior.is_some()));
    clock.advance(LEASE);
    is_full(&store).await;
    assert!(matches!(acquire(&store, &keys[11], &claim(2)).await, Acquired::Acquired(grant) if grant.prior.is_some()));
    is_full(&store).await;
}

#[tokio::test]
async fn nothing_is_evicted_before_its_time_and_the_expired_make_room() {
    let (clock, store) = full_of(ROOM);
    for number in 0..ROOM {
        let key = key(format!("{number}"));
        let lock = granted(&store, &key, &claim(1)).await;
        let held = match number % 4 {
            0 => store.store_result(&key, &lock, &value("kept"), RETENTION).await,
            1 => store.release_lock(&key, &lock, Effect::None).await,
            2 => store.release_lock(&key, &lock, Effect::Unknown).await,
            _ => Ok(Held::Held),
        };
        assert_eq!(held.unwrap(), Held::Held);
    }
    clock.advance(RETENTION - Duration::from_micros(1));
    for attempt in 0..100 {
        let refused = store.acquire_lock(&key(format!("new {attempt}")), &claim(1)).await;
        assert_eq!(refused.unwrap_err().kind(), StoreErrorKind::Full);
    }
    assert_eq!(store.list(None, 100).await.unwrap().records.len(), ROOM);

    // Completed and released: six rooms, without a purge.
    clock.advance(Duration::from_micros(1));
    for number in 0..6 {
        granted(&store, &key(format!("newer {number}")), &Claim { unknown_retention: RETENTION, ..claim(1) }).await;
    }
    is_full(&store).await;
    for number in 0..ROOM {
        let found = store.get(&key(format!("{number}"))).await.unwrap();
        assert_eq!(found.is_some(), number % 4 >= 2, "{number}");
    }

    // Lapsed ones go by a purge, and their rooms with them.
    clock.advance(LEASE + UNKNOWN_RETENTION);
    assert_eq!(store.stats().await.unwrap().expired, ROOM as u64);
    assert_eq!(store.purge(100).await.unwrap().removed, ROOM);
    for number in 0..ROOM {
        granted(&store, &key(format!("newest {number}")), &claim(1)).await;
    }
    is_full(&store).await;
}

#[tokio::test]
async fn swept_records_are_gone_from_the_statistics() {
    let (clock, store) = full_of(usize::MAX);
    for generation in 0..5 {
        for number in 0..100 {
            let key = key(format!("{generation}.{number}"));
            let lock = granted(&store, &key, &claim(1)).await;
            store.store_result(&key, &lock, &value("swept"), RETENTION).await.unwrap();
        }
        let stats = store.stats().await.unwrap();
        assert_eq!((stats.completed, stats.expired), (100, 0), "generation {generation}");
        clock.advance(RETENTION);
    }
}

/// However often one key was tried in between, what may be forgotten makes room.
#[tokio::test]
async fn a_key_that_is_tried_again_and_again_hides_nothing_that_may_be_forgotten() {
    let (clock, store) = full_of(2);
    for owner in 0..1000 {
        let lock = granted(&store, &key("tried"), &claim(owner)).await;
        store.release_lock(&key("tried"), &lock, Effect::None).await.unwrap();
    }
    clock.advance(Duration::from_secs(1));
    let lock = granted(&store, &key("done"), &claim(1)).await;
    store.store_result(&key("done"), &lock, &value("done"), RETENTION).await.unwrap();
    clock.advance(RETENTION - Duration::from_secs(2));
    let lock = granted(&store, &key("tried"), &claim(1000)).await;
    store.store_result(&key("tried"), &lock, &value("tried"), RETENTION).await.unwrap();
    clock.advance(Duration::from_secs(3));
    granted(&store, &key("new"), &claim(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn a_crowd_gets_exactly_as_many_rooms_as_there_are() {
    let store = Arc::new(full_of(ROOM).1);
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..64 {
        let store = store.clone();
        tasks.spawn(async move {
            let mut granted = 0;
            for number in 0..50 {
                match store.acquire_lock(&key(format!("{task}.{number}")), &claim(1)).await {
                    Ok(_) => granted += 1,
                    Err(error) => assert_eq!(error.kind(), StoreErrorKind::Full),
                }
            }
            granted
        });
    }
    let mut granted = 0;
    while let Some(one) = tasks.join_next().await {
        granted += one.unwrap();
    }
    assert_eq!(granted, ROOM);
    assert_eq!(store.stats().await.unwrap().in_progress, ROOM as u64);
}
