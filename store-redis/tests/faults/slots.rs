//! Keys of a cluster whose slot is on its way from one server to another.

use std::time::Duration;

use idempotency_core::{Acquired, Held, IdempotencyStore, Key};
use idempotency_store_redis::RedisStore;
use idempotency_testkit::servers::{RedisCluster, RedisServer, Reply};

use crate::support::{REPLICAS, acquired, claim, config, key, name, runtime, value};

const RETENTION: Duration = Duration::from_secs(600);

fn id(server: &RedisServer) -> String {
    server.command(&["CLUSTER", "MYID"]).unwrap().text().unwrap().to_owned()
}

/// A key, and two others that one other server has.
fn keys(servers: &RedisCluster, of: &str) -> (Key, Key, Key) {
    let at = |key: &Key| servers.master_of(&name(key)).unwrap().address().to_owned();
    let moving = key(format!("moving {of}"));
    let mut others = (0..).map(|n| key(format!("other {of} {n}"))).filter(|key| at(key) != at(&moving));
    let other = others.next().unwrap();
    let after = others.find(|key| at(key) == at(&other)).unwrap();
    (moving, other, after)
}

/// Has the key's slot leave its server for that of `other`.
fn moves(servers: &RedisCluster, moving: &Key, other: &Key) {
    let (from, to) = (servers.master_of(&name(moving)).unwrap(), servers.master_of(&name(other)).unwrap());
    let Reply::Integer(slot) = from.command(&["CLUSTER", "KEYSLOT", &name(moving)]).unwrap() else { panic!() };
    to.command(&["CLUSTER", "SETSLOT", &slot.to_string(), "IMPORTING", &id(from)]).unwrap();
    from.command(&["CLUSTER", "SETSLOT", &slot.to_string(), "MIGRATING", &id(to)]).unwrap();
}

#[test]
fn they_are_acquired_completed_and_replayed() {
    let (runtime, servers) = (runtime(), RedisCluster::own().unwrap());
    for replicas in [0, 1] {
        let (moving, other, _) = keys(&servers, &replicas.to_string());
        moves(&servers, &moving, &other);
        runtime.block_on(async {
            let config = config(&servers.url()).with_replicas(replicas, REPLICAS);
            let store = RedisStore::open(config).await.unwrap();
            let lock = acquired(&store, &moving).await.lock;
            for _first_and_again in 0..2 {
                let held = store.store_result(&moving, &lock, &value(b"v"), RETENTION).await;
                assert_eq!(held.unwrap(), Held::Held);
            }
            assert!(matches!(store.acquire_lock(&moving, &claim()).await.unwrap(), Acquired::Completed(_)));
        });
    }
}

#[test]
fn their_answers_are_not_taken_for_the_time() {
    let (runtime, servers) = (runtime(), RedisCluster::own().unwrap());
    let (moving, other, after) = keys(&servers, "time");
    moves(&servers, &moving, &other);
    runtime.block_on(async {
        let store = RedisStore::open(config(&servers.url())).await.unwrap();
        let before = acquired(&store, &other).await.lock;
        let lock = acquired(&store, &moving).await.lock;
        drop(store.store_result(&moving, &lock, &value(b"v"), RETENTION).await);
        let later = acquired(&store, &after).await.lock;
        assert!(later.fence > before.fence, "{later:?} after {before:?}");
    });
}
