//! What records take of the server's memory.

use std::time::Duration;

use bytes::Bytes;
use idempotency_core::{Acquired, Claim, Completion, IdempotencyStore, Key};
use idempotency_store_redis::{RedisStore, RedisStoreConfig};
use idempotency_testkit::servers::{Redis, RedisServer, Reply};

const RECORDS: usize = 20_000;
const TASKS: usize = 64;

#[tokio::test(flavor = "multi_thread")]
async fn a_completed_record_takes_at_most_twice_its_value_and_200_bytes() {
    for payload in [64, 256, 1024] {
        // Its own: beside others, it would be their memory too.
        let server = Redis::new().own().start().unwrap();
        let store = RedisStore::open(RedisStoreConfig::from_url(&server.url()).unwrap()).await.unwrap();
        // What is there once and for all: scripts, and the connection's buffers.
        complete(&store, RECORDS, payload).await;
        let before = used(&server);
        let tasks: Vec<_> = (0..TASKS)
            .map(|task| {
                let store = store.clone();
                tokio::spawn(async move {
                    for n in (task..RECORDS).step_by(TASKS) {
                        complete(&store, n, payload).await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let each = (used(&server) - before) / RECORDS;
        let most = 2 * payload + 200;
        println!("{each} bytes for a value of {payload}");
        assert!(each <= most, "{each} bytes for a value of {payload}; at most {most}");
    }
}

async fn complete(store: &RedisStore, n: usize, payload: usize) {
    let key = key(n);
    let claim = Claim::new(key.fingerprint());
    let Acquired::Acquired(grant) = store.acquire_lock(&key, &claim).await.unwrap() else { panic!("a fresh key") };
    let value = Completion::Value(Bytes::from(vec![7; payload]));
    store.store_result(&key, &grant.lock, &value, Duration::from_secs(60 * 60)).await.unwrap();
}

fn key(n: usize) -> Key {
    Key::new("payment:create", format!("ord_{n:09}")).scope("tenant-7").build().unwrap()
}

fn used(server: &RedisServer) -> usize {
    let Reply::Text(info) = server.command(&["INFO", "memory"]).unwrap() else { panic!("INFO is text") };
    info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap().parse().unwrap()
}
