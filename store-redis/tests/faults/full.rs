//! A server that is over its memory limit: new keys are refused, and what is there is told and ended.

use std::time::Duration;

use idempotency_core::{
    Acquired, Completion, Effect, Error, Held, How, Idempotency, IdempotencyStore, NotReplayable, Omitted, State,
    StoreErrorKind,
};
use idempotency_store_redis::RedisStore;
use idempotency_testkit::servers::{RedisReplicas, RedisServer};

use crate::support::{
    REPLICAS, acquired, assert_error, claim, config, key, nothing_runs, open, runtime, server, value,
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn is_full(server: &RedisServer, full: bool) {
    // It has more than this in use when it is empty.
    server.command(&["CONFIG", "SET", "maxmemory", if full { "1000" } else { "0" }]).unwrap();
}

#[test]
fn what_is_there_is_ended_and_nothing_is_added() {
    let (runtime, server) = (runtime(), server());
    let store = open(&runtime, &server);
    let other = open(&runtime, &server);
    runtime.block_on(async {
        let locks = ["fact", "released", "unknown", "others", "extended"].map(|name| {
            let store = &store;
            async move { acquired(store, &key(name)).await.lock }
        });
        let [fact, released, unknown, others, extended] = {
            let mut held = Vec::new();
            for lock in locks {
                held.push(lock.await);
            }
            <[_; 5]>::try_from(held).unwrap()
        };
        let done = acquired(&store, &key("done")).await.lock;
        store.store_result(&key("done"), &done, &value(b"kept"), DAY).await.unwrap();
        is_full(&server, true);

        for store in [&store, &other] {
            let error = store.acquire_lock(&key("new"), &claim()).await.unwrap_err();
            assert_error(&error, StoreErrorKind::Full, &["maxmemory", server.address()]);
            let error = store.store_result(&key("fact"), &fact, &value(b"v"), DAY).await.unwrap_err();
            assert_error(&error, StoreErrorKind::Full, &["maxmemory"]);
        }
        assert!(store.get(&key("new")).await.unwrap().is_none());

        let omitted = Completion::Omitted(Omitted::RefusedByStore);
        assert_eq!(store.store_result(&key("fact"), &fact, &omitted, DAY).await.unwrap(), Held::Held);
        assert_eq!(other.store_result(&key("others"), &others, &omitted, DAY).await.unwrap(), Held::Held);
        assert_eq!(store.extend_lock(&key("extended"), &extended, DAY).await.unwrap(), Held::Held);
        assert_eq!(store.release_lock(&key("released"), &released, Effect::None).await.unwrap(), Held::Held);
        assert_eq!(store.release_lock(&key("unknown"), &unknown, Effect::Unknown).await.unwrap(), Held::Held);
        for (name, expected) in [("fact", 'C'), ("released", 'R'), ("unknown", 'U'), ("others", 'C'), ("extended", 'P')]
        {
            let state = store.get(&key(name)).await.unwrap().unwrap().record.state;
            let found = match state {
                State::InProgress { .. } => 'P',
                State::Unknown { .. } => 'U',
                State::Released { .. } => 'R',
                State::Completed { .. } => 'C',
            };
            assert_eq!(found, expected, "{name}");
        }
        // Nothing that is there needs more room: a replay, a duplicate, another attempt.
        let again = acquired(&store, &key("released")).await;
        assert_eq!(again.attempt, 2);
        for store in [&store, &other] {
            assert!(matches!(store.acquire_lock(&key("done"), &claim()).await, Ok(Acquired::Completed(_))));
            assert!(matches!(store.acquire_lock(&key("extended"), &claim()).await, Ok(Acquired::InProgress { .. })));
            assert!(matches!(store.acquire_lock(&key("released"), &claim()).await, Ok(Acquired::InProgress { .. })));
        }
        is_full(&server, false);
        acquired(&store, &key("new")).await;
    });
}

#[test]
fn nothing_runs_for_a_new_key() {
    let (runtime, server) = (runtime(), server());
    let store = open(&runtime, &server);
    is_full(&server, true);
    assert_eq!(nothing_runs(&runtime, &store, &key("new")).kind(), StoreErrorKind::Full);
}

#[test]
fn an_operation_that_ends_while_it_is_full_is_known_to_have_run() {
    let (runtime, server) = (runtime(), server());
    let handle = Idempotency::new(open(&runtime, &server));
    runtime.block_on(async {
        let charge = async {
            is_full(&server, true);
            Ok::<_, Error>(7_u32)
        };
        let outcome = handle.execute_once(&key("charged"), charge).await.unwrap();
        assert_eq!(*outcome, 7);
        assert!(matches!(outcome.how(), How::Unrecorded(_)), "{:?}", outcome.how());
        let ended = handle.execute_once(&key("charged"), async { Ok::<u32, Error>(8) }).await;
        let why = NotReplayable::Omitted(Omitted::RefusedByStore);
        assert!(
            matches!(&ended, Err(Error::NotReplayable { why: found, .. }) if found.to_string() == why.to_string()),
            "{ended:?}"
        );
    });
}

#[test]
fn replicas_are_waited_for_though_it_is_full() {
    let (runtime, servers) = (runtime(), RedisReplicas::start(1).unwrap());
    let waits = config(&servers.master().url()).with_replicas(1, REPLICAS);
    let store = runtime.block_on(RedisStore::open(waits)).unwrap();
    runtime.block_on(async {
        let lock = acquired(&store, &key("released")).await.lock;
        is_full(servers.master(), true);
        let released = store.release_lock(&key("released"), &lock, Effect::None).await;
        assert_eq!(released.unwrap(), Held::Held);
    });
}
