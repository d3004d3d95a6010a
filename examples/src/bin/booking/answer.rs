//! What is answered, and how a retry's answer and its line of the audit trail differ from the original's.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use idempotency::http::server::Replay;
use idempotency_examples::correlation::CorrelationId;
use idempotency_examples::problem::Problem;
use serde::Serialize;
use serde_json::{Value, json};

use crate::books::model::{Entry, Metadata};
use crate::books::{By, Taken};
use crate::service::Service;
use crate::users::User;

/// What a request came to: the attempt that did it, and whether that was another than this request's own.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Answer {
    #[serde(flatten)]
    what: What,
    attempt_id: String,
    is_retry: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    original_attempt_id: Option<String>,
    #[serde(skip)]
    status: StatusCode,
}

#[derive(Debug, Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub(crate) enum What {
    Lock { seat_lock_id: String, event_id: String, user_id: String, seats: u64, expires_at: u64 },
    Booking { booking_id: String, seat_lock_id: String, event_id: String, seats: u64, expires_at: u64 },
    Paid { booking_id: String, status: &'static str, amount: u64, transaction_id: Option<String> },
    Declined { booking_id: String, status: &'static str, amount: u64, reason: String },
}

impl Answer {
    pub(crate) fn declined(what: What, by: By) -> Self {
        Self {
            what,
            attempt_id: by.attempt.unwrap_or_default(),
            is_retry: false,
            original_attempt_id: None,
            status: StatusCode::PAYMENT_REQUIRED,
        }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        (self.status, Json(self)).into_response()
    }
}

impl Service {
    /// The answer to a step. One that was taken by an earlier attempt, whose own answer was lost, is a retry's.
    pub(crate) async fn answer(
        &self,
        status: StatusCode,
        what: What,
        attempt_id: String,
        taken: &Taken,
        by: &By,
        retry: &'static str,
    ) -> Result<Answer, Problem> {
        let is_retry = by.attempt.as_ref() != Some(&attempt_id);
        if !taken.now && is_retry {
            let held = &taken.reservation;
            let retry = Retry {
                action: retry,
                original_attempt_id: attempt_id.clone(),
                original_correlation_id: None,
                seat_lock_id: Some(held.seat_lock_id()),
                booking_id: held.booked_by.is_some().then(|| held.booking_id()),
            };
            self.books.note(retry.entry(&by.actor, &by.correlation)).await?;
        }
        let original_attempt_id = is_retry.then(|| attempt_id.clone());
        Ok(Answer { what, attempt_id, is_retry, original_attempt_id, status })
    }
}

/// What the audit trail is to say of a request that was answered again, among its response's extensions.
#[derive(Clone, Debug)]
struct Retry {
    action: &'static str,
    original_attempt_id: String,
    original_correlation_id: Option<String>,
    seat_lock_id: Option<String>,
    booking_id: Option<String>,
}

impl Retry {
    fn entry(self, actor: &str, correlation: &str) -> Entry {
        let Self { action, original_attempt_id, original_correlation_id, seat_lock_id, booking_id } = self;
        Entry {
            at: 0,
            event_id: None,
            seat_lock_id,
            booking_id,
            actor: actor.into(),
            from_state: action.into(),
            to_state: action.into(),
            correlation_id: correlation.into(),
            action: action.into(),
            metadata: Metadata {
                is_retry: true,
                original_attempt_id: Some(original_attempt_id),
                original_correlation_id,
                ..Metadata::default()
            },
        }
    }
}

/// Marks an answer that is given again: in its body, and for [`audit_retries`]. What is recorded stays as it is.
pub(crate) fn mark_retry(action: &'static str) -> impl Fn(Replay<'_>) + Send + Sync + 'static {
    move |replay| {
        let Ok(mut body) = serde_json::from_slice::<Value>(replay.response.body()) else { return };
        let text = |name| body.get(name).and_then(Value::as_str).map(str::to_owned);
        let Some(original) = text("attemptId") else { return };
        let (seat_lock_id, booking_id) = (text("seatLockId"), text("bookingId"));
        body["isRetry"] = json!(true);
        body["originalAttemptId"] = json!(original);
        let retry = Retry {
            action,
            original_attempt_id: original,
            original_correlation_id: replay.origin.context.correlation_id().map(str::to_owned),
            seat_lock_id,
            booking_id,
        };
        *replay.response.body_mut() = Bytes::from(body.to_string());
        replay.response.extensions_mut().insert(retry);
    }
}

/// Writes the line of the audit trail of a request that was answered again: it did not come to its handler.
pub(crate) async fn audit_retries(
    State(app): State<Arc<Service>>,
    Extension(user): Extension<User>,
    Extension(correlation): Extension<CorrelationId>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = next.run(request).await;
    if let Some(retry) = response.extensions_mut().remove::<Retry>() {
        tracing::info!(original = retry.original_attempt_id, isRetry = true, "{}", retry.action);
        if let Err(error) = app.books.note(retry.entry(&user.0, correlation.as_str())).await {
            return Problem::from(error).into_response();
        }
    }
    response
}
