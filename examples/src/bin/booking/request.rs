//! What is asked, by whom, and what is wrong with it.

use std::time::Duration;

use axum::Json;
use axum::extract::FromRequestParts;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::http::request::Parts;
use idempotency::Attempt;
use idempotency_examples::correlation::CorrelationId;
use idempotency_examples::problem::Problem;
use serde::Deserialize;

use crate::books::By;
use crate::books::model::Opened;
use crate::payments::Force;
use crate::users::User;

/// The largest number that every reader of JSON reads exactly (RFC 8259, section 6).
const LARGEST: u64 = (1 << 53) - 1;

/// A body, or why it is none.
pub(crate) type Body<T> = Result<Json<T>, JsonRejection>;

/// `POST /api/events`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct NewEvent {
    pub(crate) event_id: String,
    pub(crate) seats: u64,
}

/// `POST /api/locks`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct NewLock {
    pub(crate) event_id: String,
    pub(crate) user_id: String,
    pub(crate) seats: u64,
    /// The layer has read it.
    #[serde(rename = "idempotencyKey")]
    _key: Option<String>,
}

/// `POST /api/bookings`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct NewBooking {
    pub(crate) seat_lock_id: String,
}

/// `POST /api/payments/intent`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct NewPayment {
    pub(crate) booking_id: String,
    pub(crate) amount: u64,
    #[serde(default)]
    pub(crate) force: Force,
    #[serde(rename = "idempotencyKey")]
    _key: Option<String>,
}

/// Who asks, in which attempt at the request's key.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) user: User,
    pub(crate) by: By,
    pub(crate) attempt: Attempt,
}

impl<S: Sync> FromRequestParts<S> for Asked {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let (user, correlation) = who(parts)?;
        let attempt = parts.extensions.get::<Attempt>().cloned().ok_or_else(|| not_set_up("the layer"))?;
        let opened = Opened { key: attempt.downstream().into(), fence: attempt.fence().get() };
        let by = By {
            actor: user.0.clone(),
            correlation: correlation.to_string(),
            attempt: Some(opened.attempt_id()),
            execution: None,
        };
        Ok(Self { user, by, attempt })
    }
}

/// An operator who asks.
#[derive(Debug)]
pub(crate) struct Operator(pub(crate) By);

impl<S: Sync> FromRequestParts<S> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let (user, correlation) = who(parts)?;
        user.must_be_operator()?;
        Ok(Self(By { actor: user.0, correlation: correlation.to_string(), attempt: None, execution: None }))
    }
}

fn who(parts: &Parts) -> Result<(User, CorrelationId), Problem> {
    let user = parts.extensions.get::<User>().ok_or_else(|| not_set_up("authentication"))?;
    let correlation = parts.extensions.get::<CorrelationId>().ok_or_else(|| not_set_up("correlation"))?;
    Ok((user.clone(), correlation.clone()))
}

fn not_set_up(what: &str) -> Problem {
    let detail = format!("the service does not have {what} before this route");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "not-set-up", detail)
}

pub(crate) fn bad_body(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "bad-body", detail)
}

pub(crate) fn check_id(field: &str, id: &str) -> Result<(), Problem> {
    let is_id =
        (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if is_id { Ok(()) } else { Err(bad_body(format!("{field} must be 1 to 64 letters, digits, - or _"))) }
}

pub(crate) fn check_count(field: &str, count: u64) -> Result<(), Problem> {
    if (1..=LARGEST).contains(&count) { Ok(()) } else { Err(bad_body(format!("{field} must be 1 to {LARGEST}"))) }
}

/// In milliseconds, as the books have it.
pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
