//! A service as a process, and the crowd that asks it.

mod crowd;
mod service;

pub(crate) use crowd::{Crowd, Wish};
pub(crate) use service::{Program, Service};
