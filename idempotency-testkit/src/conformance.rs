//! The conformance suite: any [`IdempotencyStore`](idempotency_core::IdempotencyStore) held to the
//! contract, one test a case.
//!
//! A store's tests need a function that makes a fresh store, and one line:
//! [`conformance!`](crate::conformance!). Every store gets the same cases. What a store cannot do, it
//! [declares](Subject::lacks); the cases about that then say so, and the case
//! `what_is_declared_is_true` fails where the declaration is not.
//!
//! Each answer is held against the pure [moves](idempotency_core::moves), with its times: exactly
//! where the store is on a [`ManualClock`](idempotency_core::ManualClock), within what was measured
//! where it has a clock of its own. A failure names the promise, the call, what the store answered,
//! what the contract answers, and all that had been asked of the key before.

pub(crate) mod bench;
mod case;
mod cases;
pub(crate) mod desk;
pub(crate) mod failure;
mod list;
mod order;
pub mod sample;
mod subject;
mod words;

pub use case::Case;
pub(crate) use case::on_a_bench;
pub use failure::Failure;
pub use subject::{Capability, IntoSubject, Subject};

/// The cases, in the order of the suite.
#[must_use]
pub const fn cases() -> &'static [Case] {
    cases::ALL
}

/// Runs one case by its name, as a test of [`conformance!`](crate::conformance!) does.
///
/// # Errors
/// [`Failure`]: what the store did, and which promise that breaks; or that there is no such case.
pub fn run(case: &str, fresh: impl IntoSubject) -> Result<(), Failure> {
    match cases().iter().find(|known| known.name() == case) {
        Some(case) => case.run(fresh),
        None => Err(Failure::other(format!("there is no case `{case}`"))),
    }
}

/// Runs every case on a store of its own, and gives those that the store does not pass.
pub fn run_all<S: IntoSubject>(fresh: impl Fn() -> S) -> Vec<(&'static Case, Failure)> {
    cases().iter().filter_map(|case| Some((case, case.run(fresh()).err()?))).collect()
}

/// What a test of [`conformance!`](crate::conformance!) does.
///
/// # Panics
/// With the failure, where the store does not pass.
#[doc(hidden)]
pub fn test<S: IntoSubject>(case: &str, fresh: impl FnOnce() -> S) {
    if let Err(failure) = run(case, fresh()) {
        panic!("{failure}");
    }
}
