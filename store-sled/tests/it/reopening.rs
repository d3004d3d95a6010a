//! What is there when a store is opened again, and names that look alike.

use std::time::Duration;

use idempotency_core::{
    Acquired, Claim, Effect, Fence, Held, IdempotencyStore, Key, LONGEST_PART, MOST_ID_PARTS, State, Upkeep,
};
use idempotency_store_sled::{Durability, SledStore, SledStoreConfig};

use crate::support::{House, Store};
use idempotency_testkit::conformance::sample::{LEASE, RETENTION, claim, key, value};

async fn granted(store: &Store, key: &Key, claim: &Claim) -> idempotency_core::Grant {
    match store.acquire_lock(key, claim).await.unwrap() {
        Acquired::Acquired(grant) => grant,
        other => panic!("no lock on {key}: {other:?}"),
    }
}

#[tokio::test]
async fn every_record_is_there_again() {
    for durability in [Durability::Power, Durability::Process] {
        let house = House::new(durability);
        let store = house.open().await;
        for number in 0..40 {
            let key = key(format!("{number}"));
            let lock = granted(&store, &key, &claim(1)).await.lock;
            let held = match number % 4 {
                0 => store.store_result(&key, &lock, &value("kept"), RETENTION).await,
                1 => store.release_lock(&key, &lock, Effect::None).await,
                2 => store.release_lock(&key, &lock, Effect::Unknown).await,
                _ => store.extend_lock(&key, &lock, 2 * LEASE).await,
            };
            assert_eq!(held.unwrap(), Held::Held);
        }
        let before = store.list(None, 100).await.unwrap();
        assert_eq!(before.records.len(), 40);
        for _ in 0..3 {
            drop(store.clone());
        }
        drop(store);
        let store = house.open().await;
        assert_eq!(store.list(None, 100).await.unwrap(), before);
        // The holder of a lock holds it still.
        let (held, snapshot) = before.records.iter().find(|(key, _)| key.as_str() == "/case/3").unwrap();
        let held = store.store_result(held, &snapshot.record.lock, &value("after"), RETENTION).await.unwrap();
        assert_eq!(held, Held::Held);
    }
}

#[tokio::test]
async fn fences_grow_over_reopening_and_for_an_expired_key() {
    let house = House::new(Durability::Power);
    let key = key("fenced");
    let mut last = Fence::default();
    for round in 0..6 {
        let store = house.open().await;
        for _ in 0..3 {
            let grant = granted(&store, &key, &claim(1)).await;
            assert!(grant.lock.fence > last, "round {round}: {} after {last}", grant.lock.fence);
            last = grant.lock.fence;
            store.store_result(&key, &grant.lock, &value("done"), RETENTION).await.unwrap();
            house.clock.advance(RETENTION);
        }
        if round % 2 == 0 {
            house.clock.advance(Duration::from_secs(180));
            assert_eq!(store.purge(10).await.unwrap().removed, 1, "the store no longer remembers the key");
        }
    }
}

/// More than are set aside at a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fences_are_never_given_out_twice() {
    let house = House::new(Durability::Process);
    let key = key("asked");
    let mut highest = Fence::default();
    for _ in 0..2 {
        let store = house.open().await;
        let mut fences = std::collections::BTreeSet::new();
        for number in 0..70 {
            let key = Key::new("case", format!("{number}")).part(format!("{highest}")).build().unwrap();
            fences.insert(granted(&store, &key, &claim(1)).await.lock.fence);
            // An acquisition that is refused uses a fence up too.
            let mut tasks = tokio::task::JoinSet::new();
            for _ in 0..4 {
                let (store, key) = (store.clone(), key.clone());
                tasks.spawn(async move {
                    for _ in 0..250 {
                        assert!(matches!(store.acquire_lock(&key, &claim(2)).await, Ok(Acquired::InProgress { .. })));
                    }
                });
            }
            tasks.join_all().await;
        }
        assert_eq!(fences.len(), 70);
        assert!(*fences.first().unwrap() > highest, "a fence of the run before");
        highest = *fences.last().unwrap();
        assert!(highest > Fence::new(1 << 16));
        fences.insert(granted(&store, &key, &claim(1)).await.lock.fence);
        house.clock.advance(RETENTION);
        drop(store);
    }
}

/// Keys that are long, are each other's beginnings, or are alike in how they are written.
#[tokio::test]
async fn keys_that_look_alike_are_kept_apart() {
    let (full, slashes) = ("k".repeat(LONGEST_PART), "/".repeat(LONGEST_PART));
    let snowmen = "☃".repeat(LONGEST_PART / 3);
    let mut keys = Vec::new();
    for filler in [&full, &slashes, &snowmen] {
        for parts in 1..=MOST_ID_PARTS {
            let long = |scope: &str, last: &str| {
                let key = Key::new(filler, last);
                (1..parts).fold(key, |key, _| key.part(filler)).scope(scope).build().unwrap()
            };
            keys.extend([long(filler, filler), long(filler, "other"), long("scope", filler)]);
            let tail = (1..parts).fold(Key::new(filler, filler), |key, _| key.part(filler));
            keys.extend([0, 1].map(|end| tail_of(&full, parts, end)));
            keys.push(tail.build().unwrap());
        }
    }
    // Texts of 254, 255, 256 and 257 bytes: to either side of where keys become long.
    for id in 245..=LONGEST_PART {
        keys.push(Key::new("case", "k".repeat(id)).build().unwrap());
    }
    for (one, other) in [("a", "a%"), ("a/b", "a%2Fb"), ("b", "bb"), ("r", "R"), ("c", "x"), ("mfence", "fence")] {
        keys.extend([one, other].map(key));
        keys.push(Key::new("case", one).part(other).build().unwrap());
        keys.push(Key::new("case", other).part(one).build().unwrap());
    }
    keys.sort_by(|one, other| one.as_str().cmp(other.as_str()));
    keys.dedup();
    assert!(keys.iter().any(|key| key.as_str().len() > 3000) && keys.len() > 80, "{}", keys.len());

    let house = House::new(Durability::Process);
    let store = house.open().await;
    for (number, key) in keys.iter().enumerate() {
        let grant = granted(&store, key, &claim(1)).await;
        assert_eq!((grant.attempt, grant.prior), (1, None), "{key} was another's");
        let value = idempotency_core::Completion::Value(format!("{number}").into());
        assert_eq!(store.store_result(key, &grant.lock, &value, RETENTION).await.unwrap(), Held::Held);
    }
    drop(store);
    let store = house.open().await;
    for (number, key) in keys.iter().enumerate() {
        let found = store.get(key).await.unwrap().unwrap().record.state;
        let idempotency_core::State::Completed { result, .. } = found else { panic!("{key}: {found:?}") };
        assert_eq!(result, idempotency_core::Completion::Value(format!("{number}").into()), "{key}");
    }
    let listed = store.list(None, 1000).await.unwrap();
    let mut listed: Vec<_> = listed.records.into_iter().map(|(key, _)| key.as_str().to_owned()).collect();
    listed.sort();
    assert_eq!(listed, keys.iter().map(|key| key.as_str().to_owned()).collect::<Vec<_>>());
    house.clock.advance(RETENTION + Duration::from_secs(180));
    assert_eq!(store.purge(1000).await.unwrap().removed, keys.len());
}

/// A long key that differs from others only at its very end.
fn tail_of(filler: &str, parts: usize, end: u8) -> Key {
    let last = format!("{}{end}", &filler[1..]);
    let filled = (1..parts).map(|_| filler).chain([last.as_str()]);
    let mut filled = filled.collect::<Vec<_>>().into_iter();
    let first = Key::new(filler, filled.next().unwrap()).scope(filler);
    filled.fold(first, |key, part| key.part(part)).build().unwrap()
}

/// A process can be killed while sled, opening, writes a snapshot; sled 0.34.7 then takes the unfinished
/// file for the newest snapshot.
#[tokio::test]
async fn a_snapshot_that_was_never_finished_is_no_damage() {
    for unfinished in [&b""[..], b"half a snapshot, without its length and checksum"] {
        let house = House::new(Durability::Process);
        let store = house.open().await;
        let lock = granted(&store, &key("kept"), &claim(1)).await.lock;
        store.store_result(&key("kept"), &lock, &value("kept"), RETENTION).await.unwrap();
        drop(store);
        house.closed().await;
        let file = house.path().join("snap.00000000FFFFFFFF.generating");
        std::fs::write(&file, unfinished).unwrap();
        let store = house.open().await;
        assert!(!file.exists());
        let found = store.get(&key("kept")).await.unwrap().unwrap();
        assert!(matches!(found.record.state, State::Completed { .. }));

        // While another has the database open, its snapshot may be under way, and is left alone.
        std::fs::write(&file, unfinished).unwrap();
        let config = SledStoreConfig::new(house.path());
        assert!(SledStore::open(config).await.is_err());
        assert!(file.exists());
    }
}

/// A process can be killed between sled's writing its configuration and that one's checksum; sled 0.34.7
/// then takes the end of the text for the checksum.
#[tokio::test]
async fn a_configuration_without_its_checksum_is_no_damage() {
    let house = House::new(Durability::Process);
    drop(house.open().await);
    house.closed().await;
    let file = house.path().join("conf");
    let finished = std::fs::read(&file).unwrap();
    let text = &finished[..finished.len() - 4];
    assert!(text.ends_with(b"\n"));

    std::fs::write(&file, text).unwrap();
    drop(house.open().await);
    house.closed().await;
    assert_eq!(std::fs::read(&file).unwrap(), finished);

    // Any other end is damage, and is told.
    std::fs::write(&file, &text[..text.len() - 1]).unwrap();
    assert!(SledStore::open(SledStoreConfig::new(house.path())).await.is_err());
    assert_eq!(std::fs::read(&file).unwrap(), text[..text.len() - 1]);
}
