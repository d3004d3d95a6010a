//! The layer over real sockets; one program, so that it links once.

#![allow(clippy::unwrap_used)] // in what the tests share, too

mod bodies;
#[cfg(feature = "client")]
mod client;
mod conflicts;
mod contract;
mod curl;
mod detached;
mod headers;
#[cfg(feature = "axum")]
mod nested;
mod odd_responses;
mod page;
mod policies;
mod store_faults;
mod streams;
mod support;
mod table;
mod tenants;
