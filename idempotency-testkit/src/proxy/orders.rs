//! What a proxy was told to do, and what it counts.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::watch;

use super::{Counts, Direction};

/// The orders in force.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Orders {
    pub(super) to_server: Way,
    pub(super) to_client: Way,
    /// How often all connections were cut.
    pub(super) cuts: u64,
    /// Whether new connections are reset.
    pub(super) refuse: bool,
}

/// The orders for one direction.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Way {
    pub(super) flow: Flow,
    /// How often it was ended in all connections.
    pub(super) closed: u64,
    /// How many bytes still pass before everything is cut.
    pub(super) left: Option<u64>,
}

/// What happens to a chunk of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Flow {
    #[default]
    Pass,
    Delay(Duration),
    Hold,
}

impl Orders {
    /// Changes one direction, or both.
    pub(super) fn each(&mut self, direction: Direction, change: impl Fn(&mut Way)) {
        if direction != Direction::ToClient {
            change(&mut self.to_server);
        }
        if direction != Direction::ToServer {
            change(&mut self.to_client);
        }
    }
}

/// What the proxy and all of its connections share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) server: Vec<SocketAddr>,
    pub(super) orders: watch::Sender<Orders>,
    pub(super) connections: AtomicU64,
    pub(super) open: AtomicU64,
    pub(super) to_server: AtomicU64,
    pub(super) to_client: AtomicU64,
}

impl Shared {
    pub(super) fn new(server: Vec<SocketAddr>) -> Self {
        Self {
            server,
            orders: watch::Sender::new(Orders::default()),
            connections: AtomicU64::new(0),
            open: AtomicU64::new(0),
            to_server: AtomicU64::new(0),
            to_client: AtomicU64::new(0),
        }
    }

    pub(super) fn order(&self, change: impl FnOnce(&mut Orders)) {
        self.orders.send_modify(change);
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            connections: self.connections.load(Relaxed),
            open: self.open.load(Relaxed),
            to_server: self.to_server.load(Relaxed),
            to_client: self.to_client.load(Relaxed),
        }
    }
}
