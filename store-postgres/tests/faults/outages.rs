//! What a server and the way to it can go through while many callers use the store: no key has two
//! live holders, no result that was acknowledged is lost or changed, every call ends within its limit,
//! and the store serves again as soon as its server does.

use std::thread;
use std::time::{Duration, Instant};

use idempotency_core::StoreError;
use idempotency_store_postgres::sqlx::{self, Connection, PgConnection};
use idempotency_store_postgres::{PostgresStore, PostgresStoreConfig};
use idempotency_testkit::load::Load;
use idempotency_testkit::proxy::{Direction, Proxy};
use idempotency_testkit::servers::{PgBouncer, Postgres, PostgresServer};

use crate::support::{SURELY, config, runtime, until};

/// Short, so that calls meet it within a fault.
const LIMIT: Duration = Duration::from_millis(500);
/// Longer than a lease of the load.
const LONG: Duration = Duration::from_millis(2500);

fn server() -> PostgresServer {
    Postgres::new().own().start().unwrap()
}

/// The store of a server, known to it by name.
fn named(server: &PostgresServer) -> PostgresStoreConfig {
    config(&format!("{}?application_name=store", server.url()))
}

/// Waits until a server that was away answers.
fn answers(server: &PostgresServer) -> Instant {
    until("the server answers", || server.ping(Duration::from_millis(200)).is_ok());
    Instant::now()
}

/// Callers of a store with this limit, well under way.
fn load(config: PostgresStoreConfig, limit: Duration) -> Load<PostgresStore> {
    let runtime = runtime();
    let config = config.with_limit(limit);
    let mut store = None;
    // The first opening makes the table, for which this limit can be too short on a busy machine.
    until("the store opens", || {
        let opened = runtime.block_on(PostgresStore::open(config.clone()));
        assert!(opened.as_ref().err().is_none_or(StoreError::is_passing), "{opened:?}");
        store = opened.ok();
        store.is_some()
    });
    Load::start(runtime, store.unwrap(), limit, SURELY)
}

fn through_proxy(server: &PostgresServer, limit: Duration) -> (Proxy, Load<PostgresStore>) {
    let proxy = Proxy::start(server.address()).unwrap();
    let load = load(config(&server.url_through(&proxy)), limit);
    (proxy, load)
}

fn goes_away(how: &str, server: &PostgresServer, mut end: impl FnMut(&PostgresServer)) {
    let load = load(config(&server.url()), LIMIT);
    let mut slowest = Duration::ZERO;
    for _ in 0..3 {
        end(server);
        let before = load.passing();
        until("the callers notice", || load.passing() > before + 16);
        server.restart().unwrap();
        slowest = slowest.max(load.resumes(answers(server)));
        load.go_on(200);
    }
    load.end(how, Some(slowest));
}

#[test]
fn a_server_that_is_killed_and_started_again() {
    goes_away("kill -9", &server(), |server| server.kill().unwrap());
}

#[test]
fn a_server_that_is_shut_down_at_once() {
    goes_away("immediate shutdown", &server(), |server| server.shut_down().unwrap());
}

#[test]
fn a_server_that_stops_for_a_while() {
    let server = server();
    let load = load(config(&server.url()), LIMIT);
    server.pause().unwrap();
    thread::sleep(LONG);
    assert!(load.passing() >= 16, "the callers did not notice");
    server.resume().unwrap();
    let resumed = load.resumes(answers(&server));
    load.end("SIGSTOP", Some(resumed));
}

#[test]
fn backends_that_are_ended_at_random() {
    let server = server();
    let load = load(named(&server), LIMIT);
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        let some = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                    WHERE application_name = 'store' AND random() < 0.4";
        server.query(some).unwrap();
        slowest = slowest.max(load.resumes(Instant::now()));
        load.go_on(20);
    }
    assert!(load.passing() > 0, "the callers did not notice");
    load.end("pg_terminate_backend", Some(slowest));
}

#[test]
fn a_server_whose_connections_all_are_taken_by_others() {
    let server = Postgres::new().own().with_setting("max_connections", "20").start().unwrap();
    let load = load(named(&server), LIMIT);
    let others = runtime();
    let mut slowest = Duration::ZERO;
    for _ in 0..3 {
        let before = load.passing();
        let mut taken = Vec::new();
        // What the store has is taken from it, until it has none.
        until("others have them all", || {
            while let Ok(one) = others.block_on(PgConnection::connect(&server.url())) {
                taken.push(one);
            }
            let ended =
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'store'";
            let ended = sqlx::query_scalar::<_, i64>(ended).fetch_one(&mut taken[0]);
            others.block_on(ended).unwrap() == 0
        });
        until("the callers notice", || load.passing() > before + 16);
        taken.into_iter().for_each(|one| others.block_on(one.close()).unwrap());
        slowest = slowest.max(load.resumes(Instant::now()));
        load.go_on(100);
    }
    load.end("no connection left", Some(slowest));
}

#[test]
fn a_way_that_is_cut() {
    let server = server();
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
    let server = server();
    let (proxy, load) = through_proxy(&server, LIMIT);
    for direction in [Direction::Both, Direction::ToClient] {
        let before = (load.passing(), proxy.counts().connections);
        proxy.black_hole(direction);
        thread::sleep(LONG);
        assert!(load.passing() >= before.0 + 16, "the callers did not notice");
        // No error tells that nothing comes through any more.
        let renewed = proxy.counts().connections - before.1;
        proxy.heal();
        let resumed = load.resumes(Instant::now());
        println!("{renewed} connections in {LONG:?}, served again after {resumed:?}");
        load.go_on(100);
    }
    load.end("black hole", None);
}

#[test]
fn a_way_that_takes_long() {
    let server = server();
    let (proxy, load) = through_proxy(&server, 8 * LIMIT);
    proxy.delay(Direction::Both, Duration::from_millis(300));
    load.go_on(60);
    assert_eq!(load.passing(), 0, "no caller is to notice");
    proxy.heal();
    let resumed = load.resumes(Instant::now());
    load.end("a delay of 300 ms", Some(resumed));
}

#[test]
fn a_pooler_that_is_killed_and_started_again_before_a_server_that_is() {
    let server = server();
    let pooler = PgBouncer::start(&server).unwrap();
    let load = load(config(&pooler.url(&server.url())).behind_transaction_pooler(), LIMIT);
    let mut slowest = Duration::ZERO;
    for round in 0..4 {
        let before = load.passing();
        match round % 2 {
            0 => pooler.kill().unwrap(),
            _ => server.kill().unwrap(),
        }
        until("the callers notice", || load.passing() > before + 16);
        match round % 2 {
            0 => pooler.restart().unwrap(),
            _ => server.restart().unwrap(),
        }
        until("the pooler answers", || pooler.ping(Duration::from_millis(200)).is_ok());
        slowest = slowest.max(load.resumes(Instant::now()));
        load.go_on(200);
    }
    load.end("pgbouncer and its server killed", Some(slowest));
}
