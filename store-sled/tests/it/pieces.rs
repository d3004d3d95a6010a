//! Long records in pieces: written first, named after, removed last.

use idempotency_core::{Completion, Error, Held, Idempotency, IdempotencyStore, Key, Omitted, State, Upkeep};
use idempotency_core::{How, NotReplayable, Unrecorded};
use idempotency_store_sled::Durability;

use crate::support::{House, Store, record_key};
use idempotency_testkit::conformance::sample::{LEASE, PURGED_BY, RETENTION, UNKNOWN_RETENTION, claim, key, value};

fn patterned(len: usize) -> Completion {
    Completion::Value((0..len).map(|at| (at * 31 + at / 251) as u8).collect())
}

async fn complete(store: &Store, key: &Key, value: &Completion) {
    let idempotency_core::Acquired::Acquired(grant) = store.acquire_lock(key, &claim(1)).await.unwrap() else {
        panic!("no lock on {key}")
    };
    assert_eq!(store.store_result(key, &grant.lock, value, RETENTION).await.unwrap(), Held::Held);
}

async fn kept(store: &Store, key: &Key) -> Completion {
    match store.get(key).await.unwrap().unwrap().record.state {
        State::Completed { result, .. } => result,
        other => panic!("{key}: {other:?}"),
    }
}

/// The pieces of a key, by number within their value.
fn pieces(house: &House, key: &Key) -> Vec<Vec<u8>> {
    let prefix = [b"c", &*record_key(key)].concat();
    house.entries(b'c').into_iter().map(|(name, _)| name).filter(|name| name.starts_with(&prefix)).collect()
}

#[tokio::test]
async fn values_of_every_size_come_back_as_they_were() {
    let house = House::new(Durability::Power);
    let sizes = [0, 1, 255, 5_900, 6_143, 6_144, 6_145, 12_288, 20_000, 130_000, 1 << 20, (16 << 20) + 1];
    let long = "a long part ".repeat(20);
    let keys = sizes.map(|size| {
        let short = key(format!("{size}"));
        (size, short, Key::new("case", &long).part(&long).part(format!("{size}")).build().unwrap())
    });
    let mut store = Some(house.open().await);
    for (size, short, long) in &keys {
        let store = store.as_ref().unwrap();
        complete(store, short, &patterned(*size)).await;
        complete(store, long, &patterned(*size)).await;
    }
    for _ in 0..2 {
        let store = match store.take() {
            Some(store) => store,
            None => house.open().await,
        };
        for (size, short, long) in &keys {
            assert!(kept(&store, short).await == patterned(*size), "{size} bytes");
            assert!(kept(&store, long).await == patterned(*size), "{size} bytes under a long key");
        }
    }
}

#[tokio::test]
async fn a_long_value_is_replayed_and_one_over_the_limit_is_a_fact() {
    let house = House::new(Durability::Power);
    let handle = Idempotency::new(house.open().await).with_result_limit(17 << 20);
    let long: String = "0123456789abcdef".repeat(1 << 20);
    let ran = handle.execute_once(&key("long"), async { Ok::<_, Error>(long.clone()) }).await.unwrap();
    assert!(matches!(ran.how(), How::Executed), "{:?}", ran.how());
    let never = async { panic!("ran again") as Result<String, Error> };
    let replayed = handle.execute_once(&key("long"), never).await.unwrap();
    assert!(replayed.is_replay() && *replayed == long);

    let handle = handle.with_result_limit(1 << 20);
    let ran = handle.execute_once(&key("over"), async { Ok::<_, Error>(long.clone()) }).await.unwrap();
    let (value, how) = ran.into_parts();
    assert!(value == long, "the caller's own value");
    assert!(matches!(how, How::Unrecorded(Unrecorded::TooLarge { limit: 1_048_576, .. })), "{how:?}");
    let never = async { panic!("ran again") as Result<String, Error> };
    let again = handle.execute_once(&key("over"), never).await.unwrap_err();
    let fact =
        |error: &Error| matches!(error, Error::NotReplayable { why: NotReplayable::Omitted(Omitted::TooLarge), .. });
    assert!(fact(&again), "{again}");
}

#[tokio::test]
async fn pieces_that_no_record_names_are_swept_and_those_in_use_are_not() {
    let house = House::new(Durability::Power);
    let long = "a long part ".repeat(20);
    let keys = [key("short"), Key::new("case", &long).part(&long).build().unwrap()];
    let other = key("other");
    let store = house.open().await;
    for key in &keys {
        complete(&store, key, &patterned(20_000)).await;
    }
    complete(&store, &other, &value("in one")).await;
    drop(store);
    let in_use = house.entries(b'c');
    assert_eq!(in_use.len(), 8);
    {
        let raw = house.raw();
        // Of records that have others, of one that has none, and of none at all; more than a page each.
        for key in [&keys[0], &keys[1], &other, &self::key("none")] {
            for id in [[0; 16], [0x55; 16], [0xff; 16]] {
                for number in 0..70_u32 {
                    let name = [b"c", &*record_key(key), &id, &number.to_be_bytes()].concat();
                    raw.insert(name, b"left behind").unwrap();
                }
            }
        }
    }
    let store = house.open().await;
    for key in &keys {
        assert!(kept(&store, key).await == patterned(20_000));
    }
    drop(store);
    assert!(house.entries(b'c') == in_use, "the pieces in use, and no others");
}

#[tokio::test]
async fn pieces_go_with_their_record() {
    let house = House::new(Durability::Power);
    let store = house.open().await;
    let (purged, reused, kept_on) = (key("purged"), key("reused"), key("kept"));
    for key in [&purged, &reused] {
        complete(&store, key, &patterned(50_000)).await;
    }
    house.clock.advance(RETENTION);
    complete(&store, &kept_on, &patterned(50_000)).await;
    // Acquired anew before it is purged: the old value's pieces go at once.
    let _granted = store.acquire_lock(&reused, &claim(2)).await.unwrap();
    drop(store);
    assert_eq!(pieces(&house, &reused), Vec::<Vec<u8>>::new());
    assert_eq!((pieces(&house, &purged).len(), pieces(&house, &kept_on).len()), (9, 9));

    let store = house.open().await;
    house.clock.advance(PURGED_BY);
    assert_eq!(store.purge(10).await.unwrap().removed, 1);
    drop(store);
    assert_eq!((pieces(&house, &purged).len(), pieces(&house, &kept_on).len()), (0, 9));

    let store = house.open().await;
    house.clock.advance(LEASE + UNKNOWN_RETENTION + PURGED_BY);
    assert_eq!(store.purge(10).await.unwrap().removed, 2);
    assert_eq!(store.stats().await.unwrap(), Default::default());
    drop(store);
    for kind in [b'r', b'R', b'c', b'x'] {
        assert_eq!(house.entries(kind), [], "left of `{}`", kind as char);
    }
}

/// Whoever reads while a long value is replaced by the next gets one or the other, whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_value_that_is_replaced_while_it_is_read_comes_whole() {
    let house = House::new(Durability::Process);
    let store = house.open().await;
    let key = key("replaced");
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let (store, key) = (store.clone(), key.clone());
        tasks.spawn(async move {
            let mut reads = 0;
            loop {
                match store.get(&key).await.unwrap().map(|found| found.record.state) {
                    Some(State::Completed { result: Completion::Omitted(_), .. }) => return reads,
                    Some(State::Completed { result, .. }) => {
                        assert!(result == patterned(40_000), "torn");
                        reads += 1;
                    }
                    _ => {}
                }
                tokio::task::yield_now().await;
            }
        });
    }
    for _ in 0..300 {
        complete(&store, &key, &patterned(40_000)).await;
        house.clock.advance(RETENTION);
    }
    complete(&store, &key, &Completion::Omitted(Omitted::ByChoice)).await;
    let reads: u32 = tasks.join_all().await.into_iter().sum();
    assert!(reads > 0, "nothing was read");
}

/// Polls a future so many times, then drops it.
async fn given_up_after<F: Future>(polls: usize, future: F) {
    let mut future = std::pin::pin!(future);
    for _ in 0..polls {
        let done = std::future::poll_fn(|cx| std::task::Poll::Ready(future.as_mut().poll(cx).is_ready())).await;
        assert!(!done, "given up too late");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_value_that_is_given_up_while_it_is_written_leaves_no_pieces() {
    let house = House::new(Durability::Power);
    let store = house.open().await;
    let key = key("given up");
    let idempotency_core::Acquired::Acquired(grant) = store.acquire_lock(&key, &claim(1)).await.unwrap() else {
        panic!("no lock on {key}")
    };
    for _ in 0..5 {
        given_up_after(1, store.store_result(&key, &grant.lock, &patterned(1_000_000), RETENTION)).await;
    }
    assert_eq!(store.release_lock(&key, &grant.lock, idempotency_core::Effect::None).await.unwrap(), Held::Held);
    drop(store);
    house.closed().await;
    assert_eq!(pieces(&house, &key).len(), 0);
}

#[tokio::test]
async fn a_purge_that_is_given_up_leaves_no_pieces() {
    let house = House::new(Durability::Power);
    let store = house.open().await;
    let keys = ["one", "two", "three"].map(key);
    for key in &keys {
        complete(&store, key, &patterned(100_000)).await;
    }
    house.clock.advance(RETENTION + PURGED_BY);
    for _ in &keys {
        given_up_after(1, store.purge(100)).await;
    }
    while store.purge(100).await.unwrap().more {}
    drop(store);
    house.closed().await;
    for key in &keys {
        assert_eq!(pieces(&house, key).len(), 0, "{key}");
    }
}
