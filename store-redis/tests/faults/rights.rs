//! The rights that the store's user needs, and no more.

use std::sync::Arc;

use idempotency_core::{Answer, Effect, Held, IdempotencyStore, StoreError, StoreErrorKind, Upkeep};
use idempotency_store_redis::{RedisStore, RedisStoreConfig};
use idempotency_testkit::conformance::{self, Capability, Subject};
use idempotency_testkit::servers::{RedisCluster, RedisReplicas, RedisServer, Reply};

use crate::support::{MARGIN, REPLICAS, acquired, claim, config, key, nothing_runs, runtime, server, url_as, value};

/// What every call needs.
const CALLS: [&str; 8] = ["set", "get", "getrange", "pexpiretime", "time", "eval", "evalsha", "info"];
/// What statistics and listing need, and being told of changes, and saying what the server survives.
const MORE: [&str; 3] = ["scan", "client|tracking", "config|get"];

/// Makes the user `service` with these rights over the store's keys.
fn allow(server: &RedisServer, commands: &[&str]) {
    let commands: Vec<String> = commands.iter().map(|command| format!("+{command}")).collect();
    let mut acl = vec!["ACL", "SETUSER", "service", "reset", "on", ">p", "~idem:*", "-@all"];
    acl.extend(commands.iter().map(String::as_str));
    server.command(&acl).unwrap();
}

fn config_of(server: &RedisServer) -> RedisStoreConfig {
    config(&url_as(server, "service:p"))
}

/// Makes every kind of call, each on both of its ways.
async fn all_calls(config: RedisStoreConfig) -> Result<RedisStore, StoreError> {
    let day = claim().retention;
    let (store, other) = (RedisStore::open(config.clone()).await?, RedisStore::open(config).await?);
    for name in ["one", "two"] {
        let (key, claim) = (key(name), claim());
        store.acquire_lock(&key, &claim).await?;
        other.acquire_lock(&key, &claim).await?;
        let lock = store.get(&key).await?.unwrap().record.lock;
        assert_eq!(store.extend_lock(&key, &lock, day).await?, Held::Held);
        if name == "one" {
            assert_eq!(store.store_result(&key, &lock, &value(b"v"), day).await?, Held::Held);
            assert_eq!(other.store_result(&key, &lock, &value(b"v"), day).await?, Held::Held);
        } else {
            assert_eq!(store.release_lock(&key, &lock, Effect::None).await?, Held::Held);
        }
    }
    Ok(store)
}

#[test]
fn these_suffice() {
    let (runtime, server) = (runtime(), server());
    allow(&server, &[&CALLS[..], &MORE[..]].concat());
    runtime.block_on(async {
        let store = all_calls(config_of(&server)).await.unwrap();
        assert_eq!(store.stats().await.unwrap().completed, 1);
        assert_eq!(store.list(None, 10).await.unwrap().records.len(), 2);
        assert!(matches!(store.guarantees().await.unwrap().survives_process_crash, Answer::No(_)));
        let lock = acquired(&store, &key("watched")).await.lock;
        let watch = store.watch(&key("watched"));
        let told = tokio::spawn(tokio::time::timeout(MARGIN * 5, watch));
        tokio::task::block_in_place(|| {
            let tracked = || server.command(&["INFO", "stats"]).unwrap();
            crate::support::until("it is watched", || tracked().text().unwrap().contains("tracking_total_items:1"));
        });
        store.release_lock(&key("watched"), &lock, Effect::None).await.unwrap();
        told.await.unwrap().expect("nobody was told");
    });
    assert_eq!(server.command(&["ACL", "LOG"]).unwrap(), Reply::Array(Vec::new()));
}

#[test]
fn these_suffice_for_the_contract() {
    let server = Arc::new(server());
    allow(&server, &[&CALLS[..], &MORE[..]].concat());
    // Those for which no lease or retention has to end.
    let takes_long = |name: &str| ["lapsed", "past", "after", "anew"].iter().any(|word| name.contains(word));
    let is_chosen = |name: &str| {
        let kinds = ["every_call_on_", "statistics_", "a_watch_"];
        kinds.iter().any(|kind| name.starts_with(kind)) && !takes_long(name)
    };
    let cases = conformance::cases().iter().filter(|case| is_chosen(case.name()));
    let mut passed = 0;
    for case in cases {
        let server = server.clone();
        let subject = async move {
            let config = config_of(&server).with_prefix(format!("idem:{passed}:"));
            Subject::new(RedisStore::open(config).await.unwrap())
                .forgetting_by_itself()
                .lacks(Capability::Clock, "its server's clock cannot be moved")
        };
        if let Err(failure) = conformance::run(case.name(), subject) {
            panic!("{}: {failure}", case.name());
        }
        passed += 1;
    }
    assert!(passed > 15, "{passed} cases");
}

#[test]
fn each_is_needed_and_its_lack_is_told() {
    let (runtime, server) = (runtime(), server());
    // INFO tells only whether it evicts, which may stay untold.
    for lacking in CALLS.iter().filter(|command| **command != "info") {
        server.command(&["FLUSHALL"]).unwrap();
        server.command(&["SCRIPT", "FLUSH"]).unwrap();
        let rest: Vec<&str> = CALLS.iter().filter(|command| *command != lacking).copied().collect();
        allow(&server, &rest);
        let error = runtime.block_on(all_calls(config_of(&server))).expect_err(lacking);
        assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{lacking}: {error}");
        assert!(error.to_string().contains("lacks a right"), "{lacking}: {error}");
        // Before anything can have run.
        assert_eq!(error.operation(), "open", "{lacking}: {error}");
    }
    allow(&server, &CALLS.iter().filter(|command| **command != "info").copied().collect::<Vec<_>>());
    server.command(&["FLUSHALL"]).unwrap();
    runtime.block_on(all_calls(config_of(&server))).unwrap();
}

#[test]
fn nothing_runs_without_them() {
    let (runtime, server) = (runtime(), server());
    allow(&server, &CALLS);
    let store = runtime.block_on(RedisStore::open(config_of(&server))).unwrap();
    allow(&server, &["set", "time", "info"]);
    runtime.block_on(async {
        // One that is there is looked at by a script.
        let known = crate::support::config(&server.url());
        acquired(&RedisStore::open(known).await.unwrap(), &key("held")).await;
    });
    let error = nothing_runs(&runtime, &store, &key("held"));
    assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{error}");
    server.command(&["ACL", "SETUSER", "service", "resetkeys", "~other:*"]).unwrap();
    let error = nothing_runs(&runtime, &store, &key("new"));
    assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{error}");
}

#[test]
fn one_more_suffices_with_replicas() {
    let (runtime, servers) = (runtime(), RedisReplicas::start(1).unwrap());
    let with_replicas = || config_of(servers.master()).with_replicas(1, REPLICAS);
    allow(servers.master(), &[&CALLS[..], &["wait"]].concat());
    let store = runtime.block_on(all_calls(with_replicas())).unwrap();
    assert_eq!(runtime.block_on(store.guarantees()).unwrap().survives_failover, Answer::Yes);
    for lacking in ["wait", "info"] {
        servers.master().command(&["FLUSHALL"]).unwrap();
        let rest = CALLS.iter().chain(&["wait"]).filter(|command| **command != lacking).copied();
        allow(servers.master(), &rest.collect::<Vec<_>>());
        let error = runtime.block_on(all_calls(with_replicas())).expect_err(lacking);
        assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{lacking}: {error}");
    }
}

#[test]
fn one_more_suffices_in_a_cluster() {
    let (runtime, servers) = (runtime(), RedisCluster::own().unwrap());
    let login = servers.url().replace("redis-cluster://", "redis-cluster://service:p@");
    for server in servers.nodes().unwrap() {
        allow(server, &[&CALLS[..], &MORE[..], &["cluster|slots"]].concat());
    }
    let store = runtime.block_on(all_calls(config(&login))).unwrap();
    assert_eq!(runtime.block_on(store.stats()).unwrap().completed, 1);
}

#[test]
fn without_the_right_to_watch_nobody_is_woken() {
    let (runtime, server) = (runtime(), server());
    allow(&server, &CALLS);
    runtime.block_on(async {
        let store = RedisStore::open(config_of(&server)).await.unwrap();
        acquired(&store, &key("held")).await;
        let watch = store.watch(&key("held"));
        // Who is woken asks again and watches again, as fast as connections can be made.
        assert!(tokio::time::timeout(MARGIN, watch).await.is_err(), "woken, though nothing changed");
    });
}
