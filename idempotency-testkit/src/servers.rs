//! Redis and Postgres servers for tests, started from installed binaries.
//!
//! | Kind | Started by | Named instead by |
//! |---|---|---|
//! | one Redis | [`Redis`] | `IDEMPOTENCY_TEST_REDIS_URL` |
//! | a Redis with replicas | [`RedisReplicas`] | – |
//! | Redis with Sentinel | [`RedisSentinel`] | `IDEMPOTENCY_TEST_REDIS_SENTINEL_URL` |
//! | a Redis Cluster | [`RedisCluster`] | `IDEMPOTENCY_TEST_REDIS_CLUSTER_URL` |
//! | Postgres | [`Postgres`] | `IDEMPOTENCY_TEST_POSTGRES_URL` |
//! | a standby of a Postgres | [`Postgres::standby_of`] | – |
//! | pgbouncer before a Postgres | [`PgBouncer`] | – |
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use idempotency_testkit::servers::{Redis, ServerError};
//!
//! # fn main() -> Result<(), ServerError> {
//! let redis = Redis::new().with_arg("appendonly", "yes").start()?;
//! redis.command(&["SET", "key", "value"])?;
//! redis.pause()?;
//! assert!(redis.ping(Duration::from_millis(200)).is_err());
//! redis.resume()?;
//! redis.kill()?;
//! redis.restart()?; // same port, same data
//! # Ok(())
//! # }
//! ```
//!
//! Everything here blocks the thread that calls it, and needs no runtime. A server listens on a free
//! port of 127.0.0.1, keeps its files in a temporary folder, and is ready when the function that
//! started it returns: it has answered. Where one can be **paused**, **killed** and **restarted**,
//! its path can also be **cut off**, by a [`Proxy`](crate::proxy::Proxy) before it: see
//! [`RedisServer::url_through`].
//!
//! # What is left behind
//!
//! Nothing: a handle that is dropped ends its server at once and removes its folder, also in a panic.
//! When the process ends otherwise, even by SIGKILL, a small `sh` that waits for that does the same
//! a moment later. (Linux's `PR_SET_PDEATHSIG` would not do: it is sent when the *thread* that
//! started the server ends, which in a test is long before the process does; and it removes no
//! folder.) What is `shared()` lives until the process ends.
//!
//! # Servers that run already
//!
//! A URL in one of the variables above is used instead of starting a server: with an address that
//! does not answer, starting fails. Such a server is foreign, and never touched: pausing, killing or
//! restarting it is [`ServerError::Foreign`]. A test that must do these things asks for a server of
//! its own: [`Redis::own`], [`Postgres::own`]. A password in such a URL is given out by `url()`
//! alone, and shows in no error and no `Debug`.
//!
//! # Why this is written by hand
//!
//! `redis-test` brings a driver, and can neither pause nor restart a server; `pgtemp` panics instead
//! of returning errors, needs `sudo` to leave root, and cannot pause or restart either. Neither ends
//! its servers when the test is killed.

mod cluster;
mod error;
mod find;
mod folder;
mod foreign;
mod handshake;
mod pgbouncer;
mod postgres;
mod process;
mod redis;
mod replicas;
mod resp;
mod sentinel;
mod server;
mod user;
mod wait;
mod watchdog;

pub use self::cluster::RedisCluster;
pub use self::error::ServerError;
pub use self::pgbouncer::PgBouncer;
pub use self::postgres::{Postgres, PostgresServer};
pub use self::redis::{Redis, RedisServer};
pub use self::replicas::RedisReplicas;
pub use self::resp::Reply;
pub use self::sentinel::RedisSentinel;
