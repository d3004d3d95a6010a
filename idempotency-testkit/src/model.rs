//! The moves as a model: any store driven beside them by random commands, and the moves themselves
//! explored exhaustively.
//!
//! - [`check`] sends random commands to a store, lost answers, late duplicates and clock steps
//!   included, and holds each answer against the pure [moves](idempotency_core::moves). What fails is
//!   shrunk to the fewest commands, and replayed by its seed.
//! - [`explore`] takes every step from every state that the moves can come to, within bounds, against
//!   what is true, and gives a shortest path to where a promise breaks.

mod command;
mod drawn;
mod driven;
mod explore;
mod state;

pub(crate) use driven::check_on;
pub use driven::{Config, check};
pub use explore::{Bounds, Explored, Moves, Violation, explore};
