//! `connect` and its errors.

use idempotency::{ConnectError, connect};

async fn refusal(url: &str) -> String {
    connect(url).await.expect_err(url).to_string()
}

#[tokio::test]
async fn a_url_that_makes_no_sense_says_what_would() {
    assert_eq!(
        refusal("").await,
        "the store's URL has no scheme; write `memory:`, `sled:./folder`, `redis://host` or `postgres://host/database`"
    );
    assert_eq!(
        refusal("./folder").await,
        "the store's URL has no scheme; write `memory:`, `sled:./folder`, `redis://host` or `postgres://host/database`"
    );
    assert_eq!(
        refusal("mysql://me:secret@db").await,
        "there is no store `mysql:`; there are `memory:`, `sled:`, `redis:`, \
                `redis-sentinel:`, `redis-cluster:`, `postgres:`, `postgresql:`, `rediss:`, `rediss-sentinel:` and `rediss-cluster:`"
    );
}

/// `main() -> Result<(), Box<dyn Error>>` prints the `Debug` of what it returns.
#[tokio::test]
async fn an_error_that_main_returns_reads_as_it_is_shown() {
    for url in ["mysql://db", "./folder", "sled:./no/such/folder", "redis://127.0.0.1:1"] {
        let error: Box<dyn std::error::Error> = connect(url).await.expect_err(url).into();
        let (read, shown) = (format!("{error:?}"), error.to_string());
        assert!(read.starts_with(&shown) && !read.contains('{') && !read.contains("Store("), "{read}");
    }
    #[cfg(feature = "redis")]
    {
        let read = format!("{:?}", connect("redis://127.0.0.1:1").await.expect_err("nobody there"));
        assert!(read.contains("Redis at 127.0.0.1:1: it cannot be reached") && read.contains("refused"), "{read}");
    }
}

#[cfg(not(feature = "memory"))]
#[tokio::test]
async fn a_store_that_is_not_built_in_names_its_feature() {
    assert!(matches!(connect("memory:").await, Err(ConnectError::FeatureOff { feature: "memory", .. })));
    assert!(refusal("memory:").await.contains("turn on the feature `memory`"));
}

#[cfg(feature = "memory")]
#[tokio::test]
async fn memory_takes_a_capacity() {
    let store = connect("memory:?capacity=7").await.expect("a store");
    assert_eq!(store.stats().await.expect("stats").completed, 0);
    assert!(refusal("memory:here").await.contains("takes nothing after"));
    assert!(refusal("memory:?capacity=many").await.contains("a number of keys"));
    assert!(refusal("memory:?size=7").await.contains("has no option `size`; it has `capacity`"));
    assert!(matches!(connect("memory:?size=7").await, Err(ConnectError::UnknownOption { .. })));
}

#[cfg(feature = "sled")]
#[tokio::test]
async fn sled_opens_a_folder() {
    let parent = tempfile::tempdir().expect("a folder");
    let url = format!("sled:{}", parent.path().join("payments").display());
    let store = connect(&url).await.expect("a store");
    assert!(refusal(&url).await.contains("held by another process"), "{}", refusal(&url).await);
    drop(store);
    connect(&format!("{url}?durability=process")).await.expect("a store");
    assert!(refusal("sled:").await.contains("takes a folder"));
    assert!(refusal(&format!("{url}?durability=none")).await.contains("`power` or `process`"));
    assert!(refusal(&format!("{url}/no/such")).await.contains("does not exist"));
    assert!(matches!(connect("sled:?x=1").await, Err(ConnectError::Place { .. })));
}

#[cfg(not(feature = "sled"))]
#[tokio::test]
async fn sled_may_be_left_out() {
    assert!(matches!(connect("sled:./x").await, Err(ConnectError::FeatureOff { feature: "sled", .. })));
}

#[cfg(all(feature = "redis", unix))]
#[tokio::test]
async fn redis_opens_a_server() {
    let server = idempotency_testkit::servers::Redis::shared().expect("a server");
    let separator = if server.url().contains('?') { '&' } else { '?' };
    let store = connect(&format!("{}{separator}prefix=connect:", server.url())).await.expect("a store");
    assert_eq!(store.guarantees().await.expect("guarantees").store, "redis");
    assert!(refusal("redis://:secret@127.0.0.1:1").await.contains("cannot be reached"));
    assert!(refusal("redis://localhost?size=7").await.contains("there is no option `size`"));
    assert!(refusal("redis-sentinel://localhost").await.contains("does not name the master"));
}

#[cfg(not(feature = "redis"))]
#[tokio::test]
async fn redis_may_be_left_out() {
    assert!(matches!(connect("redis://localhost").await, Err(ConnectError::FeatureOff { feature: "redis", .. })));
}

#[cfg(all(feature = "postgres", unix))]
#[tokio::test]
async fn postgres_opens_a_database() {
    let server = idempotency_testkit::servers::Postgres::shared().expect("a server");
    let separator = if server.url().contains('?') { '&' } else { '?' };
    let store = connect(&format!("{}{separator}table=connected", server.url())).await.expect("a store");
    assert_eq!(store.guarantees().await.expect("guarantees").store, "postgres");
    assert!(refusal("postgres://me:secret@127.0.0.1:1/db").await.contains("reached"));
    assert!(refusal("postgres://localhost/db?connections=none").await.contains("number of connections"));
    for half in ["postgres:", "postgres:/db", "postgres:localhost/db"] {
        assert!(refusal(half).await.contains("does not begin with `postgres://`"), "{half}");
    }
}

#[cfg(not(feature = "postgres"))]
#[tokio::test]
async fn postgres_may_be_left_out() {
    assert!(matches!(connect("postgres://localhost").await, Err(ConnectError::FeatureOff { feature: "postgres", .. })));
}
