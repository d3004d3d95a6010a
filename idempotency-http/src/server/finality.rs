//! Which responses are final.

use http::StatusCode;

/// What a response says of its key.
///
/// A policy tells it by the status ([`Policy::with_finality`](super::Policy::with_finality)); a handler that
/// knows better puts it among its response's extensions:
///
/// ```
/// # use axum::{Extension, body::Body, response::IntoResponse};
/// # use idempotency_http::server::Finality;
/// async fn export() -> impl IntoResponse {
///     (Extension(Finality::FactOnly), Body::from_stream(rows())) // a stream: passed on as it comes
/// }
/// # fn rows() -> futures_util::stream::Empty<Result<&'static str, std::io::Error>> { futures_util::stream::empty() }
/// ```
///
/// # By default
///
/// | Status | | Why |
/// |---|---|---|
/// | 2xx, 3xx, 4xx | final | an answer, decline included, is an answer |
/// | 401, 403 | frees the key | what the client may do can be put right, and then the same request is to be made |
/// | 408, 425, 429 | frees the key | the server has not begun, and says: come again |
/// | 409 | frees the key | a conflict with how things stand now, such as another request's lock |
/// | 5xx | unknown | the handler may have failed half-way: nobody knows |
/// | 101 | final, not kept | the connection is something else from now on |
///
/// Stripe records whatever an endpoint answered once it began, **5xx included**, and a client has to take
/// a new key after a 500. Here a 5xx is not an answer: it is an attempt of which nobody knows whether it
/// had its effect, and the handle's policy says what a retry meets (by default it runs again, and is told
/// so; [`OnUnknown::Refuse`](idempotency_core::OnUnknown::Refuse) is at most once). A service that wants
/// Stripe's rule says `with_finality(|_| Finality::Final)`. As at Stripe, what fails before it began
/// (authentication, rate limits, a concurrent request) records nothing.
///
/// A 400 or 422 of a handler is final: the same bytes would fail again, and other bytes are another
/// request, which needs a new key. A 404 is final too; a service whose clients retry until a thing is there
/// frees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Finality {
    /// The response is recorded, and a retry gets it again.
    Final,
    /// The response is not kept, but that it was given is: a retry is told so, and does not run. It is passed on
    /// as it comes. For responses with secrets, and for streams, which otherwise are
    /// [held back](super::Policy::with_response_time) until it shows that they are streams.
    FactOnly,
    /// The handler had no effect: a retry runs.
    Free,
    /// Nobody knows whether the handler had its effect: a retry meets the policy for unknown attempts.
    Unknown,
}

impl Finality {
    /// What a status says by default.
    #[must_use]
    pub const fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            100..200 => Self::FactOnly,
            401 | 403 | 408 | 409 | 425 | 429 => Self::Free,
            200..500 => Self::Final,
            _ => Self::Unknown,
        }
    }
}
