//! Wrappers that hold for every store: a store in, a store out.

mod limit;
#[cfg(feature = "near-cache")]
mod near_cache;
mod retry;

pub use limit::Limit;
#[cfg(feature = "near-cache")]
pub use near_cache::NearCache;
pub use retry::Retry;
