//! Holds any idempotency store to the contract, and any service that uses one to every schedule.
//!
//! | You have | Begin with | It tells you |
//! |---|---|---|
//! | a store | [`conformance!`] | whether it keeps every promise: one line, a test for each |
//! | a service | [`schedule::check`] | whether it has one effect a key, whatever the schedule |
//! | records of what many processes saw | [`history`] | whether any order of their calls explains their answers |
//! | a store that never fails | [`faults`] | what your code makes of one that does |
//! | something that must survive a SIGKILL | [`processes`] | what other processes, killed at any moment, leave behind |
//! | a changed rule | [`model`] | whether the promises still hold, in every reachable state |
//!
//! With the feature `servers`: Redis and Postgres started from installed binaries, and a TCP proxy that
//! disturbs them.
//!
//! Whatever is found is told by the name of the promise that it breaks, a [`Rule`].

mod belief;
mod call;
mod reference;
mod rule;
mod seed;

pub mod conformance;
pub mod faults;
pub mod history;
pub mod load;
pub mod model;
pub mod picture;
pub mod processes;
#[cfg(feature = "servers")]
pub mod proxy;
pub mod schedule;
#[cfg(all(feature = "servers", unix))]
pub mod servers;
pub mod strategies;

/// The property-testing library whose strategies are taken and given.
pub use proptest;

pub use belief::{Belief, Window};
pub use call::{Answer, Call, Method, describe};
pub use reference::ReferenceStore;
pub use rule::{Broken, Rule};
pub use schedule::check;
