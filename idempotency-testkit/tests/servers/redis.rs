//! One Redis server.

use std::time::Duration;

use idempotency_testkit::proxy::Direction;
use idempotency_testkit::servers::Redis;

use crate::support::{ask, told, until};

const SHORT: Duration = Duration::from_millis(300);

#[test]
fn a_server_answers() {
    let redis = Redis::new().start().unwrap();
    assert_eq!(told(redis.address(), "PING"), "+PONG");
    assert_eq!(redis.url(), format!("redis://{}", redis.address()));
    let shared = Redis::shared().unwrap();
    assert_ne!(shared.address(), redis.address());
    assert_eq!(Redis::shared().unwrap().address(), shared.address());
}

#[test]
fn a_paused_server_answers_when_it_is_resumed() {
    let redis = Redis::new().start().unwrap();
    redis.pause().unwrap();
    ask(redis.address(), "PING", SHORT).unwrap_err();
    redis.resume().unwrap();
    assert_eq!(told(redis.address(), "PING"), "+PONG");
    // One that is dropped while it is paused goes all the same.
    redis.pause().unwrap();
}

#[test]
fn a_killed_server_comes_up_again_with_what_it_had_written() {
    let redis = Redis::new().with("appendonly", "yes").with("appendfsync", "always").start().unwrap();
    assert_eq!(told(redis.address(), "SET key kept"), "+OK");
    redis.kill().unwrap();
    ask(redis.address(), "PING", SHORT).unwrap_err();
    redis.restart().unwrap();
    assert_eq!(told(redis.address(), "GET key"), "kept");

    let forgetful = Redis::new().start().unwrap();
    assert_eq!(told(forgetful.address(), "SET key lost"), "+OK");
    forgetful.restart().unwrap();
    assert_eq!(told(forgetful.address(), "GET key"), "$-1");
}

#[test]
fn a_server_that_is_cut_off_does_not_hear_its_clients() {
    let redis = Redis::new().start().unwrap();
    let proxy = redis.cut_off().unwrap();
    assert_eq!(told(proxy.address(), "SET key first"), "+OK");
    proxy.black_hole(Direction::Both);
    ask(proxy.address(), "SET key second", SHORT).unwrap_err();
    assert_eq!(told(redis.address(), "GET key"), "first");
    proxy.heal();
    until("the proxy lets through again", || ask(proxy.address(), "PING", SHORT).is_ok());
}

#[test]
fn a_server_that_does_not_start_shows_its_log() {
    let error = Redis::new().with("no-such-setting", "1").start().unwrap_err().to_string();
    assert!(error.contains("redis-server ended before it was ready") && error.contains("no-such-setting"), "{error}");
}
