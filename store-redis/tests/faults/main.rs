//! The Redis store and servers that are killed, stopped, cut off, full, forgetful or set up wrongly:
//! real servers of this program's own, each test with its own.

#![allow(clippy::unwrap_used, clippy::expect_used)] // in what the tests share, too

mod damaged;
mod forgetful;
mod full;
mod guarantees;
mod limits;
mod listing;
mod outages;
mod refused;
mod rights;
mod sentinels;
mod slots;
mod support;
mod urls;
