//! The test kit against itself; one program, so that it links once.

#![allow(clippy::unwrap_used)] // in what the tests share, too

mod broken;
mod explored;
mod reference;
mod small;
