//! Servers that are not there, or will not have us, or would not do: each is told for what it is, and
//! nothing runs.

use std::thread;
use std::time::{Duration, Instant};

use idempotency_core::{IdempotencyStore, StoreError, StoreErrorKind};
use idempotency_store_redis::{Eviction, RedisStore, RedisStoreConfig, Start};
use idempotency_testkit::proxy::{Direction, Proxy};
use idempotency_testkit::servers::Redis;
use tokio::runtime::Runtime;

use crate::support::{
    MARGIN, acquired, all_of, assert_error, config, key, nothing_runs, open, runtime, server, until, url_as,
};

const LIMIT: Duration = Duration::from_millis(500);

fn refusal(runtime: &Runtime, config: RedisStoreConfig) -> (StoreError, Duration) {
    let begun = Instant::now();
    let error = runtime.block_on(RedisStore::open(config.with_limit(LIMIT))).unwrap_err();
    assert_eq!(error.operation(), "open");
    (error, begun.elapsed())
}

#[test]
fn a_wrong_password() {
    let (runtime, server) = (runtime(), server());
    server.command(&["ACL", "SETUSER", "alice", "on", ">right-one", "~*", "+@all"]).unwrap();
    for login in ["alice:wrong-one", "bob:wrong-one"] {
        let (error, _) = refusal(&runtime, config(&url_as(&server, login)));
        assert_error(&error, StoreErrorKind::Misconfigured, &["user and password", server.address()]);
        assert!(!all_of(&error).contains("wrong-one"), "{}", all_of(&error));
    }
    let store = runtime.block_on(RedisStore::open(config(&url_as(&server, "alice:right-one")))).unwrap();
    assert!(!format!("{store:?} {store:#?}").contains("right-one"), "{store:?}");
    server.command(&["ACL", "SETUSER", "alice", "resetpass", ">another-one"]).unwrap();
    server.command(&["CLIENT", "KILL", "TYPE", "normal"]).unwrap();
    let error = nothing_runs(&runtime, &store, &key("password"));
    assert_error(&error, StoreErrorKind::Misconfigured, &["user and password"]);
    assert!(!all_of(&error).contains("-one"), "{}", all_of(&error));
    // Somebody sets it right, and the same store goes on.
    server.command(&["ACL", "SETUSER", "alice", ">right-one"]).unwrap();
    until("it is let in", || runtime.block_on(store.get(&key("password"))).is_ok());
}

#[test]
fn a_missing_password() {
    let (runtime, server) = (runtime(), server());
    let store = open(&runtime, &server);
    server.command(&["CLIENT", "KILL", "TYPE", "normal"]).unwrap();
    server.command(&["CONFIG", "SET", "requirepass", "right-one"]).unwrap();
    assert_error(&refusal(&runtime, config(&server.url())).0, StoreErrorKind::Misconfigured, &["user and password"]);
    let error = nothing_runs(&runtime, &store, &key("password"));
    assert_error(&error, StoreErrorKind::Misconfigured, &["user and password"]);
}

/// A server without a password lets in whoever has one, as Redis has it for its default user; a user that it does
/// not know it refuses at once, and a start that waits does not wait for that.
#[test]
fn a_password_for_a_server_that_has_none() {
    let (runtime, server) = (runtime(), server());
    let waiting = |login| config(&url_as(&server, login)).with_limit(LIMIT).with_start(Start::Wait(60 * LIMIT));
    let begun = Instant::now();
    let store = runtime.block_on(RedisStore::open(waiting(":some-one"))).unwrap();
    assert!(begun.elapsed() < LIMIT + MARGIN, "{:?}", begun.elapsed());
    runtime.block_on(acquired(&store, &key("let-in")));
    let (error, took) = refusal(&runtime, waiting("alice:some-one"));
    assert_error(&error, StoreErrorKind::Misconfigured, &["user and password", server.address()]);
    assert!(took < LIMIT + MARGIN, "{took:?}");
    assert!(!all_of(&error).contains("some-one"), "{}", all_of(&error));
}

#[test]
fn a_server_that_is_down_or_silent_at_the_start() {
    let (runtime, server) = (runtime(), server());
    let proxy = Proxy::start(server.address()).unwrap();
    proxy.black_hole(Direction::Both);
    let mut refused = vec![("silent", refusal(&runtime, config(&server.url_through(&proxy))))];
    server.pause().unwrap();
    refused.push(("stopped", refusal(&runtime, config(&server.url()))));
    server.kill().unwrap();
    refused.push(("down", refusal(&runtime, config(&server.url()))));
    for (which, (error, took)) in refused {
        assert_error(&error, StoreErrorKind::Unavailable, &["Redis at 127.0.0.1:"]);
        assert!(took < LIMIT + MARGIN, "{which}: {took:?}");
    }
}

#[test]
fn a_server_that_goes_down() {
    let (runtime, server) = (runtime(), server());
    let store = open(&runtime, &server);
    server.kill().unwrap();
    let error = nothing_runs(&runtime, &store, &key("down"));
    assert_error(&error, StoreErrorKind::Unavailable, &["cannot be reached", server.address()]);
}

#[test]
fn a_start_that_waits() {
    let (runtime, server) = (runtime(), server());
    server.kill().unwrap();
    let waiting = config(&server.url()).with_limit(LIMIT);
    let (error, took) = refusal(&runtime, waiting.clone().with_start(Start::Wait(2 * LIMIT)));
    assert_error(&error, StoreErrorKind::Unavailable, &["cannot be reached"]);
    assert!(took > LIMIT && took < 3 * LIMIT + MARGIN, "{took:?}");

    let opening = runtime.spawn(RedisStore::open(waiting.with_start(Start::Wait(60 * LIMIT))));
    thread::sleep(2 * LIMIT);
    assert!(!opening.is_finished(), "it did not wait");
    server.restart().unwrap();
    let store = runtime.block_on(opening).unwrap().unwrap();
    runtime.block_on(acquired(&store, &key("waited")));
}

#[test]
fn a_start_does_not_wait_for_what_only_a_change_of_settings_mends() {
    let (runtime, server) = (runtime(), server());
    let url = url_as(&server, "alice:wrong-one");
    let (error, took) = refusal(&runtime, config(&url).with_start(Start::Wait(60 * LIMIT)));
    assert_eq!(error.kind(), StoreErrorKind::Misconfigured);
    assert!(took < LIMIT + MARGIN, "{took:?}");
}

#[test]
fn a_server_that_evicts() {
    let runtime = runtime();
    let server = Redis::new().own().with_arg("maxmemory-policy", "allkeys-lru").start().unwrap();
    let (error, _) = refusal(&runtime, config(&server.url()));
    assert_error(
        &error,
        StoreErrorKind::Misconfigured,
        &["maxmemory-policy allkeys-lru", "noeviction", server.address()],
    );
    let allowed = config(&server.url()).with_eviction(Eviction::Warn);
    let store = runtime.block_on(RedisStore::open(allowed)).unwrap();
    runtime.block_on(acquired(&store, &key("allowed")));
    let allowed = config(&format!("{}?eviction=warn", server.url()));
    runtime.block_on(async { RedisStore::open(allowed).await.unwrap().get(&key("allowed")).await.unwrap().unwrap() });
}

#[test]
fn a_wait_for_replicas_that_is_none_or_never_ends() {
    let (runtime, server) = (runtime(), server());
    for within in [Duration::ZERO, Duration::MAX] {
        let (error, _) = refusal(&runtime, config(&server.url()).with_replicas(1, within));
        assert_error(&error, StoreErrorKind::Misconfigured, &["time to wait for replicas"]);
    }
}

#[test]
fn a_server_of_another_kind_than_the_url_says() {
    let (runtime, server) = (runtime(), server());
    let address = server.address();
    let part = Redis::new().own().with_arg("cluster-enabled", "yes").start().unwrap();
    for (url, words) in [
        (part.url(), ["part of a cluster", "redis-cluster://"]),
        (format!("redis-cluster://{address}"), ["no part of a cluster", "redis://"]),
        (format!("redis-sentinel://{address}/mymaster"), ["no sentinel", address]),
        (format!("redis://{address}/99"), ["no database of this number", address]),
    ] {
        let (error, _) = refusal(&runtime, config(&url));
        assert_error(&error, StoreErrorKind::Misconfigured, &words);
    }
}
