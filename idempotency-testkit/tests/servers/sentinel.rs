//! Redis with Sentinel.

use idempotency_testkit::servers::RedisSentinel;

use crate::again::eventually;
use crate::redis::{ANSWER, get, set};

#[test]
fn a_replica_is_promoted_when_the_master_is_killed_and_the_old_one_joins_it() {
    let redis = RedisSentinel::own().unwrap();
    assert_eq!(redis.url(), format!("redis-sentinel://{}/mymaster", redis.addresses().join(",")));
    let old = redis.master().unwrap();
    assert_eq!(old.address(), redis.servers().unwrap()[0].address());
    set(old, "key", "value");
    let have_it = || redis.servers().unwrap().iter().all(|server| get(server, "key").as_deref() == Some("value"));
    eventually("all have the key", have_it);

    old.kill().unwrap();
    // It must also be told that it is one: the sentinels agree before it is.
    eventually("another is master, and takes writes", || {
        let new = redis.master().unwrap();
        new.address() != old.address() && new.command(&["SET", "since", "failover"]).is_ok()
    });
    let new = redis.master().unwrap();
    assert_eq!(get(new, "key").as_deref(), Some("value"));

    old.restart().unwrap();
    // As it becomes one, it drops its clients.
    eventually("the old master is a replica", || {
        old.command(&["GET", "since"]).is_ok_and(|reply| reply.text() == Some("failover"))
    });
    assert!(old.command(&["SET", "key", "other"]).is_err());
}

#[test]
fn the_master_is_known_while_a_sentinel_is_gone() {
    let redis = RedisSentinel::own().unwrap();
    redis.sentinels().unwrap()[0].kill().unwrap();
    redis.master().unwrap().ping(ANSWER).unwrap();
    for sentinel in redis.sentinels().unwrap() {
        let _ = sentinel.kill();
    }
    let error = redis.master_address().unwrap_err();
    assert!(error.to_string().contains(redis.addresses()[2]), "{error}");
}
