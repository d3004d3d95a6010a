//! Where random numbers begin, and how long tests are.

use std::time::{SystemTime, UNIX_EPOCH};

/// The variable that has a seed used again.
pub(crate) const SEED: &str = "IDEMPOTENCY_SEED";

/// The variable that has long counts used.
const SOAK: &str = "IDEMPOTENCY_SOAK";

/// The seed that the environment names, or a new one.
///
/// # Panics
/// Where what it names is no number.
pub(crate) fn from_environment() -> u64 {
    match std::env::var(SEED) {
        Ok(text) => text
            .trim()
            .parse()
            .unwrap_or_else(|_| panic!("{SEED} is `{text}`, which is no whole number from 0 to 2^64 - 1")),
        Err(_) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
        }
    }
}

/// A count, and so many times as much where long counts are wanted.
pub(crate) fn soaked(count: u32, times: u32) -> u32 {
    let soak = std::env::var_os(SOAK).is_some_and(|value| !value.is_empty() && value != "0");
    if soak { count.saturating_mul(times) } else { count }
}
