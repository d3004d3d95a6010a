//! Standbys: they are told from primaries, and have what was acknowledged when they take over.

use idempotency_core::{Acquired, Answer, Held, IdempotencyStore, StoreErrorKind};
use idempotency_store_postgres::PostgresStore;
use idempotency_testkit::servers::Postgres;

use crate::support::{acquired, assert_error, claim, config, key, runtime, until, value};

#[test]
fn a_standby_is_refused_until_it_is_promoted_and_has_what_was_acknowledged() {
    let (runtime, primary) = (runtime(), Postgres::new().own().start().unwrap());
    let standby = Postgres::new().standby_of(&primary).start().unwrap();
    let open = |url: String| runtime.block_on(PostgresStore::open(config(&url)));
    let store = open(primary.url()).unwrap();
    let survives = || runtime.block_on(store.guarantees()).unwrap().survives_failover;
    assert!(matches!(survives(), Answer::No(why) if why.contains("synchronous_standby_names")));
    // Everything that is acknowledged from now on is on the standby's disk.
    primary.query("ALTER SYSTEM SET synchronous_standby_names = '*'").unwrap();
    primary.query("SELECT pg_reload_conf()").unwrap();
    until("it waits for its standby", || survives() == Answer::Yes);
    let waits = "SELECT sync_state FROM pg_stat_replication";
    until("the standby is one of those", || primary.query(waits).unwrap() == "sync");

    let mut held = Vec::new();
    for number in 0..100_u32 {
        let key = key(number.to_string());
        let lock = runtime.block_on(acquired(&store, &key)).lock;
        if number % 2 == 0 {
            let value = value(&number.to_be_bytes());
            let stored = store.store_result(&key, &lock, &value, claim().retention);
            assert_eq!(runtime.block_on(stored).unwrap(), Held::Held);
        }
        held.push((key, lock));
    }
    let error = open(standby.url()).unwrap_err();
    assert_error(&error, StoreErrorKind::Unavailable, &["standby or read-only", "name the primary"]);

    primary.kill().unwrap();
    standby.query("SELECT pg_promote()").unwrap();
    let promoted = open(standby.url()).unwrap();
    for (number, (key, lock)) in (0_u32..).zip(&held) {
        match runtime.block_on(promoted.acquire_lock(key, &claim())).unwrap() {
            Acquired::Completed(_) => assert_eq!(number % 2, 0),
            Acquired::InProgress { .. } => {
                assert_eq!(number % 2, 1);
                let value = value(b"late");
                let stored = promoted.store_result(key, lock, &value, claim().retention);
                assert_eq!(runtime.block_on(stored).unwrap(), Held::Held);
            }
            other => panic!("{key}: {other:?}"),
        }
    }
    let newest = held.iter().map(|(_, lock)| lock.fence).max().unwrap();
    assert!(runtime.block_on(acquired(&promoted, &key("new"))).lock.fence > newest);
}

#[test]
fn a_server_that_becomes_a_standby_says_so() {
    let (runtime, server) = (runtime(), Postgres::new().own().start().unwrap());
    let store = runtime.block_on(PostgresStore::open(config(&server.url()))).unwrap();
    let lock = runtime.block_on(acquired(&store, &key("held"))).lock;
    let data = server.query("SHOW data_directory").unwrap();
    server.query(&format!("COPY (SELECT 1) TO '{data}/standby.signal'")).unwrap();
    server.restart().unwrap();
    until("it is reached again", || runtime.block_on(store.get(&key("held"))).is_ok());
    let guarantees = runtime.block_on(store.guarantees()).unwrap();
    for answer in [guarantees.survives_process_crash, guarantees.survives_machine_crash, guarantees.survives_failover] {
        assert!(matches!(&answer, Answer::No(why) if why.contains("standby")), "{answer:?}");
    }
    let said = ["standby or read-only", "name the primary"];
    let (old, new) = (key("held"), key("new"));
    let refused = runtime.block_on(store.acquire_lock(&new, &claim())).unwrap_err();
    assert_error(&refused, StoreErrorKind::Unavailable, &said);
    let refused = runtime.block_on(store.store_result(&old, &lock, &value(b"v"), claim().retention)).unwrap_err();
    assert_error(&refused, StoreErrorKind::Unavailable, &said);
    let refused = runtime.block_on(store.extend_lock(&old, &lock, claim().lease)).unwrap_err();
    assert_error(&refused, StoreErrorKind::Unavailable, &said);
}
