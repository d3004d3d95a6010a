//! An idempotency store in Postgres, and execution in the caller's own transaction.
//!
#![doc = include_str!("../README.md")]

mod at_hand;
mod carry;
mod config;
mod error;
mod guarantees;
mod lane;
mod migrations;
mod rights;
mod row;
mod sql;
mod store;
mod transaction;
mod upkeep;
mod watch;

pub use config::{DEFAULT_CONNECTIONS, DEFAULT_LIMIT, Names, PostgresStoreConfig};
pub use migrations::migrations;
/// The driver: its pools can be given to [`PostgresStoreConfig`].
pub use sqlx;
pub use store::PostgresStore;
pub use transaction::{Transaction, Transactions};

/// What the guide shows must compile.
#[cfg(doctest)]
#[doc = include_str!("../../docs/guide/in-your-transaction.md")]
struct Guide;
