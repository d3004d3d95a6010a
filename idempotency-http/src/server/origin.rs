//! Where a response came from, for whoever logs it.

use http::Response;
use idempotency_core::{Attempt, Key};

use crate::names::Status;
use crate::problem::ProblemKind;

/// Where a response came from: among the extensions of every response that has passed the layer, for a middleware
/// around it that logs, counts or audits.
///
/// Requests that the policy is not for ([`Policy::with_methods`](super::Policy::with_methods)) have none.
///
/// A [`Key`]'s text has no control characters, and so cannot forge a line of a log; but it is the client's own, who may
/// have put a secret into it: [`Key::downstream`] names it without showing it.
///
/// **A client that hangs up has no response**, and what is around the layer sees none. Whatever must be noted of every
/// run belongs *inside* the layer, where it goes on with the handler: there the [`Attempt`] is among the *request's*
/// extensions.
///
/// ```
/// use http::Response;
/// use idempotency_http::server::Origin;
///
/// fn line<B>(response: &Response<B>) -> String {
///     match response.extensions().get::<Origin>() {
///         Some(Origin::Executed { attempt, status, .. }) => format!("ran {}: {}", attempt.key(), status.as_str()),
///         Some(Origin::Replayed { key, first, .. }) => format!("{key} again, as attempt {} gave it", first.attempt),
///         Some(Origin::NotRun { problem, .. }) => format!("not run: {}", problem.name()),
///         Some(_) | None => "without a key".to_owned(),
///     }
/// }
/// # assert_eq!(line(&Response::new(())), "without a key");
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Origin {
    /// The handler ran now, for this request.
    #[non_exhaustive]
    Executed {
        /// The run: its key, number and fence, and the attempt before it, if that is unknown.
        attempt: Attempt,
        /// What became of the key.
        status: Status,
    },
    /// The handler ran before; this is its response.
    #[non_exhaustive]
    Replayed {
        /// The request's key.
        key: Key,
        /// Which attempt gave it first, when, and [where that came from](super::Policy::with_context).
        first: idempotency_core::Origin,
    },
    /// No handler ran for this request: the answer is the layer's own.
    #[non_exhaustive]
    NotRun {
        /// The request's key; `None` where it has none, or was not read so far.
        key: Option<Key>,
        /// Why.
        problem: ProblemKind,
    },
    /// The request had no key, and needed none: the handler ran without protection.
    NoKey,
}

/// Says of a response where it came from.
pub(super) fn tell<B>(mut response: Response<B>, origin: Origin) -> Response<B> {
    response.extensions_mut().insert(origin);
    response
}
