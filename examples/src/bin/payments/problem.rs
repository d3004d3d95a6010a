//! Errors as the client sees them: problem details (RFC 9457).

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use idempotency::{Error, KeyError};
use serde_json::json;

use crate::gateway::GatewayError;
use crate::orders::OrderError;
use crate::service::Failure;

#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    /// Names the kind, for programs.
    kind: &'static str,
    detail: String,
    retry_after: Option<Duration>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, kind: &'static str, detail: impl Into<String>) -> Self {
        Self { status, kind, detail: detail.into(), retry_after: None }
    }

    /// Says when to ask again, with the same key.
    fn retry(self, after: Duration) -> Self {
        Self { retry_after: Some(after), ..self }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self { status, kind, detail, retry_after } = self;
        let problem = json!({
            "type": format!("/problems/{kind}"), "title": kind.replace('-', " "),
            "status": status.as_u16(), "detail": detail,
        });
        let mut response = (status, Json(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(after) = retry_after {
            // Whole seconds, and never too early.
            headers.insert(header::RETRY_AFTER, HeaderValue::from(after.as_millis().div_ceil(1000).max(1) as u64));
        }
        response
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Idempotency(error) => error.into(),
            Failure::Provider(error) => error.into(),
            Failure::Order(error) => error.into(),
        }
    }
}

/// What the IETF's draft on the Idempotency-Key header says, and what it leaves open.
impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            // Most are done long before their lease ends: have the client ask sooner.
            Error::InProgress { retry_after, .. } => {
                let detail = "a request with this key is being processed; ask again with the same key";
                Self::new(StatusCode::CONFLICT, "in-progress", detail).retry(retry_after.min(Duration::from_secs(2)))
            }
            Error::Mismatch { .. } => {
                let detail = "this key was used for another request; a new request needs a new key";
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "key-reused", detail)
            }
            Error::OutcomeUnknown { .. } => {
                let detail = "nobody knows whether this was carried out; somebody must look before it may run again";
                Self::new(StatusCode::CONFLICT, "outcome-unknown", detail)
            }
            Error::NotReplayable { .. } => {
                let detail = "this was carried out before, but its answer cannot be shown again; ask for the order";
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "answer-not-kept", detail)
            }
            Error::Store { source, .. } => {
                tracing::error!(error = %source, "the idempotency store failed; nothing ran");
                let detail = "nothing was done; ask again with the same key";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "store-unavailable", detail).retry(Duration::from_secs(1))
            }
            other => {
                tracing::error!(error = %other, "a run failed");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "ask again with the same key")
            }
        }
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
            GatewayError::AnswerLost(_) => Self::new(StatusCode::BAD_GATEWAY, "outcome-unknown", detail),
        }
    }
}

impl From<OrderError> for Problem {
    fn from(error: OrderError) -> Self {
        let (status, kind) = match error {
            OrderError::NotFound => (StatusCode::NOT_FOUND, "order-not-found"),
            OrderError::NotPaid => (StatusCode::CONFLICT, "order-not-paid"),
            OrderError::Taken => (StatusCode::CONFLICT, "order-taken"),
            OrderError::TooMuch { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "refund-too-large"),
            OrderError::Disk(_) => (StatusCode::INTERNAL_SERVER_ERROR, "database"),
        };
        Self::new(status, kind, error.to_string())
    }
}

impl From<KeyError> for Problem {
    fn from(error: KeyError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-key", error.to_string())
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        Self::new(rejection.status(), "bad-body", rejection.body_text())
    }
}
