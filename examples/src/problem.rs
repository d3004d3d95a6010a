//! The handlers' errors as the client sees them: problem details (RFC 9457), as the layer's own are.

use std::time::Duration;

use axum::extract::rejection::JsonRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use idempotency::http::server::Finality;
use serde_json::json;

use crate::provider::gateway::GatewayError;

/// An error as a client is told it, and what the layer makes of it.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    /// Names the kind, for programs.
    kind: &'static str,
    detail: String,
    retry_after: Option<Duration>,
    /// What the layer makes of it: whether the key is free again.
    finality: Finality,
}

impl Problem {
    /// A problem of which it is sure that no money moved: the key is free at once.
    pub fn new(status: StatusCode, kind: &'static str, detail: impl Into<String>) -> Self {
        Self { status, kind, detail: detail.into(), retry_after: None, finality: Finality::Free }
    }

    /// Says when to ask again, with the same key.
    pub fn retry(self, after: Duration) -> Self {
        Self { retry_after: Some(after), ..self }
    }

    /// Says that money may have moved: the next attempt is told so.
    pub fn unknown(self) -> Self {
        Self { finality: Finality::Unknown, ..self }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self { status, kind, detail, retry_after, finality } = self;
        let problem = json!({
            "type": format!("/problems/{kind}"), "title": kind.replace('-', " "),
            "status": status.as_u16(), "detail": detail,
        });
        let mut response = (status, Extension(finality), Json(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(after) = retry_after {
            // Whole seconds, and never too early.
            headers.insert(header::RETRY_AFTER, HeaderValue::from(after.as_millis().div_ceil(1000).max(1) as u64));
        }
        response
    }
}

impl From<GatewayError> for Problem {
    fn from(error: GatewayError) -> Self {
        let detail = format!("{error}; ask again with the same key");
        match error {
            GatewayError::NothingDone(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "provider-unavailable", detail).retry(Duration::from_secs(1))
            }
            GatewayError::Barred => Self::new(StatusCode::CONFLICT, "overtaken", detail).retry(Duration::from_secs(1)),
            GatewayError::AnswerLost(_) => Self::new(StatusCode::BAD_GATEWAY, "outcome-unknown", detail).unknown(),
        }
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        Self::new(rejection.status(), "bad-body", rejection.body_text())
    }
}
