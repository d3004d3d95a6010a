//! URLs that make no sense, and what may be said of them.

use idempotency_core::StoreErrorKind;
use idempotency_store_redis::RedisStoreConfig;

use crate::support::{all_of, assert_error};

/// Each mistake, and what its error says.
const MISTAKES: &[(&str, &str)] = &[
    ("", "`redis://host`"),
    ("localhost", "`redis://host`"),
    ("alice:hunter2@localhost:6379", "`redis://host`"),
    ("http://alice:hunter2@localhost", "`http://` names no kind of Redis"),
    ("redis://", "names no host"),
    ("redis://alice:hunter2@", "names no host"),
    ("redis:///3", "names no host"),
    ("redis://alice:hunter2@localhost:port", "not that of a Redis server"),
    ("redis://alice:hunter2@localhost:66000", "not that of a Redis server"),
    ("redis://alice:hunter2@localhost/three", "not that of a Redis server"),
    ("redis://alice:hunter2@localhost/1/2", "at most a database"),
    ("redis://alice:hunter2@one,two", "`redis-cluster://…`"),
    ("redis-sentinel://alice:hunter2@one,two", "does not name the master"),
    ("redis-sentinel://alice:hunter2@one/master/1/2", "does not name the master"),
    ("redis-sentinel://alice:hunter2@/master", "names no host"),
    ("redis-sentinel://one:port/master?sentinel_password=hunter2", "not that of a Redis server"),
    ("redis-cluster://alice:hunter2@one/1", "one database only"),
    ("redis-cluster://alice:hunter2@one,two:port", "not that of a Redis server"),
    ("redis://alice:hunter2@localhost?timeout=2s", "there is no option `timeout`"),
    ("redis://alice:hunter2@localhost?limit=2", "`limit` is a whole number"),
    ("redis://alice:hunter2@localhost?limit=0s", "`limit` is a whole number"),
    ("redis://alice:hunter2@localhost?limit=-1s", "`limit` is a whole number"),
    ("redis://alice:hunter2@localhost?limit", "`limit` is a whole number"),
    ("redis://alice:hunter2@localhost?start=soon", "`start` is a whole number"),
    ("redis://alice:hunter2@localhost?eviction=maybe", "`eviction` is `refuse` or `warn`"),
    ("redis://alice:hunter2@localhost?replicas=some", "`replicas` is a number"),
    ("redis://alice:hunter2@localhost?replicas=1&replicas_within=1", "`replicas_within` is a whole number"),
    // Characters that end the part they are in.
    ("redis://alice:a?hunter2@localhost", "%3F"),
    ("redis://alice:1234?hunter2@localhost", "%3F"),
    ("redis://alice:1234?hunter2=@localhost", "%3F"),
    ("redis://alice:a/hunter2@localhost", "%2F"),
    ("redis://alice:1234/hunter2@localhost", "%2F"),
    ("redis://alice:a#hunter2@localhost", "%23"),
    ("redis://alice#hunter2:a@localhost", "%23"),
    ("redis-sentinel://alice:12/hunter2@localhost/master", "%2F"),
    ("redis-sentinel://localhost/master?sentinel_password=a&hunter2", "%26"),
    #[cfg(not(feature = "tls"))]
    ("rediss://alice:hunter2@localhost", "feature `tls`"),
];

#[test]
fn each_mistake_is_told_for_what_it_is_and_the_password_is_not_told() {
    for (url, expected) in MISTAKES {
        let error = RedisStoreConfig::from_url(url).expect_err(url);
        assert_eq!(error.operation(), "open");
        assert!(!all_of(&error).contains("hunter2"), "{url}: {}", all_of(&error));
        assert_error(&error, StoreErrorKind::Misconfigured, &[expected]);
    }
}

#[test]
fn a_password_is_shown_by_nothing() {
    for url in [
        "redis://alice:hunter2@localhost:1/3",
        "redis://:hunter2@[::1]:1",
        "redis://:hunter2%2F%3F%23%40@127.0.0.1:1",
        "redis-sentinel://alice:hunter2@127.0.0.1:1/master?sentinel_password=hunter2",
        "redis-cluster://alice:hunter2@127.0.0.1:1,127.0.0.1:2",
    ] {
        let config = RedisStoreConfig::from_url(url).expect(url);
        assert!(!format!("{config:?} {config:#?}").contains("hunter2"), "{config:?}");
        let opened = crate::support::runtime().block_on(idempotency_store_redis::RedisStore::open(config));
        let error = opened.expect_err("nobody listens there");
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
        assert!(!all_of(&error).contains("hunter2"), "{}", all_of(&error));
    }
}
