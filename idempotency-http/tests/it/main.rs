//! The layer over real sockets; one program, so that it links once. Each choice of the crate's features runs
//! what it has the means for: `headers` needs none.

#![allow(clippy::unwrap_used)] // in what the tests share, too
// The support is mostly that of the layer's tests.
#![cfg_attr(not(feature = "server"), allow(dead_code))]

#[cfg(feature = "server")]
mod bodies;
#[cfg(feature = "client")]
mod client;
#[cfg(feature = "server")]
mod conflicts;
#[cfg(feature = "server")]
mod contract;
#[cfg(feature = "server")]
mod curl;
#[cfg(feature = "server")]
mod detached;
mod headers;
#[cfg(feature = "axum")]
mod nested;
#[cfg(feature = "server")]
mod odd_responses;
#[cfg(feature = "axum")]
mod origins;
#[cfg(feature = "server")]
mod page;
#[cfg(feature = "server")]
mod policies;
#[cfg(feature = "server")]
mod settling;
#[cfg(feature = "server")]
mod store_faults;
#[cfg(feature = "server")]
mod streams;
mod support;
#[cfg(feature = "server")]
mod table;
#[cfg(feature = "server")]
mod tenants;
