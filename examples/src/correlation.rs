//! An id for each request, by which it is followed through the logs of all who had to do with it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument;

use crate::serve::new_id;

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
        static MADE: AtomicU64 = AtomicU64::new(0);
        Self(format!("{}-{:x}", new_id(), MADE.fetch_add(1, Ordering::Relaxed)).into())
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
pub async fn correlate(mut request: Request, next: Next) -> Response {
    let given = request.headers().get(CORRELATION_ID).and_then(|id| CorrelationId::parse(id.to_str().ok()?));
    let id = given.unwrap_or_else(CorrelationId::random);
    let span = tracing::info_span!("request", correlation_id = %id);
    request.extensions_mut().insert(id.clone());
    let mut response = next.run(request).instrument(span).await;
    if let Ok(value) = HeaderValue::try_from(id.as_str()) {
        response.headers_mut().insert(CORRELATION_ID, value);
    }
    response
}
