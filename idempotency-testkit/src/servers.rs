//! Servers for tests: Redis, alone, replicated, with Sentinel and as a cluster, and Postgres.
//!
//! They are started from installed binaries, in temporary folders, on free ports of 127.0.0.1; as an
//! unprivileged user where they insist (Postgres will not run as root). When a server is dropped, it is
//! killed and its folder removed; when the process that started it is killed, a watchdog does the same.
//! Nothing is left behind, and nothing needs a runtime: all calls block.
//!
//! ```no_run
//! use idempotency_testkit::servers::{Postgres, Redis};
//!
//! let redis = Redis::new().with("appendonly", "yes").start()?;
//! println!("{}", redis.url());
//! redis.pause()?; // a server that hangs: connections stay, answers do not come
//! redis.resume()?;
//! let cut = redis.cut_off()?; // a proxy in front of it, which can be told to disturb
//! let postgres = Postgres::shared()?; // one for all tests of this program
//! println!("{}", postgres.fresh_database()?);
//! # let _ = cut;
//! # Ok::<(), idempotency_testkit::servers::ServerError>(())
//! ```
//!
//! | Where this variable is set | its URL is used, and no server started |
//! |---|---|
//! | `IDEMPOTENCY_TEST_REDIS_URL` | by [`Redis`] |
//! | `IDEMPOTENCY_TEST_REDIS_SENTINEL_URL` | by [`RedisSentinel`] |
//! | `IDEMPOTENCY_TEST_REDIS_CLUSTER_URL` | by [`RedisCluster`] |
//! | `IDEMPOTENCY_TEST_POSTGRES_URL` | by [`Postgres`] |
//!
//! A server of somebody else's is not paused, killed or restarted; that is an error.
//!
//! A missing binary is an error, and so a failed test; `cargo xtask test` installs them. `redis-test`
//! brings a driver along, and neither it nor `pgtemp` pauses a server, or kills it and starts it again on
//! the same port; so this is done here, with the standard library alone.

mod error;
mod find;
mod postgres;
mod process;
mod redis;
mod redis_groups;
mod resp;
mod wire;

pub use error::ServerError;
pub use postgres::{Postgres, StartingPostgres};
pub use redis::{Redis, StartingRedis};
pub use redis_groups::{RedisCluster, RedisReplicas, RedisSentinel};
