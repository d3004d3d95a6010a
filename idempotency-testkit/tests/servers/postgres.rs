//! A Postgres server.

use std::time::Duration;

use idempotency_testkit::proxy::Proxy;
use idempotency_testkit::servers::{Postgres, ServerError};

use crate::redis::{ANSWER, QUIET};

#[test]
fn a_server_answers_pauses_dies_and_has_its_data_again() {
    let postgres = Postgres::new().own().with_setting("synchronous_commit", "on").start().unwrap();
    postgres.ping(ANSWER).unwrap();
    assert_eq!(postgres.url(), format!("postgres://postgres@{}/postgres", postgres.address()));
    assert_eq!(postgres.query("SHOW synchronous_commit").unwrap(), "on");
    assert_eq!(postgres.query("SHOW fsync").unwrap(), "off");
    postgres.query("CREATE TABLE kept AS SELECT 42 AS number").unwrap();

    postgres.pause().unwrap();
    assert!(matches!(postgres.ping(QUIET), Err(ServerError::Io { .. })));
    postgres.resume().unwrap();
    postgres.ping(ANSWER).unwrap();

    let address = postgres.address().to_owned();
    postgres.kill().unwrap();
    assert!(postgres.ping(QUIET).is_err());
    assert!(matches!(postgres.kill(), Err(ServerError::NotRunning { .. })));
    postgres.restart().unwrap();
    assert_eq!(postgres.address(), address);
    assert_eq!(postgres.query("SELECT number FROM kept").unwrap(), "42");

    // Killed with what it was doing, all at once: also while it is paused.
    postgres.pause().unwrap();
    postgres.restart().unwrap();
    assert_eq!(postgres.query("SELECT number FROM kept").unwrap(), "42");
    assert!(postgres.log_tail().contains("was not properly shut down"), "{}", postgres.log_tail());
}

#[test]
fn a_pause_holds_what_is_running_already() {
    let postgres = Postgres::new().own().start().unwrap();
    let held = || {
        std::thread::scope(|scope| {
            let running = scope.spawn(|| postgres.query("SELECT pg_sleep(2)"));
            let counted = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'";
            crate::again::eventually("it runs", || running.is_finished() || postgres.query(counted).unwrap() == "1");
            postgres.pause().unwrap();
            // On a slow machine it may have come to its end before the pause: its answer is here by then.
            std::thread::sleep(Duration::from_millis(500));
            let came_too_late = running.is_finished();
            std::thread::sleep(Duration::from_secs(2));
            let held = !running.is_finished();
            postgres.resume().unwrap();
            running.join().unwrap().unwrap();
            (!came_too_late).then_some(held)
        })
    };
    let held = (0..5).find_map(|_| held());
    assert_eq!(held, Some(true), "a backend went on while its server was paused, or no pause came in time");
}

#[test]
fn tests_share_a_server_and_have_databases_of_their_own() {
    let postgres = Postgres::shared().unwrap();
    let (one, other) = (postgres.fresh_database().unwrap(), postgres.fresh_database().unwrap());
    assert_ne!(one, other);
    for url in [&one, &other] {
        let name = url.rsplit('/').next().unwrap();
        assert_eq!(*url, postgres.url_at(postgres.address(), name));
        assert_eq!(postgres.query(&format!("SELECT 1 FROM pg_database WHERE datname = '{name}'")).unwrap(), "1");
    }
    assert!(std::ptr::eq(postgres, Postgres::shared().unwrap()));
}

#[test]
fn a_server_is_cut_off_by_a_proxy() {
    let postgres = Postgres::shared().unwrap();
    let proxy = Proxy::start(postgres.address()).unwrap();
    assert!(postgres.url_through(&proxy).contains(&format!("@{}/", proxy.address())));
}

#[test]
fn what_refuses_to_start_says_why() {
    let error = Postgres::new().own().with_setting("no_such_setting", "1").start().unwrap_err();
    assert!(matches!(&error, ServerError::NotStarted { log, .. } if log.contains("no_such_setting")), "{error}");
}

#[test]
fn an_error_of_the_server_is_an_error() {
    let error = Postgres::shared().unwrap().query("SELECT nothing").unwrap_err();
    assert!(matches!(&error, ServerError::Refused { answer, .. } if answer.contains("does not exist")), "{error}");
}

#[test]
fn an_immediate_shutdown_cuts_clients_off_and_loses_nothing() {
    let postgres = Postgres::new().own().start().unwrap();
    postgres.query("CREATE TABLE kept AS SELECT 42 AS number").unwrap();
    std::thread::scope(|scope| {
        let running = scope.spawn(|| postgres.query("SELECT pg_sleep(60)"));
        let counted = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'";
        crate::again::eventually("it runs", || postgres.query(counted).unwrap() == "1");
        postgres.shut_down().unwrap();
        let error = running.join().unwrap().unwrap_err();
        assert!(error.to_string().contains("immediate shutdown"), "{error}");
    });
    assert!(matches!(postgres.shut_down(), Err(ServerError::NotRunning { .. })));
    postgres.restart().unwrap();
    assert_eq!(postgres.query("SELECT number FROM kept").unwrap(), "42");
}

#[test]
fn a_standby_follows_and_takes_no_writes_until_it_is_promoted() {
    let primary = Postgres::new().own().start().unwrap();
    let standby = Postgres::new().standby_of(&primary).start().unwrap();
    primary.query("CREATE TABLE kept AS SELECT 42 AS number").unwrap();
    crate::again::eventually("it follows", || standby.query("SELECT number FROM kept").is_ok());
    let error = standby.query("INSERT INTO kept VALUES (43)").unwrap_err();
    assert!(error.to_string().contains("read-only"), "{error}");
    standby.restart().unwrap();
    primary.kill().unwrap();
    standby.query("SELECT pg_promote()").unwrap();
    standby.query("INSERT INTO kept VALUES (43)").unwrap();
    assert_eq!(standby.query("SELECT count(*) FROM kept").unwrap(), "2");
}
