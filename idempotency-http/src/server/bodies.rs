//! How much of a body is held, and for how long it is waited.

use std::time::Duration;

/// How much of bodies is held in memory, and for how long they are waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) request: usize,
    pub(super) request_time: Duration,
    pub(super) response: usize,
    pub(super) response_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request: 1024 * 1024,
            request_time: Duration::from_secs(30),
            // With its headers, less than what a handle takes for a result by default.
            response: 512 * 1024,
            response_time: Duration::from_secs(5),
        }
    }
}
