//! The scheduler, tried on services that are right, and on services that are not.

#![allow(clippy::unwrap_used)] // in what the tests share, too

mod exhaustive;
mod limits;
mod random;
mod services;
mod stores;
