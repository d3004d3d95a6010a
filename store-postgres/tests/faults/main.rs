//! The Postgres store and servers that are killed, cut off, full, or set up wrongly: real servers of this
//! program's own.

#![allow(clippy::unwrap_used, clippy::expect_used)] // in what the tests share, too

mod late;
mod neighbours;
mod outages;
mod refused;
mod standby;
mod support;
mod transactions;
