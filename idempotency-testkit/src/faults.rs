//! A layer that disturbs the calls to a store.
//!
//! [`Faults`] fails calls before or after their effect, delays them, hangs, answers late or panics:
//! by plan, for the next calls of a method or for all, or by chance.

mod chances;
mod fault;
mod layer;

pub use chances::Chances;
pub use fault::Fault;
pub use layer::Faults;
