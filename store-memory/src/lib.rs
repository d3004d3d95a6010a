//! An idempotency store in this process's memory: for tests, for single-process services that may
//! forget on restart, and as the fastest there is.
//!
//! It survives nothing: when the process ends, so do its records, and a retry after a restart runs
//! again. Nothing that is in progress, unknown or completed is evicted; a full store refuses new
//! keys.

mod expiry;
mod store;

pub use store::{DEFAULT_CAPACITY, MemoryStore};
