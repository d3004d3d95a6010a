//! A payment as clients ask for it, and what came of it.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use idempotency_examples::problem::Problem;
use serde::{Deserialize, Serialize};

/// The largest number that every reader of JSON reads exactly (RFC 8259, section 6).
const LARGEST_AMOUNT: u64 = (1 << 53) - 1;

/// A body, or why it is none: the service answers that as a problem, too.
pub(crate) type Body<T> = Result<Json<T>, JsonRejection>;

/// `POST /api/v1/payments`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPayment {
    /// In the currency's minor units: 1999 for 19.99 EUR, 1000 for 1,000 UGX, which has none.
    pub(crate) amount: u64,
    pub(crate) currency: String,
    /// A telephone number with its country's code, digits alone.
    pub(crate) payer: String,
}

/// What is answered, recorded and replayed.
#[derive(Debug, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub(crate) enum Answer {
    Paid {
        payment_id: String,
        #[serde(flatten)]
        of: Of,
    },
    /// An answer like any other: asking again does not ask the payer again.
    Declined {
        reason: String,
        #[serde(flatten)]
        of: Of,
    },
}

/// What was asked for.
#[derive(Debug, Serialize)]
pub(crate) struct Of {
    amount: u64,
    currency: String,
    payer: String,
}

impl NewPayment {
    pub(crate) fn check(&self) -> Result<(), Problem> {
        let Self { amount, currency, payer } = self;
        let bad = |detail: String| Err(Problem::new(StatusCode::BAD_REQUEST, "bad-body", detail));
        if !(1..=LARGEST_AMOUNT).contains(amount) {
            return bad(format!("amount must be 1 to {LARGEST_AMOUNT}, in minor units"));
        }
        if currency.len() != 3 || !currency.bytes().all(|byte| byte.is_ascii_uppercase()) {
            return bad("currency must be three letters, as UGX".into());
        }
        if !(8..=15).contains(&payer.len()) || !payer.bytes().all(|byte| byte.is_ascii_digit()) {
            return bad("payer must be a telephone number of 8 to 15 digits, as 260700000000".into());
        }
        Ok(())
    }

    pub(crate) fn paid(self, payment_id: String) -> Answer {
        Answer::Paid { payment_id, of: self.of() }
    }

    pub(crate) fn declined(self, reason: String) -> Answer {
        Answer::Declined { reason, of: self.of() }
    }

    fn of(self) -> Of {
        let Self { amount, currency, payer } = self;
        Of { amount, currency, payer }
    }
}

impl Answer {
    /// The payment's id, if there is one.
    pub(crate) fn payment_id(&self) -> Option<&str> {
        match self {
            Self::Paid { payment_id, .. } => Some(payment_id),
            Self::Declined { .. } => None,
        }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::Paid { .. } => StatusCode::CREATED,
            Self::Declined { .. } => StatusCode::PAYMENT_REQUIRED,
        };
        (status, Json(self)).into_response()
    }
}
