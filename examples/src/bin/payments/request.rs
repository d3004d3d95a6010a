//! What clients and providers send, and what is wrong with it.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use idempotency_examples::problem::Problem;

/// The largest number that every reader of JSON reads exactly (RFC 8259, section 6).
const LARGEST_AMOUNT: u64 = (1 << 53) - 1;

/// A body, or why it is none: the service answers that as a problem, too.
pub(crate) type Body<T> = Result<Json<T>, JsonRejection>;

/// `POST /payments`
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPayment {
    pub(crate) order_id: String,
    /// In minor units: 1999 for 19.99 EUR.
    pub(crate) amount: u64,
    pub(crate) currency: String,
}

/// `POST /orders/{order}/refunds`
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewRefund {
    pub(crate) refund_id: String,
    pub(crate) amount: u64,
}

/// `POST /callbacks/{provider}`
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Callback {
    pub(crate) transaction_id: String,
}

impl NewPayment {
    pub(crate) fn check(&self) -> Result<(), Problem> {
        check_id("order_id", &self.order_id)?;
        check_amount(self.amount)?;
        let is_code = self.currency.len() == 3 && self.currency.bytes().all(|byte| byte.is_ascii_uppercase());
        if is_code { Ok(()) } else { Err(bad_body("currency must be three letters, as EUR")) }
    }
}

impl NewRefund {
    pub(crate) fn check(&self) -> Result<(), Problem> {
        check_id("refund_id", &self.refund_id)?;
        check_amount(self.amount)
    }
}

impl Callback {
    pub(crate) fn check(&self) -> Result<(), Problem> {
        check_id("transaction_id", &self.transaction_id)
    }
}

pub(crate) fn bad_body(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "bad-body", detail)
}

fn check_id(field: &str, id: &str) -> Result<(), Problem> {
    let is_id =
        (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if is_id { Ok(()) } else { Err(bad_body(format!("{field} must be 1 to 64 letters, digits, - or _"))) }
}

fn check_amount(amount: u64) -> Result<(), Problem> {
    if (1..=LARGEST_AMOUNT).contains(&amount) {
        Ok(())
    } else {
        Err(bad_body(format!("amount must be 1 to {LARGEST_AMOUNT}, in minor units")))
    }
}
