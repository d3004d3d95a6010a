//! The way to the servers: connections that are replaced when they break, calls that travel together,
//! and which server has which key.

mod batch;
mod channel;
mod failure;
mod node;
mod sentinel;
mod servers;
mod slots;

pub(crate) use batch::{Completing, Ended, Job};
pub(crate) use channel::{Channel, Purpose, Way, history_in};
pub(crate) use failure::Failure;
pub(crate) use node::{Node, number};
pub(crate) use sentinel::Sentinels;
pub(crate) use servers::{Place, Servers};
pub(crate) use slots::slot;

use std::time::Duration;

/// What holds for every connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// How long one call may take, connecting included.
    pub(crate) limit: Duration,
    /// Keys may be on several servers.
    pub(crate) cluster: bool,
    /// How many replicas must have a write before it counts, and how long to wait for them.
    pub(crate) replicas: Option<Acknowledged>,
}

/// How many replicas must have a write before it counts, and how long to wait for them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Acknowledged {
    pub(crate) by: u32,
    pub(crate) within: Duration,
}
