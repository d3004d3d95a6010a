//! An id for each request, by which it is followed through the logs of all who had to do with it.

use std::fmt;
use std::sync::Arc;

use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use idempotency::Context;
use tracing::Instrument;

/// The header that brings the id, and takes it back.
pub const CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");

const LONGEST: usize = 64;

/// By which a request is followed: 1 to 64 letters, digits, `-`, `_` and `.`, so that it is one word in every log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorrelationId(Arc<str>);

impl CorrelationId {
    /// Takes an id that a client sent, if it is well-formed.
    pub fn parse(text: &str) -> Option<Self> {
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        ((1..=LONGEST).contains(&text.len()) && text.bytes().all(is_word)).then(|| Self(text.into()))
    }

    /// Makes one that no other request has.
    pub fn random() -> Self {
        Self(format!("{:032x}", rand::random::<u128>()).into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CorrelationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Gives each request an id: the client's, where it is well-formed, or else a new one. It is in the span of every line
/// that is logged for the request, among the request's extensions, and in a header of the response.
///
/// The outermost middleware, for `axum::middleware::from_fn`: a replay has the id of its own request, not the first's.
pub async fn correlate(mut request: Request, next: Next) -> Response {
    let given = request.headers().get(CORRELATION_ID).and_then(|id| CorrelationId::parse(id.to_str().ok()?));
    let id = given.unwrap_or_else(CorrelationId::random);
    let span = tracing::info_span!("request", correlation_id = %id);
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    request.extensions_mut().insert(id.clone());
    let answer = async {
        let response = next.run(request).await;
        tracing::info!(%method, path, status = response.status().as_u16(), "answered");
        response
    };
    let mut response = answer.instrument(span).await;
    // A word is a header's value.
    if let Ok(value) = HeaderValue::try_from(id.as_str()) {
        response.headers_mut().insert(CORRELATION_ID, value);
    }
    response
}

/// Keeps the id with the record of a request's key, for `Policy::with_context`: a replay then tells that of the first.
pub fn context(request: &Parts) -> Context {
    let id = request.extensions.get::<CorrelationId>().map(CorrelationId::as_str);
    // A word of 64 characters is always taken.
    id.and_then(|id| Context::default().with_correlation_id(id).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_word_is_an_id_and_none_is_made_twice() {
        for good in ["a", "req-1_2.3", &"x".repeat(LONGEST)] {
            assert_eq!(CorrelationId::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "a b", "a\nb", "a\"b", "é", &"x".repeat(LONGEST + 1)] {
            assert_eq!(CorrelationId::parse(bad), None, "{bad:?}");
        }
        let made = CorrelationId::random();
        assert_ne!(made, CorrelationId::random());
        assert_eq!(CorrelationId::parse(made.as_str()), Some(made.clone()));
    }
}
