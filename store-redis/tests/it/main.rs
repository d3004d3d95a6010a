//! The Redis store against the contract; one program, so that it links once.

#![allow(clippy::unwrap_used)] // in what the tests share, too

mod memory;
mod replicas;
mod support;
#[cfg(feature = "tls")]
mod tls;

use std::time::Duration;

use idempotency_store_redis::RedisStoreConfig;
use idempotency_testkit::conformance::Subject;
use idempotency_testkit::servers::{Redis, RedisCluster, RedisSentinel};

/// How long replicas may take on a busy machine.
const WITHIN: Duration = Duration::from_secs(10);

/// As it is opened by default: short retentions by script, long ones by single commands.
async fn one_server() -> Subject {
    support::subject(one()).await
}

/// Single commands wherever they serve, as no record must outlive a step of the clock.
async fn by_commands() -> Subject {
    support::subject(one().with_clock_tolerance(Duration::from_millis(1))).await
}

async fn cluster() -> Subject {
    support::subject(six()).await
}

/// Each call waits for both replicas.
async fn sentinel_with_replicas() -> Subject {
    support::subject(watched().with_replicas(2, WITHIN)).await.one_round_in(20)
}

fn one() -> RedisStoreConfig {
    RedisStoreConfig::from_url(&Redis::shared().unwrap().url()).unwrap()
}

fn six() -> RedisStoreConfig {
    RedisStoreConfig::from_url(&RedisCluster::shared().unwrap().url()).unwrap()
}

fn watched() -> RedisStoreConfig {
    RedisStoreConfig::from_url(&RedisSentinel::shared().unwrap().url()).unwrap()
}

idempotency_testkit::conformance!(one_server, by_commands, cluster, sentinel_with_replicas);
