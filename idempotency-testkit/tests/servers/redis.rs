//! One Redis server, and one with replicas.

use std::time::Duration;

use idempotency_testkit::proxy::{Direction, Proxy};
use idempotency_testkit::servers::{Redis, RedisReplicas, RedisServer, Reply, ServerError};

use crate::again::eventually;

/// For an answer that must come.
pub(crate) const ANSWER: Duration = Duration::from_secs(20);
/// For one that must not.
pub(crate) const QUIET: Duration = Duration::from_millis(200);

pub(crate) fn get(server: &RedisServer, key: &str) -> Option<String> {
    server.command(&["GET", key]).unwrap().text().map(str::to_owned)
}

pub(crate) fn set(server: &RedisServer, key: &str, value: &str) {
    assert_eq!(server.command(&["SET", key, value]).unwrap(), Reply::Text("OK".to_owned()));
}

#[test]
fn a_server_answers_when_it_is_started() {
    let redis = Redis::new().own().start().unwrap();
    redis.ping(ANSWER).unwrap();
    assert_eq!(redis.url(), format!("redis://{}", redis.address()));
    assert!(redis.log_tail().contains("Ready to accept connections"), "{}", redis.log_tail());
}

#[test]
fn an_argument_reaches_the_server() {
    let redis = Redis::new().own().with_arg("maxmemory", "12mb").start().unwrap();
    let Reply::Array(setting) = redis.command(&["CONFIG", "GET", "maxmemory"]).unwrap() else { panic!() };
    assert_eq!(setting[1].text(), Some("12582912"));
}

#[test]
fn a_paused_server_answers_when_it_is_resumed() {
    let redis = Redis::new().own().start().unwrap();
    redis.pause().unwrap();
    let error = redis.ping(QUIET).unwrap_err();
    assert!(matches!(error, ServerError::Io { .. }), "{error}");
    redis.resume().unwrap();
    redis.ping(ANSWER).unwrap();
}

#[test]
fn a_killed_server_has_its_port_and_its_data_when_it_is_restarted() {
    let redis = Redis::new().own().with_arg("appendonly", "yes").start().unwrap();
    let address = redis.address().to_owned();
    set(&redis, "key", "value");
    redis.kill().unwrap();
    let error = redis.ping(QUIET).unwrap_err();
    assert!(error.to_string().contains(&address), "{error}");
    for outcome in [redis.pause(), redis.resume(), redis.kill()] {
        assert!(matches!(outcome, Err(ServerError::NotRunning { .. })));
    }
    redis.restart().unwrap();
    assert_eq!(redis.address(), address);
    assert_eq!(get(&redis, "key").as_deref(), Some("value"));

    redis.pause().unwrap();
    redis.restart().unwrap();
    assert_eq!(get(&redis, "key").as_deref(), Some("value"), "a paused one is killed, too");
}

#[test]
fn a_server_without_a_log_of_its_writes_forgets_them_in_a_restart() {
    let redis = Redis::new().own().start().unwrap();
    set(&redis, "key", "value");
    redis.restart().unwrap();
    assert_eq!(get(&redis, "key"), None);
}

#[test]
fn a_server_is_cut_off_by_a_proxy() {
    let redis = Redis::new().own().start().unwrap();
    let proxy = Proxy::start(redis.address()).unwrap();
    assert_eq!(redis.url_through(&proxy), format!("redis://{}", proxy.address()));
    proxy.cut_after(Direction::ToClient, 0);
    let mut client = std::net::TcpStream::connect(proxy.address()).unwrap();
    std::io::Write::write_all(&mut client, b"SET key value\r\n").unwrap();
    assert!(std::io::Read::read(&mut client, &mut [0]).is_err(), "no answer");
    assert_eq!(get(&redis, "key").as_deref(), Some("value"), "but it was set");
}

#[test]
fn what_refuses_to_start_says_why() {
    let error = Redis::new().own().with_arg("maxmemory", "much").start().unwrap_err();
    let said = error.to_string();
    assert!(matches!(error, ServerError::NotStarted { .. }));
    assert!(said.contains("maxmemory") && said.contains("argument must be a memory value"), "{said}");
}

#[test]
fn an_error_of_the_server_is_an_error() {
    let redis = Redis::shared().unwrap();
    let error = redis.command(&["NO-SUCH-COMMAND"]).unwrap_err();
    assert!(matches!(&error, ServerError::Refused { answer, .. } if answer.contains("unknown command")), "{error}");
}

#[test]
fn all_share_one_server() {
    let (one, other) = (Redis::shared().unwrap(), Redis::shared().unwrap());
    assert!(std::ptr::eq(one, other));
    one.ping(ANSWER).unwrap();
}

#[test]
fn servers_side_by_side_are_different_ones() {
    let servers: Vec<RedisServer> = std::thread::scope(|scope| {
        let starts: Vec<_> = (0..8).map(|_| scope.spawn(|| Redis::new().own().start().unwrap())).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    for (at, server) in servers.iter().enumerate() {
        set(server, "who", &at.to_string());
    }
    for (at, server) in servers.iter().enumerate() {
        assert_eq!(get(server, "who"), Some(at.to_string()));
    }
}

#[test]
fn replicas_have_what_their_master_has() {
    let redis = RedisReplicas::start(2).unwrap();
    set(redis.master(), "key", "value");
    assert_eq!(redis.replicas().len(), 2);
    for replica in redis.replicas() {
        eventually("the replica has the key", || get(replica, "key").as_deref() == Some("value"));
        let error = replica.command(&["SET", "key", "other"]).unwrap_err();
        assert!(error.to_string().contains("READONLY"), "{error}");
    }
}
