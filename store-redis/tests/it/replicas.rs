//! Waiting for replicas.

use std::time::{Duration, Instant};

use idempotency_core::{Acquired, Answer, Claim, Fingerprint, IdempotencyStore, Key, StoreErrorKind};
use idempotency_store_redis::{RedisStore, RedisStoreConfig};
use idempotency_testkit::servers::{RedisReplicas, Reply};

use crate::{WITHIN, support, watched};

fn key(id: &str) -> Key {
    Key::new("replicas", id).build().unwrap()
}

async fn store(servers: &RedisReplicas, limit: Duration, within: Duration) -> RedisStore {
    let config = RedisStoreConfig::from_url(&servers.master().url()).unwrap();
    RedisStore::open(config.with_limit(limit).with_replicas(1, within)).await.unwrap()
}

#[tokio::test]
async fn what_was_written_is_in_doubt_where_replicas_cannot_be_waited_for() {
    let servers = RedisReplicas::start(1).unwrap();
    let store = store(&servers, Duration::from_secs(10), WITHIN).await;
    // The connection that is there stays; the one to wait on is not let in.
    servers.master().command(&["CONFIG", "SET", "requirepass", "secret"]).unwrap();
    let error = store.acquire_lock(&key("a"), &Claim::new(Fingerprint::NONE)).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::InDoubt, "{error}");
}

#[tokio::test]
async fn what_was_written_before_the_server_changed_over_is_in_doubt() {
    let servers = RedisReplicas::start(1).unwrap();
    let store = store(&servers, WITHIN, WITHIN).await;
    let claim = Claim::new(Fingerprint::NONE);
    store.acquire_lock(&key("before"), &claim).await.unwrap();
    let written = |name: &str| servers.master().command(&["EXISTS", &format!("idem:/replicas/{name}")]).unwrap();
    servers.replicas()[0].pause().unwrap();
    let mut calls = Vec::new();
    for name in ["first", "second"] {
        let (store, claim) = (store.clone(), claim.clone());
        calls.push(tokio::spawn(async move { store.acquire_lock(&key(name), &claim).await }));
        while written(name) == Reply::Integer(0) {
            tokio::task::yield_now().await;
        }
    }
    // For a moment it is another's replica, which might have taken its writes from it.
    let client = redis::Client::open(servers.master().url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut changed = redis::pipe();
    changed.atomic().cmd("REPLICAOF").arg("127.0.0.1").arg(1).cmd("REPLICAOF").arg("NO").arg("ONE");
    changed.exec_async(&mut connection).await.unwrap();
    servers.replicas()[0].resume().unwrap();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap_err().kind(), StoreErrorKind::InDoubt);
    }
    assert!(matches!(store.acquire_lock(&key("first"), &claim).await.unwrap(), Acquired::Acquired(_)));
}

#[tokio::test]
async fn nobody_waits_longer_for_replicas_than_was_said() {
    const LIMIT: Duration = Duration::from_millis(200);
    const WAIT: Duration = Duration::from_secs(2);
    let servers = RedisReplicas::start(1).unwrap();
    let store = store(&servers, LIMIT, WAIT).await;
    servers.replicas()[0].pause().unwrap();
    let first = tokio::spawn({
        let store = store.clone();
        async move { store.acquire_lock(&key("first"), &Claim::new(Fingerprint::NONE)).await }
    });
    // It is on its way, and nobody else's while it waits.
    while servers.master().command(&["EXISTS", "idem:~wait 0"]).unwrap() == Reply::Integer(0) {
        tokio::task::yield_now().await;
    }
    let begun = Instant::now();
    let error = store.acquire_lock(&key("second"), &Claim::new(Fingerprint::NONE)).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::InDoubt, "{error}");
    assert!(begun.elapsed() < LIMIT + WAIT + WAIT / 2, "{:?}", begun.elapsed());
    assert!(first.await.unwrap().is_err());
    servers.replicas()[0].resume().unwrap();
    let claim = Claim::new(Fingerprint::NONE);
    loop {
        match store.acquire_lock(&key("third"), &claim).await {
            Ok(answer) => break assert!(matches!(answer, Acquired::Acquired(_))),
            Err(error) => assert_eq!(error.kind(), StoreErrorKind::InDoubt, "{error}"),
        }
    }
}

#[tokio::test]
async fn a_failover_is_survived_where_every_replica_acknowledges() {
    for (replicas, survives) in [(1, false), (2, true)] {
        let config = watched().with_prefix(support::prefix()).with_replicas(replicas, WITHIN);
        let found = RedisStore::open(config).await.unwrap().guarantees().await.unwrap().survives_failover;
        assert_eq!(found == Answer::Yes, survives, "{replicas}: {found:?}");
    }
    // No answer would ever be acknowledged by so many.
    let error = RedisStore::open(watched().with_replicas(3, WITHIN)).await.unwrap_err();
    assert!(error.to_string().contains("has 2 replicas, and 3"), "{error}");
}
