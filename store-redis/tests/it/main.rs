//! The Redis store against the contract; one program, so that it links once.

#![allow(clippy::unwrap_used)] // in what the tests share, too

mod replicas;
mod support;

use std::time::Duration;

use idempotency_store_redis::RedisStoreConfig;
use idempotency_testkit::conformance::Subject;
use idempotency_testkit::servers::{Redis, RedisCluster, RedisSentinel};

/// How long replicas may take on a busy machine.
const WITHIN: Duration = Duration::from_secs(10);

async fn one_server() -> Subject {
    support::subject(one()).await
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

idempotency_testkit::conformance!(one_server, cluster, sentinel_with_replicas);
