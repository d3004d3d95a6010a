//! What completed records take of a server's memory.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use idempotency::{Acquired, Claim, Completion, IdempotencyStore, Key};
use idempotency_store_redis::RedisStore;
use idempotency_testkit::servers::{Redis, RedisServer, Reply};
use tokio::runtime::Runtime;

use super::{RETENTION, open_at};

const RECORDS: usize = 1_000_000;
const TASKS: usize = 256;
const PREFIX: &str = "idem:";

/// A million records each, on a server of its own: that of someone else would count what others write.
pub(crate) fn run(runtime: &Runtime, filter: &str) -> io::Result<()> {
    if !"redis/memory".contains(filter) {
        return Ok(());
    }
    println!(
        "\ncase                  records   payload   key   bytes/record   2 × payload + 200   2 × (payload + key) + 200"
    );
    for payload in [64, 256, 1024] {
        let server = Redis::new().own().start().map_err(io::Error::other)?;
        let bytes = runtime.block_on(filled(&server, payload))?;
        let key = PREFIX.len() + key(0).as_str().len();
        println!(
            "{:<19} {RECORDS:>9} {payload:>9} {key:>5} {bytes:>14.1} {:>19} {:>27}",
            format!("redis/memory/{payload}"),
            2 * payload + 200,
            2 * (payload + key) + 200,
        );
    }
    Ok(())
}

/// Bytes a record.
async fn filled(server: &RedisServer, payload: usize) -> io::Result<f64> {
    let store = open_at(&server.url(), PREFIX).await?;
    // What is there once and for all: scripts, connections, their buffers.
    complete(&store, &key(RECORDS), payload).await;
    let before = used(server)?;
    let store = Arc::new(store);
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let store = store.clone();
            tokio::spawn(async move {
                for n in (task..RECORDS).step_by(TASKS) {
                    complete(&store, &key(n), payload).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("all are stored");
    }
    Ok((used(server)? - before) as f64 / RECORDS as f64)
}

async fn complete(store: &RedisStore, key: &Key, payload: usize) {
    let claim = Claim::new(key.fingerprint());
    let Ok(Acquired::Acquired(grant)) = store.acquire_lock(key, &claim).await else { panic!("a fresh key") };
    let value = Completion::Value(Bytes::from(vec![7; payload]));
    store.store_result(key, &grant.lock, &value, RETENTION).await.expect("the server answers");
}

fn key(n: usize) -> Key {
    Key::new("payment:create", format!("ord_{n:09}")).scope("tenant-7").build().expect("a key")
}

fn used(server: &RedisServer) -> io::Result<i64> {
    let Reply::Text(info) = server.command(&["INFO", "memory"]).map_err(io::Error::other)? else {
        return Err(io::Error::other("INFO is answered by text"));
    };
    let used = info.lines().find_map(|line| line.strip_prefix("used_memory:"));
    used.and_then(|used| used.parse().ok()).ok_or_else(|| io::Error::other("no used_memory"))
}
