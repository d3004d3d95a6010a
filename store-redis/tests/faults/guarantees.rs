//! What the store says of its server is what the server is set to.

use idempotency_core::{Answer, ClockSource, FenceSource, Guarantees, IdempotencyStore, StoreErrorKind};
use idempotency_store_redis::{DEFAULT_CLOCK_TOLERANCE, Eviction, RedisStore, RedisStoreConfig};
use idempotency_testkit::servers::{Redis, RedisReplicas, RedisServer};

use crate::support::{REPLICAS, assert_error, config, durable, runtime, server, url_as};

fn of(config: RedisStoreConfig) -> Guarantees {
    runtime().block_on(async { RedisStore::open(config).await.unwrap().guarantees().await.unwrap() })
}

fn at(server: &RedisServer) -> Guarantees {
    of(config(&server.url()))
}

#[track_caller]
fn says_no(answer: &Answer, words: &[&str]) {
    let Answer::No(why) = answer else { panic!("{answer:?}") };
    assert!(words.iter().all(|word| why.contains(word)), "{words:?} are not in: {why}");
}

#[track_caller]
fn cannot_tell(answer: &Answer, words: &[&str]) {
    let Answer::CannotTell(why) = answer else { panic!("{answer:?}") };
    assert!(words.iter().all(|word| why.contains(word)), "{words:?} are not in: {why}");
}

#[test]
fn a_server_without_a_log() {
    let server = server();
    let found = at(&server);
    assert_eq!((found.store, &found.shared, found.clock), ("redis", &Answer::Yes, ClockSource::Server));
    assert_eq!(found.fences, FenceSource::Clock { tolerates: DEFAULT_CLOCK_TOLERANCE });
    says_no(&found.survives_process_crash, &["appendonly yes", server.address()]);
    says_no(&found.survives_machine_crash, &["appendonly yes"]);
    says_no(&found.survives_failover, &["with_replicas"]);
}

#[test]
fn a_server_that_writes_its_log_to_disk_once_a_second() {
    let server = Redis::new().own().with_arg("appendonly", "yes").with_arg("appendfsync", "everysec").start().unwrap();
    says_no(&at(&server).survives_process_crash, &["appendfsync is everysec", "appendfsync always"]);
    says_no(&at(&server).survives_machine_crash, &["appendfsync is everysec", "appendfsync always"]);
    server.command(&["CONFIG", "SET", "appendfsync", "no"]).unwrap();
    says_no(&at(&server).survives_machine_crash, &["appendfsync is no"]);
}

#[test]
fn a_server_that_writes_before_it_answers() {
    let server = durable();
    let found = at(&server);
    assert_eq!(found.survives_process_crash, Answer::Yes);
    assert_eq!(found.survives_machine_crash, Answer::Yes);
    says_no(&found.survives_failover, &["with_replicas"]);
    // What it found is what there is at this moment.
    server.command(&["CONFIG", "SET", "appendonly", "no"]).unwrap();
    says_no(&at(&server).survives_process_crash, &["appendonly yes"]);
}

#[test]
fn a_server_that_does_not_write_to_disk_while_it_rewrites() {
    let server = durable();
    server.command(&["CONFIG", "SET", "no-appendfsync-on-rewrite", "yes"]).unwrap();
    says_no(&at(&server).survives_machine_crash, &["no-appendfsync-on-rewrite no", server.address()]);
}

#[test]
fn a_server_that_does_not_say() {
    let (log, none) = (durable(), server());
    for server in [&log, &none] {
        let rights = ["ACL", "SETUSER", "quiet", "on", ">p", "~*", "+@all", "-config"];
        server.command(&rights).unwrap();
        server.command(&["ACL", "SETUSER", "mute", "on", ">p", "~*", "+@all", "-config", "-info"]).unwrap();
    }
    let as_user = |server, user: &str| of(config(&url_as(server, &format!("{user}:p"))));
    cannot_tell(&as_user(&log, "quiet").survives_process_crash, &["appendfsync", "CONFIG GET"]);
    cannot_tell(&as_user(&log, "quiet").survives_machine_crash, &["appendfsync", "CONFIG GET"]);
    says_no(&as_user(&none, "quiet").survives_process_crash, &["appendonly yes"]);
    cannot_tell(&as_user(&log, "mute").survives_process_crash, &["allow its user"]);
    cannot_tell(&as_user(&none, "mute").survives_process_crash, &["allow its user"]);
}

#[test]
fn a_server_that_evicts() {
    let server = durable();
    server.command(&["CONFIG", "SET", "maxmemory-policy", "volatile-ttl"]).unwrap();
    let found = of(config(&server.url()).with_eviction(Eviction::Warn));
    for answer in [&found.survives_process_crash, &found.survives_machine_crash, &found.survives_failover] {
        says_no(answer, &["maxmemory-policy is volatile-ttl", "set noeviction"]);
    }
}

#[test]
fn replicas_that_acknowledge() {
    let servers = RedisReplicas::start(1).unwrap();
    let asking_for = |replicas| config(&servers.master().url()).with_replicas(replicas, REPLICAS);
    assert_eq!(of(asking_for(1)).survives_failover, Answer::Yes);
    // No call would ever be answered: said when the store is opened.
    let error = runtime().block_on(RedisStore::open(asking_for(2))).unwrap_err();
    assert_error(&error, StoreErrorKind::Unavailable, &["has 1 replicas, and 2"]);
}
