//! What the servers must be when the store is opened.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use idempotency_core::{StoreError, StoreErrorKind};
use redis::{Cmd, FromRedisValue, Value};
use tokio::time::Instant;

use crate::config::{Eviction, RedisStoreConfig, Start, misconfigured};
use crate::error::Operation;
use crate::guarantees::{ask, connected_replicas, info};
use crate::layout::BEGINS;
use crate::link::{Completing, Failure, Job, Node, Place, Servers};
use crate::scripts;

/// The oldest Redis: the first whose `SET` takes `NX` and `GET` together.
const OLDEST: (u32, u32) = (7, 0);

/// Makes sure that the servers are as they must be. Whether they can compare a value and set it by one
/// command.
pub(crate) async fn look_at(servers: &Servers, config: &RedisStoreConfig) -> Result<bool, StoreError> {
    let begun = Instant::now();
    let mut pause = Duration::from_millis(20);
    loop {
        let looked = tokio::time::timeout(2 * config.limit, look(servers, config)).await.unwrap_or_else(|_| {
            let message = format!("Redis: the servers were not looked at within {:?}", 2 * config.limit);
            Err(StoreError::new(StoreErrorKind::Unavailable, "open").with_message(message))
        });
        match looked {
            Err(error) if error.is_passing() => match config.start {
                Start::Wait(limit) if begun.elapsed() + pause < limit => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(1));
                }
                Start::Fail | Start::Wait(_) => return Err(error),
            },
            outcome => return outcome,
        }
    }
}

async fn look(servers: &Servers, config: &RedisStoreConfig) -> Result<bool, StoreError> {
    for node in servers.all().await.during("open")? {
        let hello: HashMap<String, Value> = ask(&node, &["HELLO"]).await.during("open")?;
        let said = |name| hello.get(name).cloned().and_then(|said| String::from_redis_value(said).ok());
        if said("mode").as_deref() == Some("cluster") && !matches!(config.place, Place::Cluster(..)) {
            return Err(misconfigured(format!(
                "Redis at {} is part of a cluster, and has some keys only: write `redis-cluster://`",
                node.place()
            )));
        }
        let (server, version) = (said("server").unwrap_or_default(), said("version").unwrap_or_default());
        if server == "redis" && parsed(&version).is_none_or(|version| version < OLDEST) {
            let (major, minor) = OLDEST;
            return Err(misconfigured(format!(
                "{} is Redis {version}; the oldest that serves is {major}.{minor}",
                node.place()
            )));
        }
        check_eviction(&node, config.eviction).await?;
        check_replicas(&node, config).await?;
    }
    // No record's: it is no text of a key.
    let name = format!("{}~probe", config.prefix).into_bytes();
    check_rights(servers, &name).await?;
    compares(servers, &name).await.during("open")
}

/// A server with too few replicas answers no call: better said at once.
async fn check_replicas(node: &Arc<Node>, config: &RedisStoreConfig) -> Result<(), StoreError> {
    let Some(wanted) = config.replicas else { return Ok(()) };
    let replication = info(node, "replication").await.during("open")?;
    let there = connected_replicas(&replication);
    if there >= wanted.by {
        return Ok(());
    }
    let message = format!(
        "Redis at {} has {there} replicas, and {} are to acknowledge each answer: start more, or ask for fewer",
        node.place(),
        wanted.by
    );
    Err(StoreError::new(StoreErrorKind::Unavailable, "open").with_message(message))
}

/// Makes each kind of call once, over a key that is none, so that a missing right is told before anything
/// runs and not after.
async fn check_rights(servers: &Servers, name: &[u8]) -> Result<(), StoreError> {
    let look = Job::Move { script: &scripts::GET, name: name.to_vec(), args: Vec::new() };
    let nothing =
        Completing { begins: [0; BEGINS], expected: None, record: Vec::new(), keep_ms: 1, name: name.to_vec() };
    for job in [look, Job::Complete(nothing)] {
        servers.call(name, job).await.and_then(|(ended, _)| ended.result).during("open")?;
    }
    Ok(())
}

fn parsed(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.').map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

async fn check_eviction(node: &Arc<Node>, eviction: Eviction) -> Result<(), StoreError> {
    let policy = match info(node, "memory").await {
        Err(Failure::Refused { .. }) => None,
        memory => memory.during("open")?.remove("maxmemory_policy"),
    };
    let place = node.place();
    match policy.as_deref() {
        Some("noeviction") => Ok(()),
        Some(policy) if eviction == Eviction::Refuse => Err(misconfigured(format!(
            "Redis at {place} has the maxmemory-policy {policy}, by which it forgets locks and results when its memory is \
             full; set it to noeviction, or allow it with the option eviction=warn"
        ))),
        Some(policy) => {
            tracing::warn!(place, policy, "this Redis forgets locks and results when its memory is full");
            Ok(())
        }
        None => {
            tracing::warn!(place, "cannot tell whether this Redis evicts keys: its user may not use INFO");
            Ok(())
        }
    }
}

/// Whether the servers have `SET … IFEQ` (Redis 8.4, Valkey 8.1): it sets nothing where there is nothing.
async fn compares(servers: &Servers, name: &[u8]) -> Result<bool, Failure> {
    let mut set = Cmd::new();
    set.arg("SET").arg(name).arg("").arg("IFEQ").arg("nothing").arg("PX").arg(1);
    match servers.call(name, Job::Command(set)).await?.0.result {
        Ok(_) => Ok(true),
        Err(Failure::Refused { error, .. }) if error.code() == "ERR" => Ok(false),
        Err(failure) => Err(failure),
    }
}
