//! Servers for tests and the proxy in front of them, over real processes and sockets.

#![allow(clippy::unwrap_used)] // in what the tests share, too

mod proxy;

#[cfg(unix)]
mod again;
#[cfg(unix)]
mod cluster;
#[cfg(unix)]
mod left;
#[cfg(unix)]
mod named;
#[cfg(unix)]
mod pgbouncer;
#[cfg(unix)]
mod postgres;
#[cfg(unix)]
mod redis;
#[cfg(unix)]
mod sentinel;
