//! Holds any idempotency store to the contract, and any service that uses one to every schedule.

#[cfg(feature = "servers")]
pub mod proxy;
#[cfg(feature = "servers")]
pub mod servers;
