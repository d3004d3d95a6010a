//! Waiting for a condition.

use std::thread;
use std::time::{Duration, Instant};

/// How often a condition is looked at.
const EVERY: Duration = Duration::from_millis(10);

/// How long a server may take to do what it surely will, on a machine under load.
pub(super) const LIMIT: Duration = Duration::from_secs(60);

/// Asks until there is something, or until `limit` has passed; then gives what the last answer was.
pub(super) fn until<T, E>(limit: Duration, mut ask: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    let begun = Instant::now();
    loop {
        match ask() {
            Err(_) if begun.elapsed() < limit => thread::sleep(EVERY),
            answer => return answer,
        }
    }
}
