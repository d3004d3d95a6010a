//! An idempotency store in Redis or Valkey, for services on many machines: one server, Sentinel or
//! Cluster.
//!
#![doc = include_str!("../README.md")]

mod clock;
mod config;
mod contended;
mod error;
mod guarantees;
mod layout;
mod link;
mod opening;
mod remembered;
mod replicas;
mod scripts;
mod store;
#[cfg(feature = "tls")]
mod tls;
mod upkeep;
mod url;
mod watch;

pub use config::{DEFAULT_CLOCK_TOLERANCE, DEFAULT_LIMIT, DEFAULT_PREFIX, Eviction, RedisStoreConfig, Start};
/// The driver: its clients can be given to [`RedisStoreConfig`].
pub use redis;
pub use store::RedisStore;
