//! What is sold, and what a client asks for.

use axum::http::StatusCode;
use idempotency_examples::problem::Problem;
use serde::{Deserialize, Serialize};

/// Something for sale.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Variant {
    pub(crate) id: &'static str,
    pub(crate) name: &'static str,
    /// Of one, in minor units: 1499 is 14.99 EUR.
    pub(crate) price: u64,
}

pub(crate) const CURRENCY: &str = "EUR";

/// The last one costs more than the provider takes from a card.
pub(crate) const VARIANTS: [Variant; 3] = [
    Variant { id: "test", name: "Notebook", price: 1_499 },
    Variant { id: "variant-123", name: "Ink bottle", price: 1_499 },
    Variant { id: "gold-pen", name: "Gold pen", price: 1_200_000 },
];

const MOST_AT_ONCE: u32 = 100;

/// `POST /api/checkout/create-order`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Cart {
    pub(crate) variant_id: String,
    pub(crate) quantity: u32,
    /// What the customer was shown, in minor units.
    pub(crate) amount: u64,
}

impl Variant {
    pub(crate) fn find(id: &str) -> Option<Self> {
        VARIANTS.into_iter().find(|variant| variant.id == id)
    }
}

impl Cart {
    pub(crate) fn check(&self) -> Result<(), Problem> {
        let Some(variant) = Variant::find(&self.variant_id) else {
            return Err(Problem::new(StatusCode::NOT_FOUND, "variant-not-found", "there is no such variant"));
        };
        if !(1..=MOST_AT_ONCE).contains(&self.quantity) {
            let detail = format!("quantity must be 1 to {MOST_AT_ONCE}");
            return Err(Problem::new(StatusCode::BAD_REQUEST, "bad-body", detail));
        }
        // The client says what its customer has seen, not what is charged.
        let amount = variant.price * u64::from(self.quantity);
        if self.amount != amount {
            let detail = format!("the price is {amount} {CURRENCY} in minor units: show it, and ask again");
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "wrong-amount", detail));
        }
        Ok(())
    }
}
