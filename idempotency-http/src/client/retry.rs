//! When a request is sent again, and when no more.

use std::time::Duration;

use http::StatusCode;
use rand::RngExt;

/// How often and for how long a request is sent again.
///
/// By default up to 8 times within a minute, each time waiting up to 30 seconds for the answer's head; with
/// pauses from 100 milliseconds to 5 seconds where the server does not say when; for 409, 425, 429, 502,
/// 503 and 504.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "it does nothing until a middleware has it"]
pub struct Retry {
    pub(super) attempts: u32,
    pub(super) total: Duration,
    pub(super) attempt: Duration,
    first_pause: Duration,
    longest_pause: Duration,
    pub(super) statuses: Vec<StatusCode>,
}

/// The most that is added at random to what the server says, so that its clients do not come all at once.
const LONGEST_SPREAD: Duration = Duration::from_secs(1);

impl Default for Retry {
    fn default() -> Self {
        Self::new()
    }
}

impl Retry {
    /// The defaults.
    pub fn new() -> Self {
        Self {
            attempts: 8,
            total: Duration::from_secs(60),
            attempt: Duration::from_secs(30),
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(5),
            statuses: vec![
                StatusCode::CONFLICT,
                StatusCode::TOO_EARLY,
                StatusCode::TOO_MANY_REQUESTS,
                StatusCode::BAD_GATEWAY,
                StatusCode::SERVICE_UNAVAILABLE,
                StatusCode::GATEWAY_TIMEOUT,
            ],
        }
    }

    /// Sends at most so often, the first time included; at least once. 1 turns sending again off.
    pub fn with_attempts(self, attempts: u32) -> Self {
        Self { attempts: attempts.max(1), ..self }
    }

    /// Takes at most so long in all, pauses included. Where a pause would not fit in it, there is none:
    /// the request is given up at once.
    pub fn with_total_time(self, total: Duration) -> Self {
        Self { total, ..self }
    }

    /// Waits so long for each answer. A server that lets duplicates wait for the first to end may need
    /// more than the default.
    pub fn with_attempt_time(self, attempt: Duration) -> Self {
        Self { attempt, ..self }
    }

    /// Pauses for so long the first time, and each time for twice as long as the last, up to `longest`;
    /// each pause is between a half and the whole of that, at random.
    pub fn with_pauses(self, first: Duration, longest: Duration) -> Self {
        Self { first_pause: first, longest_pause: longest.max(first), ..self }
    }

    /// Sends again for these statuses alone. Whatever is chosen, an answer that says itself that it is
    /// recorded is final; 409 is asked again only with a key, 425 and 429 only with `Retry-After`.
    pub fn with_statuses(self, statuses: impl IntoIterator<Item = StatusCode>) -> Self {
        Self { statuses: statuses.into_iter().collect(), ..self }
    }

    /// How long to pause after the attempt of this number, from 1.
    pub(super) fn pause(&self, attempt: u32, told: Option<Duration>) -> Duration {
        match told {
            Some(told) => {
                let told = told.max(self.first_pause);
                told.saturating_add(random_up_to((told / 10).min(LONGEST_SPREAD)))
            }
            None => {
                let doubled = 1_u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
                let whole = self.first_pause.saturating_mul(doubled).min(self.longest_pause);
                whole / 2 + random_up_to(whole / 2)
            }
        }
    }
}

fn random_up_to(most: Duration) -> Duration {
    let nanos = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(rand::rng().random_range(0..=nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_are_spread() {
        let retry = Retry::new().with_pauses(Duration::from_millis(100), Duration::from_secs(1));
        for (attempt, whole) in [(1, 100), (2, 200), (3, 400), (4, 800), (5, 1000), (40, 1000), (u32::MAX, 1000)] {
            let pauses: Vec<Duration> = (0..200).map(|_| retry.pause(attempt, None)).collect();
            let (least, most) = (pauses.iter().min().unwrap(), pauses.iter().max().unwrap());
            assert!(*least >= Duration::from_millis(whole / 2) && *most <= Duration::from_millis(whole), "{attempt}");
            assert!(*most - *least > Duration::from_millis(whole / 8), "{attempt}: all alike");
        }
    }

    #[test]
    fn what_the_server_says_is_never_undercut() {
        let retry = Retry::new();
        for seconds in [1, 7, 3600] {
            let told = Duration::from_secs(seconds);
            let pauses: Vec<Duration> = (0..200).map(|_| retry.pause(3, Some(told))).collect();
            assert!(pauses.iter().all(|pause| *pause >= told && *pause <= told + told.min(LONGEST_SPREAD)));
        }
        assert!(retry.pause(1, Some(Duration::ZERO)) >= Duration::from_millis(100));
        assert_eq!(retry.pause(1, Some(Duration::MAX)), Duration::MAX);
    }
}
