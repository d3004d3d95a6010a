//! A run without a response, as a problem.

use std::time::Duration;

use idempotency_core::{Error, Idempotency, Status};

use crate::problem::{Problem, ProblemKind};

/// When a passing failure of the store may be over.
const STORE_RETRY: Duration = Duration::from_secs(1);

/// What a client is told of an error.
pub(super) async fn problem_of(idempotency: &Idempotency, error: &Error) -> Problem {
    match error {
        Error::InProgress { key, retry_after, .. } => {
            // One more look, on this path alone; where it fails, the client is told the shortest time.
            let (age, remaining) = match idempotency.status(key).await {
                Ok(Status::InProgress { age, remaining, .. }) => (age, remaining),
                _ => (Duration::ZERO, *retry_after),
            };
            Problem::new(ProblemKind::InProgress).with_retry_after(retry_after_of(age, remaining))
        }
        Error::Mismatch { .. } => Problem::new(ProblemKind::KeyReused),
        Error::OutcomeUnknown { .. } => Problem::new(ProblemKind::OutcomeUnknown),
        Error::NotReplayable { why, .. } => {
            tracing::debug!(%why, "a response cannot be replayed");
            Problem::new(ProblemKind::AnswerNotKept)
        }
        Error::Store { source, .. } => {
            tracing::error!(error = %source, "the store failed; nothing ran");
            let problem = Problem::new(ProblemKind::StoreUnavailable);
            if source.is_passing() { problem.with_retry_after(STORE_RETRY) } else { problem }
        }
        // Never `Shutdown`: that is for who waits for a run in another task. This one is polled by its request,
        // and ends with it.
        other => {
            tracing::error!(error = %other, "a request cannot be run");
            Problem::new(ProblemKind::Misconfigured)
        }
    }
}

/// A key that is in progress by the very request that asks for it, which would be so for ever.
pub(super) fn one_too_many() -> Problem {
    let detail = "a layer within another one, over the same store: put one layer on a route";
    tracing::error!("a request cannot be run: {detail}");
    Problem::new(ProblemKind::Misconfigured).with_detail(detail)
}

/// When to ask again for a run of this age: in a second at first, later in half as long as it has taken,
/// and not after its lease, by when it is done, renewed or given up; but never in less than a second.
fn retry_after_of(age: Duration, remaining: Duration) -> Duration {
    (age / 2).min(remaining).max(Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_second_at_least_grows_and_ends_with_the_lease() {
        let millis = Duration::from_millis;
        let of = |age, remaining| retry_after_of(millis(age), millis(remaining)).as_secs();
        assert_eq!([0, 1_000, 3_999, 4_000, 9_000, 40_000].map(|age| of(age, 30_000)), [1, 1, 1, 2, 4, 20]);
        assert_eq!([29_999, 2_500, 1_000, 999, 0].map(|left| of(90_000, left)), [29, 2, 1, 1, 1]);
    }
}
