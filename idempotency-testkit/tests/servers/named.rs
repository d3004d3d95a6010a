//! Servers that the environment names, and binaries that are missing.

use idempotency_testkit::proxy::Proxy;
use idempotency_testkit::servers::{Postgres, Redis, RedisCluster, RedisSentinel, ServerError};

use crate::again::{again, role};
use crate::redis::{ANSWER, get, set};

fn is_foreign<T>(outcome: &Result<T, ServerError>, variable: &str) -> bool {
    matches!(outcome, Err(ServerError::Foreign { variable: named, .. }) if *named == variable)
}

/// Runs the test again with the variable set, and expects it to pass there.
fn passes_with(test: &str, variable: &str, url: &str) {
    let output = again(test, "user").env(variable, url).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
fn a_redis_that_is_named_is_used_and_not_touched() {
    const VARIABLE: &str = "IDEMPOTENCY_TEST_REDIS_URL";
    if role().is_some() {
        let redis = Redis::new().start().unwrap();
        assert_eq!(redis.url(), std::env::var(VARIABLE).unwrap());
        set(&redis, "key", "from the child");
        for outcome in [redis.pause(), redis.resume(), redis.kill(), redis.restart()] {
            assert!(is_foreign(&outcome, VARIABLE), "{outcome:?}");
            assert!(outcome.unwrap_err().to_string().contains(VARIABLE));
        }
        let proxy = Proxy::start(redis.address()).unwrap();
        assert!(redis.url_through(&proxy).ends_with(&format!("user:secret@{}/1", proxy.address())));
        let error = redis.command(&["NO-SUCH-COMMAND"]).unwrap_err();
        assert!(!format!("{redis:?} {error} {error:?}").contains("secret"));
        assert_ne!(Redis::new().own().start().unwrap().address(), redis.address());
        return;
    }
    let redis = Redis::new().own().start().unwrap();
    redis.command(&["ACL", "SETUSER", "user", "on", ">secret", "~*", "+@all"]).unwrap();
    let test = "named::a_redis_that_is_named_is_used_and_not_touched";
    passes_with(test, VARIABLE, &format!("redis://user:secret@{}/1", redis.address()));
    redis.ping(ANSWER).unwrap();
    assert_eq!(get(&redis, "key"), None, "it went to database 1");
    redis.command(&["SWAPDB", "0", "1"]).unwrap();
    assert_eq!(get(&redis, "key").as_deref(), Some("from the child"));
}

#[test]
fn a_postgres_that_is_named_is_used_and_not_touched() {
    const VARIABLE: &str = "IDEMPOTENCY_TEST_POSTGRES_URL";
    if role().is_some() {
        let postgres = Postgres::new().start().unwrap();
        assert_eq!(postgres.url(), std::env::var(VARIABLE).unwrap());
        assert!(postgres.fresh_database().unwrap().contains("postgres:secret@"));
        postgres.ping(ANSWER).unwrap();
        for outcome in [postgres.pause(), postgres.resume(), postgres.kill(), postgres.restart()] {
            assert!(is_foreign(&outcome, VARIABLE), "{outcome:?}");
        }
        let error = postgres.query("SELECT nothing").unwrap_err();
        assert!(!format!("{postgres:?} {error} {error:?}").contains("secret"));
        return;
    }
    let postgres = Postgres::shared().unwrap();
    let test = "named::a_postgres_that_is_named_is_used_and_not_touched";
    passes_with(test, VARIABLE, &postgres.url().replace("postgres@", "postgres:secret@"));
    postgres.ping(ANSWER).unwrap();
}

#[test]
fn a_cluster_and_sentinels_that_are_named_are_used_and_not_touched() {
    const CLUSTER: &str = "IDEMPOTENCY_TEST_REDIS_CLUSTER_URL";
    const SENTINEL: &str = "IDEMPOTENCY_TEST_REDIS_SENTINEL_URL";
    let test = "named::a_cluster_and_sentinels_that_are_named_are_used_and_not_touched";
    if role().is_some() {
        if let Ok(url) = std::env::var(CLUSTER) {
            let cluster = RedisCluster::start().unwrap();
            assert_eq!(cluster.url(), url);
            assert!(is_foreign(&cluster.nodes(), CLUSTER));
        } else {
            let error = RedisSentinel::start().unwrap_err().to_string();
            assert!(error.contains("SENTINEL GET-MASTER-ADDR-BY-NAME main"), "{error}");
        }
        return;
    }
    let redis = Redis::shared().unwrap();
    passes_with(test, CLUSTER, &format!("redis-cluster://{},{}", redis.address(), redis.address()));
    passes_with(test, SENTINEL, &format!("redis-sentinel://{}/main", redis.address()));
}

#[test]
fn a_named_server_that_does_not_answer_is_an_error_without_its_password() {
    const VARIABLE: &str = "IDEMPOTENCY_TEST_REDIS_URL";
    if role().is_some() {
        let error = Redis::new().start().unwrap_err();
        let said = format!("{error} {error:?}");
        assert!(said.contains("127.0.0.1:1") && said.contains(VARIABLE) && !said.contains("secret"), "{said}");
        return;
    }
    let test = "named::a_named_server_that_does_not_answer_is_an_error_without_its_password";
    // Nobody listens on port 1.
    passes_with(test, VARIABLE, "redis://user:secret@127.0.0.1:1");
}

#[test]
fn a_missing_binary_is_named_with_its_packages() {
    let nowhere = tempfile::tempdir().unwrap();
    let redis = Redis::new().own().with_path(nowhere.path()).start().unwrap_err();
    let postgres = Postgres::new().own().with_path(nowhere.path()).start().unwrap_err();
    for (error, words) in [
        (redis, ["redis-server", "brew install redis", "IDEMPOTENCY_TEST_REDIS_URL"]),
        (postgres, ["postgres was not found", "brew install postgresql@16", "IDEMPOTENCY_TEST_POSTGRES_URL"]),
    ] {
        assert!(matches!(error, ServerError::NotFound { .. }));
        let said = error.to_string();
        assert!(words.iter().all(|word| said.contains(word)) && said.contains("cargo xtask test"), "{said}");
    }
}
