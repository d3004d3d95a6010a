//! What providers send.

use axum::http::StatusCode;
use idempotency::Attributes;
use idempotency_examples::problem::Problem;
use serde::{Deserialize, Serialize};

/// The largest number that every reader of JSON reads exactly (RFC 8259, section 6).
const LARGEST_AMOUNT: u64 = (1 << 53) - 1;

/// How keys and ids are written.
pub(crate) const FORMAT: &str = "a UUID, or 1 to 128 letters, digits, `-`, `_`, `.`, `:` or `=`";

/// Whether a key or id is a UUID or alphanumeric: no spaces, nothing that a log or a query could take for its own.
pub(crate) fn is_id(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:=".contains(&byte))
}

/// A webhook's body. What else it has is not looked at, but is part of the request.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Event {
    /// The provider's id for it, the same however often it is sent.
    pub(crate) id: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) order: Option<About>,
}

/// The order that an event is about, and the money.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct About {
    pub(crate) id: String,
    /// In minor units: 1999 for 19.99 EUR.
    pub(crate) amount: u64,
    pub(crate) currency: String,
}

/// An event, and who surely sent it.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) source: String,
    pub(crate) event: Event,
    /// What is kept with the record.
    pub(crate) attributes: Attributes,
}

impl Event {
    /// Reads and checks a body.
    pub(crate) fn read(body: &[u8]) -> Result<Self, Problem> {
        let event: Self = serde_json::from_slice(body).map_err(|error| bad_body(error.to_string()))?;
        let order = event.order.as_ref().map(|order| &order.id);
        for (field, id) in [("id", Some(&event.id)), ("type", Some(&event.kind)), ("order.id", order)] {
            if id.is_some_and(|id| !is_id(id)) {
                return Err(bad_body(format!("{field} must be {FORMAT}")));
            }
        }
        if let Some(About { amount, currency, .. }) = &event.order {
            if !(1..=LARGEST_AMOUNT).contains(amount) {
                return Err(bad_body(format!("order.amount must be 1 to {LARGEST_AMOUNT}, in minor units")));
            }
            if currency.len() != 3 || !currency.bytes().all(|byte| byte.is_ascii_uppercase()) {
                return Err(bad_body("order.currency must be three letters, as EUR"));
            }
        }
        Ok(event)
    }
}

impl Sent {
    pub(crate) fn by(source: &str, event: Event) -> Result<Self, Problem> {
        let order = event.order.as_ref().map(|order| ("order", order.id.as_str()));
        let attributes = [("type", event.kind.as_str()), ("source", source)]
            .into_iter()
            .chain(order)
            .try_fold(Attributes::default(), |all, (name, value)| all.with(name, value))
            .map_err(|error| bad_body(error.to_string()))?;
        Ok(Self { source: source.into(), event, attributes })
    }
}

pub(crate) fn bad_body(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "bad-body", detail)
}
