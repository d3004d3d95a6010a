//! Damaged and foreign bytes under a key: an error that says what and where; never a panic, never a
//! run, and nothing is written over.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;

use idempotency_core::{
    Claim, Effect, Error, Held, Idempotency, IdempotencyStore, Key, Lock, StoreError, StoreErrorKind, Upkeep,
};
use idempotency_store_sled::{Durability, SledStore, SledStoreConfig};

use crate::support::{House, Store, record_key};
use idempotency_testkit::conformance::sample::{self, LEASE, RETENTION, claim, value};

/// As text: one that is long is kept under its digest, with its text in the value.
const LONG_ID: &str = "an id that is long, and is kept under its digest for that, its text beside the record; ";

/// All keys' texts are equally long, and so are the values under them.
fn numbered(long: bool, number: usize) -> Key {
    let number = format!("{number:06}");
    match long {
        false => Key::new("damage", number).build().unwrap(),
        true => Key::new("damage", LONG_ID.repeat(2)).part(LONG_ID).part(number).build().unwrap(),
    }
}

/// How a record stands before it is damaged.
#[derive(Clone, Copy, Debug)]
enum Standing {
    InProgress,
    Unknown,
    Completed,
    InPieces,
}

async fn bring(store: &Store, key: &Key, standing: Standing) -> Lock {
    let idempotency_core::Acquired::Acquired(grant) = store.acquire_lock(key, &claim(1)).await.unwrap() else {
        panic!("no lock on {key}")
    };
    let held = match standing {
        Standing::InProgress => Held::Held,
        Standing::Unknown => store.release_lock(key, &grant.lock, Effect::Unknown).await.unwrap(),
        Standing::Completed => store.store_result(key, &grant.lock, &value("a value"), RETENTION).await.unwrap(),
        Standing::InPieces => {
            let long = idempotency_core::Completion::Value((0..20_000).map(|at| (at / 100) as u8).collect());
            store.store_result(key, &grant.lock, &long, RETENTION).await.unwrap()
        }
    };
    assert_eq!(held, Held::Held);
    grant.lock
}

/// Makes `count` records of one kind, each at a key of its own.
async fn make(house: &House, long: bool, standing: Standing, count: usize) -> Vec<(Key, Lock)> {
    let store = house.open().await;
    // Past the small fences, which are written shorter.
    let first = numbered(long, 999_999);
    for _ in 0..300 {
        let _in_progress = store.acquire_lock(&first, &claim(1)).await.unwrap();
    }
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..32 {
        let store = store.clone();
        tasks.spawn(async move {
            let mut made = Vec::new();
            for number in (task..count).step_by(32) {
                let key = numbered(long, number);
                let lock = bring(&store, &key, standing).await;
                made.push((number, (key, lock)));
            }
            made
        });
    }
    let made: BTreeMap<_, _> = tasks.join_all().await.into_iter().flatten().collect();
    made.into_values().collect()
}

#[track_caller]
fn told<T: std::fmt::Debug>(answer: Result<T, StoreError>, key: &Key, what: &str) {
    let error = answer.expect_err(&format!("{key}, {what}: not noticed"));
    assert_eq!(error.kind(), StoreErrorKind::Damaged, "{key}, {what}: {error}");
    let text = error.to_string();
    let (_, cause) = text.split_once(&format!("under the key {key}: ")).unwrap_or_else(|| panic!("{what}: {text}"));
    assert!(!cause.is_empty() && !cause.contains("a value"), "{what}: {text}");
}

/// Every way to a key's record tells of its damage, and none runs.
async fn check(store: &Store, key: &Key, lock: &Lock, what: &str) {
    told(store.get(key).await, key, what);
    told(store.acquire_lock(key, &claim(2)).await, key, what);
    told(store.acquire_lock(key, &Claim { owner: lock.owner, settles: true, ..claim(2) }).await, key, what);
    told(store.extend_lock(key, lock, LEASE).await, key, what);
    told(store.store_result(key, lock, &value("another"), RETENTION).await, key, what);
    told(store.release_lock(key, lock, Effect::Settled).await, key, what);
    let handle = Idempotency::new(store.clone());
    let ran = handle.execute_once(key, async { panic!("{what}: ran") as Result<String, Error> }).await;
    let Err(Error::Store { key: of, source }) = ran else { panic!("{key}, {what}: {ran:?}") };
    assert_eq!(&of, key);
    told::<()>(Err(source), key, what);
}

/// Damages records as told, each under its own key, and looks at all of them through one store.
async fn damage(house: &House, keys: &[(Key, Lock)], mut values: BTreeMap<usize, (Vec<u8>, String)>) {
    let before = {
        let raw = house.raw();
        for (number, (value, what)) in &values {
            let kept = raw.insert(record_key(&keys[*number].0), &**value).unwrap().unwrap();
            assert!(kept != *value, "{what}: no damage");
        }
        raw.flush().unwrap();
        raw.iter().map(Result::unwrap).filter(|(key, _)| &**key != b"mfence").collect::<Vec<_>>()
    };
    let store = house.open().await;
    for (number, (_, what)) in &values {
        let (key, lock) = &keys[*number];
        check(&store, key, lock, what).await;
    }
    // Whoever walks over all records is told of the first.
    let (_, (_, what)) = values.pop_first().unwrap();
    for told in [store.stats().await.map(drop), store.list(None, usize::MAX).await.map(drop)] {
        assert_eq!(told.unwrap_err().kind(), StoreErrorKind::Damaged, "{what}");
    }
    drop(store);
    let after = house.raw().iter().map(Result::unwrap).filter(|(key, _)| &**key != b"mfence").collect::<Vec<_>>();
    assert_eq!(before.len(), after.len(), "something was added or removed");
    assert!(before == after, "something was changed");
}

/// Every bit of the value flipped in turn.
fn flips(value: &[Vec<u8>]) -> BTreeMap<usize, (Vec<u8>, String)> {
    let flip = |(number, value): (usize, &Vec<u8>)| {
        let mut value = value.clone();
        value[number / 8] ^= 1 << (number % 8);
        (number, (value, format!("bit {number} flipped")))
    };
    value.iter().enumerate().map(flip).collect()
}

async fn values(house: &House, keys: &[(Key, Lock)]) -> Vec<Vec<u8>> {
    let raw = house.raw();
    keys.iter().map(|(key, _)| raw.get(record_key(key)).unwrap().unwrap().to_vec()).collect()
}

/// As many records as one has bits, all equally long.
async fn one_a_bit(long: bool, standing: Standing) -> (House, Vec<(Key, Lock)>, Vec<Vec<u8>>) {
    let house = House::new(Durability::Process);
    let probe = make(&house, long, standing, 1).await;
    let bits = values(&house, &probe).await[0].len() * 8;
    drop(house);
    let house = House::new(Durability::Process);
    let keys = make(&house, long, standing, bits).await;
    let values = values(&house, &keys).await;
    assert!(values.iter().all(|value| value.len() * 8 == bits), "the records differ in length");
    (house, keys, values)
}

async fn every_flipped_bit_is_told(long: bool, standing: Standing) {
    let (house, keys, values) = one_a_bit(long, standing).await;
    damage(&house, &keys, flips(&values)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_flipped_bit_of_a_result_is_told() {
    every_flipped_bit_is_told(false, Standing::Completed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_flipped_bit_of_a_lock_is_told() {
    every_flipped_bit_is_told(false, Standing::InProgress).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_flipped_bit_under_a_long_key_is_told() {
    every_flipped_bit_is_told(true, Standing::Unknown).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_flipped_bit_of_the_head_of_pieces_is_told() {
    every_flipped_bit_is_told(false, Standing::InPieces).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_truncation_is_told() {
    for (long, standing) in [(false, Standing::Completed), (true, Standing::InProgress), (false, Standing::InPieces)] {
        let (house, keys, values) = one_a_bit(long, standing).await;
        // The lengths from nothing to one too few.
        let cut = (0..values[0].len()).map(|len| (len, (values[len][..len].to_vec(), format!("cut to {len} bytes"))));
        damage(&house, &keys, cut.collect()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_bytes_are_told() {
    for long in [false, true] {
        let (house, keys, values) = one_a_bit(long, Standing::Completed).await;
        let mut random = 0x1de4_u64;
        let mut byte = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 56) as u8
        };
        let mut foreign = vec![
            (b"{\"status\":\"done\"}".to_vec(), "another program's value".to_owned()),
            (values[0].clone(), "another key's record".to_owned()),
            ([&values[2][..], b"x"].concat(), "a byte more".to_owned()),
            ([&values[3][..], &values[3][..]].concat(), "twice".to_owned()),
            (vec![0; values[0].len()], "zeroes".to_owned()),
            (vec![0xff; 6000], "ones".to_owned()),
            (b"idem".to_vec(), "the magic alone".to_owned()),
            (b"idem\x02".to_vec(), "another version".to_owned()),
            (b"idem\x01\xff\xff\xff\xff".to_vec(), "the longest length".to_owned()),
            (b"idch".to_vec(), "the magic of pieces alone".to_owned()),
            (b"idch\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(), "a cut head of pieces".to_owned()),
        ];
        for len in 1..200 {
            foreign.push(((0..len).map(|_| byte()).collect(), format!("{len} random bytes")));
            foreign.push(((b"idem\x01".iter().copied()).chain((0..len).map(|_| byte())).collect(), "a head".into()));
            foreign.push(((b"idch".iter().copied()).chain((0..len).map(|_| byte())).collect(), "a piece's".into()));
        }
        damage(&house, &keys, foreign.into_iter().enumerate().collect()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_in_the_pieces_is_told() {
    const COUNT: usize = 240;
    let house = House::new(Durability::Process);
    let keys = make(&house, false, Standing::InPieces, COUNT).await;
    let before = {
        let raw = house.raw();
        for (number, (key, _)) in keys.iter().enumerate() {
            let prefix = [b"c", &*record_key(key)].concat();
            let pieces: Vec<_> = raw.scan_prefix(&prefix).map(Result::unwrap).collect();
            assert!(pieces.len() >= 4, "{} pieces", pieces.len());
            let (name, piece) = &pieces[number % pieces.len()];
            let mut piece = piece.to_vec();
            match number {
                0..4 => drop(raw.remove(name).unwrap()),
                4..8 => drop(raw.insert(name, &piece[1..]).unwrap()),
                8..12 => drop(raw.insert(name, b"").unwrap()),
                12..16 => drop(raw.insert(name, [&piece[..], b"x"].concat()).unwrap()),
                16 | 17 => {
                    // Two pieces for each other.
                    raw.insert(name, &pieces[2].1).unwrap();
                    raw.insert(&pieces[2].0, &*piece).unwrap();
                }
                _ => {
                    let bit = (number * 48_271) % (piece.len() * 8);
                    piece[bit / 8] ^= 1 << (bit % 8);
                    raw.insert(name, piece).unwrap();
                }
            }
        }
        raw.flush().unwrap();
        raw.iter().map(Result::unwrap).filter(|(key, _)| &**key != b"mfence").collect::<Vec<_>>()
    };
    let store = house.open().await;
    for (number, (key, lock)) in keys.iter().enumerate() {
        check(&store, key, lock, &format!("piece {number}")).await;
    }
    drop(store);
    let after = house.raw().iter().map(Result::unwrap).filter(|(key, _)| &**key != b"mfence").collect::<Vec<_>>();
    assert!(before == after, "something was changed");
}

/// The undamaged beside the damaged are served, and purged when their time comes.
#[tokio::test]
async fn one_damaged_record_holds_up_no_other() {
    let house = House::new(Durability::Process);
    let keys = make(&house, false, Standing::Completed, 20).await;
    house.raw().insert(record_key(&keys[7].0), b"damaged").unwrap();
    let store = house.open().await;
    for (number, (key, _)) in keys.iter().enumerate() {
        assert_eq!(store.get(key).await.is_ok(), number != 7);
    }
    // The listing names it, and goes on behind it.
    let first = store.list(None, 5).await.unwrap();
    assert_eq!(first.records.len(), 5);
    told(store.list(first.next.as_ref(), 100).await, &keys[7].0, "a listing");
    let rest = store.list(Some(&keys[7].0), 100).await.unwrap();
    // And the key that used the small fences up.
    assert_eq!((rest.records.len(), rest.next), (13, None));

    house.clock.advance(RETENTION + sample::PURGED_BY);
    let purged = store.purge(100).await;
    told(purged, &keys[7].0, "a purge");
    for (number, (key, _)) in keys.iter().enumerate() {
        let Ok(found) = store.get(key).await else { continue };
        assert_eq!(found, None, "{number}");
    }
    drop(store);
    let left: Vec<_> = house.entries(b'r').into_iter().map(|(key, _)| key).collect();
    let expected = [record_key(&keys[7].0), record_key(&numbered(false, 999_999))];
    assert_eq!(left, expected, "all but the damaged one, and the one in progress, are purged");
}

#[tokio::test]
async fn a_damaged_high_water_mark_is_told_when_the_store_is_opened() {
    let house = House::new(Durability::Power);
    drop(house.open().await);
    for damaged in [b"".as_slice(), b"1234567", b"123456789"] {
        house.raw().insert("mfence", damaged).unwrap();
        let error = SledStore::open(SledStoreConfig::new(house.path())).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Damaged, "{error}");
        assert!(error.to_string().contains("high-water mark of the fences"), "{error}");
    }
}

/// Files that are not sled's, or that were overwritten: an error, never a panic.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_files_are_told_when_the_store_is_opened() {
    let house = House::new(Durability::Power);
    make(&house, false, Standing::Completed, 500).await;
    drop(house.raw());
    for name in ["conf", "snap", "db"] {
        let copy = tempfile::tempdir().unwrap();
        std::fs::create_dir(copy.path().join("blobs")).unwrap();
        let mut damaged = 0;
        for entry in std::fs::read_dir(house.path()).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_file() {
                let mut bytes = std::fs::read(entry.path()).unwrap();
                if entry.file_name().to_str().unwrap().starts_with(name) {
                    bytes.iter_mut().skip(10).for_each(|byte| *byte ^= 0x5a);
                    damaged += 1;
                }
                std::fs::write(copy.path().join(entry.file_name()), bytes).unwrap();
            }
        }
        assert!(damaged > 0, "there is no {name}");
        let opened = std::panic::catch_unwind(AssertUnwindSafe(|| {
            tokio::task::block_in_place(|| {
                tokio::runtime::Handle::current().block_on(SledStore::open(SledStoreConfig::new(copy.path())))
            })
        }));
        let error = opened.expect("a panic").unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Damaged, "{name}: {error}");
        assert!(error.to_string().contains(copy.path().to_str().unwrap()), "{name}: {error}");
    }
}
