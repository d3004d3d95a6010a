//! Servers for tests and the proxy in front of them, over real processes and sockets.

#![allow(clippy::unwrap_used)] // in what the tests share, too

mod proxy;
