//! A durable idempotency store in a sled database, for one process.
//!
//! What it acknowledges survives the kill of the process and, by default, a power cut: every answer
//! waits until a flush and a sync of the data file that began after its write have completed. One
//! thread flushes for all who wait, so that many tasks share one sync. A second process that opens
//! the folder is refused.
//!
//! A fault below (a full disk, an input/output error, a panic inside sled) closes the store: every
//! call then gets an error that says so, and what was acknowledged before is there when the store is
//! opened again.

#[cfg(feature = "bench")]
mod bare;
mod config;
mod error;
mod fences;
mod index;
mod journal;
mod layout;
mod records;
mod store;
mod upkeep;

#[cfg(feature = "bench")]
#[doc(hidden)]
pub use bare::Bare;
pub use config::SledStoreConfig;
pub use journal::Durability;
pub use store::SledStore;
