//! Run an operation once a key.
pub use idempotency_core::*;
