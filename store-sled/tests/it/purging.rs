//! Completing writes no entry for the purge: it must be found in time all the same.

use std::time::Duration;

use idempotency_core::{Acquired, Claim, Effect, Grant, Held, IdempotencyStore, Key, Upkeep};
use idempotency_store_sled::Durability;

use crate::support::{House, Store};
use idempotency_testkit::conformance::sample::{PURGED_BY, RETENTION, UNKNOWN_RETENTION, claim, key, value};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

async fn granted(store: &Store, key: &Key, claim: &Claim) -> Grant {
    match store.acquire_lock(key, claim).await.unwrap() {
        Acquired::Acquired(grant) => grant,
        other => panic!("no lock on {key}: {other:?}"),
    }
}

async fn purged(store: &Store) -> usize {
    store.purge(100).await.unwrap().removed
}

/// A purge that meets a record before it is completed comes back to it when its result is forgotten,
/// not a month later.
#[tokio::test]
async fn what_was_looked_at_too_early_is_looked_at_again_in_time() {
    let house = House::new(Durability::Process);
    let store = house.open().await;
    let long = Claim { unknown_retention: 30 * DAY, ..claim(1) };
    let (slow, unknown) = (key("slow"), key("unknown"));
    let lock = granted(&store, &slow, &long).await.lock;
    let told = granted(&store, &unknown, &long).await.lock;
    assert_eq!(store.release_lock(&unknown, &told, Effect::Unknown).await.unwrap(), Held::Held);
    house.clock.advance(RETENTION + PURGED_BY);
    assert_eq!(purged(&store).await, 0);

    assert_eq!(store.store_result(&slow, &lock, &value("late"), RETENTION).await.unwrap(), Held::Held);
    let taken_over = granted(&store, &unknown, &Claim { owner: claim(2).owner, ..long.clone() }).await;
    assert!(taken_over.prior.is_some());
    let held = store.store_result(&unknown, &taken_over.lock, &value("later"), RETENTION).await.unwrap();
    assert_eq!(held, Held::Held);
    house.clock.advance(RETENTION + PURGED_BY);
    assert_eq!(purged(&store).await, 1, "the slow run's result is purged with its retention");
    house.clock.advance(DAY);
    assert_eq!(purged(&store).await, 1, "the other's within a day of it");
}

/// However often it is looked at in between, what is unknown is kept for as long as was promised.
#[tokio::test]
async fn what_is_unknown_is_kept_to_the_end() {
    let house = House::new(Durability::Process);
    let store = house.open().await;
    let (told, lapsed) = (key("told"), key("lapsed"));
    let lock = granted(&store, &told, &claim(1)).await.lock;
    assert_eq!(store.release_lock(&told, &lock, Effect::Unknown).await.unwrap(), Held::Held);
    granted(&store, &lapsed, &claim(1)).await;
    let end = store.get(&told).await.unwrap().unwrap().record.forgotten_at();
    while house.clock_now() < end {
        assert_eq!(purged(&store).await, 0);
        assert!(store.get(&told).await.unwrap().is_some() && store.get(&lapsed).await.unwrap().is_some());
        house.clock.advance(UNKNOWN_RETENTION / 50);
    }
    house.clock.advance(RETENTION + PURGED_BY);
    assert_eq!(purged(&store).await, 2);
    drop(store);
    assert_eq!(house.entries(b'x'), [], "no entry is left");
}
