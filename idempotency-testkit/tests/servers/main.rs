//! Servers for tests and the proxy in front of them, over real processes and sockets.

#![allow(clippy::unwrap_used)] // in what the tests share, too

mod left_behind;
mod postgres;
mod proxy;
mod redis;
mod redis_groups;
mod support;
