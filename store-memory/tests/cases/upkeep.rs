//! Purging, counting and listing.

use std::collections::BTreeSet;
use std::time::Duration;

use idempotency_core::{Claim, Effect, Held, IdempotencyStore, Key, Snapshot, Stats, Upkeep};

use super::{LEASE, PURGED_BY, RETENTION, Subject, UNKNOWN_RETENTION, claim, key, same};

/// Short and long keys, some with the same beginnings.
fn keys(count: usize) -> Vec<Key> {
    let long = "/%".repeat(100);
    let key = |number: usize| match number % 3 {
        0 => key(format!("{number}")),
        1 => Key::new("case", format!("{number}")).part("more").scope("a tenant").build().unwrap(),
        _ => Key::new("case", &long).part(&long).part(format!("{number}")).build().unwrap(),
    };
    (0..count).map(key).collect()
}

async fn everything(subject: &Subject, page: usize) -> Vec<(Key, Snapshot)> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let listed = subject.store.list(after.as_ref(), page).await.unwrap();
        assert!(listed.records.len() <= page);
        all.extend(listed.records);
        assert!(all.len() < 10_000, "the listing goes round in circles");
        match listed.next {
            Some(next) => after = Some(next),
            None => return all,
        }
    }
}

pub(crate) async fn purging_removes_the_expired_and_nothing_else(subject: &Subject) {
    let keys = keys(60);
    let soon = Claim { retention: RETENTION / 10, ..claim(1) };
    for (number, key) in keys.iter().enumerate() {
        match number % 6 {
            // Forgotten soon: completed, released.
            0 | 1 => subject.complete(key, &soon, "soon").await,
            2 => {
                let lock = subject.granted(key, &soon).await.lock;
                subject.store.release_lock(key, &lock, Effect::None).await.unwrap();
            }
            // Forgotten later: completed, told unknown, lapsed.
            3 => subject.complete(key, &claim(1), "later").await,
            4 => {
                let lock = subject.granted(key, &soon).await.lock;
                subject.store.release_lock(key, &lock, Effect::Unknown).await.unwrap();
            }
            _ => {
                subject.granted(key, &soon).await;
            }
        }
    }
    let now = subject.store.purge(100).await.unwrap();
    assert_eq!((now.removed, now.more), (0, false), "nothing has expired");
    subject.clock.advance(RETENTION / 10 + PURGED_BY);
    let before = subject.store.stats().await.unwrap();
    assert_eq!((before.expired, before.completed, before.unknown), (30, 10, 20));
    let kept = everything(subject, 1000).await;
    assert_eq!(kept.len(), 30);

    let first = subject.store.purge(12).await.unwrap();
    assert_eq!((first.removed, first.more), (12, true));
    assert_eq!(subject.store.stats().await.unwrap(), Stats { expired: 18, ..before });
    let rest = subject.store.purge(100).await.unwrap();
    assert_eq!((rest.removed, rest.more), (18, false));
    assert_eq!(subject.store.stats().await.unwrap(), Stats { expired: 0, ..before });
    same(&everything(subject, 1000).await, &kept, &"a purge");
    assert_eq!(subject.store.purge(100).await.unwrap().removed, 0);

    // One that expired, and was begun anew before it was purged, stays.
    subject.clock.advance(RETENTION);
    let again = &keys[3];
    assert_eq!(subject.store.get(again).await.unwrap(), None);
    subject.complete(again, &claim(2), "again").await;
    subject.clock.advance(PURGED_BY);
    let purged = subject.store.purge(100).await.unwrap();
    assert_eq!(purged.removed, 9);
    assert!(subject.store.get(again).await.unwrap().is_some(), "a live record was purged");

    subject.clock.advance(LEASE + UNKNOWN_RETENTION + PURGED_BY);
    assert_eq!(subject.store.purge(100).await.unwrap().removed, 21);
    assert_eq!(subject.store.stats().await.unwrap(), Stats::default());
}

pub(crate) async fn statistics_count_each_state(subject: &Subject) {
    let keys = keys(20);
    let began = subject.now();
    for (number, key) in keys.iter().enumerate() {
        let lock = subject.granted(key, &claim(1)).await.lock;
        let store = &subject.store;
        let held = match number {
            0 => Ok(Held::Held),
            1..3 => store.release_lock(key, &lock, Effect::Unknown).await,
            3..6 => store.release_lock(key, &lock, Effect::None).await,
            6..10 => store.store_result(key, &lock, &super::result("kept"), RETENTION).await,
            10..15 => store.store_result(key, &lock, &super::result("gone"), LEASE).await,
            _ => store.extend_lock(key, &lock, 2 * LEASE).await,
        };
        assert_eq!(held.unwrap(), Held::Held);
        subject.clock.advance(Duration::from_micros(1));
    }
    let found = subject.store.stats().await.unwrap();
    let live = Stats { in_progress: 6, unknown: 2, released: 3, completed: 9, expired: 0, oldest: Some(began) };
    assert_eq!(found, live);
    subject.clock.advance(LEASE);
    let found = subject.store.stats().await.unwrap();
    assert_eq!(found, Stats { in_progress: 5, unknown: 3, completed: 4, expired: 5, ..live });
}

pub(crate) async fn listing_shows_each_key_once(subject: &Subject) {
    assert_eq!(subject.store.list(None, 10).await.unwrap(), Default::default());
    // More than any page of a store's own.
    let keys = keys(900);
    for (number, key) in keys.iter().enumerate() {
        let retention = if number % 10 == 0 { LEASE } else { RETENTION };
        subject.complete(key, &Claim { retention, ..claim(1) }, "listed").await;
    }
    subject.clock.advance(LEASE);
    let expected: BTreeSet<&str> =
        keys.iter().enumerate().filter(|(number, _)| number % 10 != 0).map(|(_, key)| key.as_str()).collect();
    for page in [1, 7, 270, 809, 810, 811, 5000] {
        let listed = everything(subject, page).await;
        assert_eq!(listed.len(), expected.len(), "pages of {page}");
        let found: BTreeSet<&str> = listed.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(found, expected, "pages of {page}");
        for (key, snapshot) in &listed {
            assert_eq!(Some(snapshot), subject.store.get(key).await.unwrap().as_ref());
        }
    }
}
