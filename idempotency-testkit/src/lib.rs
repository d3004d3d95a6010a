//! Holds any idempotency store to the contract, and any service that uses one to every schedule.

mod belief;
mod call;
mod reference;
mod rule;
mod seed;

pub mod conformance;
pub mod faults;
pub mod history;
pub mod model;
pub mod picture;
#[cfg(feature = "servers")]
pub mod proxy;
pub mod schedule;
#[cfg(feature = "servers")]
pub mod servers;
pub mod strategies;

pub use belief::{Belief, Window};
pub use call::{Answer, Call, Method, describe};
pub use reference::ReferenceStore;
pub use rule::{Broken, Rule};
