//! Correlation ids: what links the log lines and audit entries of one request, across services.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::Request;
use axum::http::HeaderValue;
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument;

use crate::serve::new_id;

/// The header in which a correlation id comes and goes.
pub const HEADER: &str = "x-correlation-id";

/// The id of a request, among its extensions.
#[derive(Clone, Debug)]
pub struct Correlation(pub String);

/// Gives each request its id: the client's, if it sent one that may stand in a log, else a new one. It is in every
/// log line of the request, and in the response.
pub async fn correlate(mut request: Request, next: Next) -> Response {
    let sent = request.headers().get(HEADER).and_then(|id| id.to_str().ok()).filter(|id| is_fit(id));
    let id = sent.map_or_else(new, str::to_owned);
    request.extensions_mut().insert(Correlation(id.clone()));
    let span = tracing::info_span!("request", correlation_id = id);
    let mut response = next.run(request).instrument(span).await;
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(HEADER, id);
    }
    response
}

/// A new id, for a request without one or for a job.
pub fn new() -> String {
    static MADE: AtomicU64 = AtomicU64::new(0);
    format!("{}-{:x}", new_id(), MADE.fetch_add(1, Ordering::Relaxed))
}

fn is_fit(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}
