//! What a server and the way to it can go through while many callers use the store: no key has two
//! live holders, no result that was acknowledged is lost or changed, every call ends within its limit,
//! and the store serves again as soon as its server does.

use std::thread;
use std::time::{Duration, Instant};

use idempotency_store_redis::{RedisStore, RedisStoreConfig};
use idempotency_testkit::load::Load;
use idempotency_testkit::proxy::{Direction, Proxy};
use idempotency_testkit::servers::RedisServer;

use crate::support::{config, durable, runtime, until};

/// Short, so that calls meet it within a fault.
const LIMIT: Duration = Duration::from_millis(500);
/// Longer than a lease of the load.
const LONG: Duration = Duration::from_millis(2500);

/// Waits until a server that was away answers.
fn answers(server: &RedisServer) -> Instant {
    until("the server answers", || server.ping(Duration::from_millis(200)).is_ok());
    Instant::now()
}

/// Callers of a store with this limit, well under way.
fn load(config: RedisStoreConfig, limit: Duration) -> Load<RedisStore> {
    let runtime = runtime();
    let store = runtime.block_on(RedisStore::open(config.with_limit(limit))).unwrap();
    Load::start(runtime, store, limit, Duration::from_secs(30))
}

fn through_proxy(server: &RedisServer, limit: Duration) -> (Proxy, Load<RedisStore>) {
    let proxy = Proxy::start(server.address()).unwrap();
    let load = load(config(&server.url_through(&proxy)), limit);
    (proxy, load)
}

#[test]
fn a_server_that_is_killed_and_started_again() {
    let server = durable();
    let load = load(config(&server.url()), LIMIT);
    let mut slowest = Duration::ZERO;
    for _ in 0..3 {
        server.kill().unwrap();
        let before = load.passing();
        until("the callers notice", || load.passing() > before + 16);
        server.restart().unwrap();
        slowest = slowest.max(load.resumes(answers(&server)));
        load.go_on(200);
    }
    load.end("kill -9", Some(slowest));
}

#[test]
fn a_server_that_stops_for_a_while() {
    let server = durable();
    let load = load(config(&server.url()), LIMIT);
    server.pause().unwrap();
    thread::sleep(LONG);
    assert!(load.passing() >= 16, "the callers did not notice");
    server.resume().unwrap();
    let resumed = load.resumes(answers(&server));
    load.end("SIGSTOP", Some(resumed));
}

#[test]
fn a_server_that_closes_all_connections() {
    let server = durable();
    let load = load(config(&server.url()), LIMIT);
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        server.command(&["CLIENT", "KILL", "TYPE", "normal"]).unwrap();
        slowest = slowest.max(load.resumes(answers(&server)));
        load.go_on(20);
    }
    assert!(load.passing() > 0, "the callers did not notice");
    load.end("CLIENT KILL", Some(slowest));
}

#[test]
fn a_server_that_answers_nobody_for_a_while() {
    let server = durable();
    let load = load(config(&server.url()), LIMIT / 2);
    let mut slowest = Duration::ZERO;
    for _ in 0..3 {
        server.command(&["CLIENT", "PAUSE", "500", "ALL"]).unwrap();
        slowest = slowest.max(load.resumes(answers(&server)));
        load.go_on(100);
    }
    assert!(load.passing() > 0, "the callers did not notice");
    load.end("CLIENT PAUSE", Some(slowest));
}

#[test]
fn a_server_that_forgets_the_scripts_again_and_again() {
    let server = durable();
    let load = load(config(&server.url()), LONG);
    for _ in 0..100 {
        server.command(&["SCRIPT", "FLUSH"]).unwrap();
        load.go_on(8);
    }
    assert_eq!(load.passing(), 0, "no caller is to notice");
    load.end("SCRIPT FLUSH", None);
}

#[test]
fn a_way_that_is_cut() {
    let server = durable();
    let (proxy, load) = through_proxy(&server, LIMIT);
    let mut slowest = Duration::ZERO;
    for _ in 0..10 {
        proxy.cut();
        slowest = slowest.max(load.resumes(Instant::now()));
        load.go_on(20);
        // The requests get through, and their answers do not.
        proxy.cut_after(Direction::ToClient, 500);
        load.go_on(20);
    }
    proxy.refuse();
    proxy.cut();
    let before = load.passing();
    until("the callers notice", || load.passing() > before + 16);
    proxy.heal();
    slowest = slowest.max(load.resumes(Instant::now()));
    load.end("cut", Some(slowest));
}

#[test]
fn a_way_on_which_everything_is_lost() {
    let server = durable();
    let (proxy, load) = through_proxy(&server, LIMIT);
    for direction in [Direction::Both, Direction::ToClient] {
        let before = proxy.counts().connections;
        proxy.black_hole(direction);
        // No error tells that nothing comes through any more.
        until("the connection is replaced", || proxy.counts().connections > before);
        thread::sleep(LONG);
        proxy.heal();
        let resumed = load.resumes(Instant::now());
        println!("{} connections in {LONG:?}, served again after {resumed:?}", proxy.counts().connections - before);
        load.go_on(100);
    }
    load.end("black hole", None);
}

#[test]
fn a_way_that_takes_long() {
    let server = durable();
    let (proxy, load) = through_proxy(&server, 4 * LIMIT);
    proxy.delay(Direction::Both, Duration::from_millis(300));
    load.go_on(60);
    assert_eq!(load.passing(), 0, "no caller is to notice");
    proxy.heal();
    let resumed = load.resumes(Instant::now());
    load.end("a delay of 300 ms", Some(resumed));
}
