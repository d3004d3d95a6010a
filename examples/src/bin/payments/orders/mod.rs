//! The service's own database: its orders, and the second check behind the idempotency key.
//!
//! The key keeps one request from running twice; the database keeps an order from being paid under
//! two keys, refunded beyond what was paid, or confirmed again when a key is long forgotten.
//!
//! It is where the keys are: tables in the same Postgres, else a journal on disk.

mod journal;
mod postgres;

use std::collections::BTreeMap;
use std::io;

use axum::http::StatusCode;
use idempotency::KeyError;
use idempotency::postgres::sqlx;
use idempotency_examples::problem::Problem;
use serde::{Deserialize, Serialize};

pub(crate) use journal::Journaled;
pub(crate) use postgres::Tables;

/// An order, as `GET /orders/{order}` shows it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Order {
    order_id: String,
    /// In minor units.
    pub(crate) amount: u64,
    pub(crate) currency: String,
    /// The provider's transaction that paid it.
    transaction_id: Option<String>,
    /// How often a callback confirmed it: once, if all is well.
    confirmations: u32,
    refunds: BTreeMap<String, Refund>,
    #[serde(skip)]
    opened: Opened,
}

#[derive(Clone, Debug, Serialize)]
struct Refund {
    amount: u64,
    transaction_id: Option<String>,
    #[serde(skip)]
    opened: Opened,
}

/// Who moves the money: under which downstream key, in which attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Opened {
    pub(crate) key: String,
    pub(crate) fence: u64,
}

/// What is to be paid or, with an id of its own, refunded.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Step {
    pub(crate) order: String,
    pub(crate) refund: Option<String>,
    pub(crate) amount: u64,
    pub(crate) currency: String,
}

/// What the provider says of a charge that a callback tells of.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Charge {
    pub(crate) order: String,
    pub(crate) transaction: String,
    /// The downstream key under which it was made.
    pub(crate) key: String,
}

/// The orders, in a journal or in tables.
#[derive(Debug)]
pub(crate) enum Orders {
    Journaled(Journaled),
    Tables(Tables),
}

impl Orders {
    pub(crate) async fn find(&self, order: &str) -> Result<Order, OrderError> {
        match self {
            Self::Journaled(orders) => orders.find(order).await,
            Self::Tables(orders) => orders.find(order).await,
        }?
        .ok_or(OrderError::NotFound)
    }

    /// Checks that money may move, and notes that it is about to. `Some` is the transaction in which
    /// it already has.
    pub(crate) async fn begin(&self, step: &Step, by: Opened) -> Result<Option<String>, OrderError> {
        match self {
            Self::Journaled(orders) => orders.begin(step, by).await,
            Self::Tables(orders) => orders.begin(step, by).await,
        }
    }

    /// Notes that money moved.
    pub(crate) async fn done(&self, step: &Step, transaction: &str) -> Result<(), OrderError> {
        match self {
            Self::Journaled(orders) => orders.done(step, transaction).await,
            Self::Tables(orders) => orders.done(step, transaction).await,
        }
    }

    /// Notes that no money moved, unless a later attempt is at it by now.
    pub(crate) async fn close(&self, step: &Step, by: Opened) -> Result<(), OrderError> {
        match self {
            Self::Journaled(orders) => orders.close(step, by).await,
            Self::Tables(orders) => orders.close(step, by).await,
        }
    }

    /// Confirms an order that was paid by this charge; `false` if it was confirmed before. An order whose
    /// payment's answer was lost is known to be paid from then on.
    pub(crate) async fn confirm(&self, charge: Charge) -> Result<bool, OrderError> {
        let (order, transaction) = (charge.order.clone(), charge.transaction.clone());
        let confirmed = match self {
            Self::Journaled(orders) => orders.confirm(charge).await,
            Self::Tables(orders) => orders.confirm(charge).await,
        }?;
        if !confirmed {
            tracing::warn!(%order, %transaction, "already confirmed, skipping");
        }
        Ok(confirmed)
    }
}

/// What a confirmation changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Confirming {
    /// Nothing: it was confirmed before.
    Not,
    /// The count of confirmations; and the order is paid, as is only known now.
    Now { newly_paid: bool },
}

/// Whether a step may be taken on what the database holds of its order; `Some` is the transaction in which it
/// was.
fn check(order: Option<&Order>, step: &Step, by: &Opened) -> Result<Option<String>, OrderError> {
    let Some(refund) = &step.refund else {
        return match order {
            None => Ok(None),
            Some(order) if order.opened.key != by.key => Err(OrderError::Taken),
            Some(Order { transaction_id: None, opened, .. }) if opened.fence > by.fence => Err(OrderError::Overtaken),
            Some(order) => Ok(order.transaction_id.clone()),
        };
    };
    let order = order.ok_or(OrderError::NotFound)?;
    if order.transaction_id.is_none() {
        return Err(OrderError::NotPaid);
    }
    if let Some(known) = order.refunds.get(refund) {
        if known.opened.key != by.key {
            return Err(OrderError::Taken);
        }
        if known.transaction_id.is_none() && known.opened.fence > by.fence {
            return Err(OrderError::Overtaken);
        }
        return Ok(known.transaction_id.clone());
    }
    let left = order.amount - order.refunds.values().map(|refund| refund.amount).sum::<u64>();
    if step.amount > left { Err(OrderError::TooMuch { left }) } else { Ok(None) }
}

/// What a charge's callback changes on what the database holds of its order.
fn check_confirm(order: Option<&Order>, charge: &Charge) -> Result<Confirming, OrderError> {
    let order = order.ok_or(OrderError::NotFound)?;
    let newly_paid = match &order.transaction_id {
        Some(known) if *known == charge.transaction => false,
        None if order.opened.key == charge.key => true,
        Some(_) | None => return Err(OrderError::NotPaid),
    };
    Ok(if order.confirmations > 0 { Confirming::Not } else { Confirming::Now { newly_paid } })
}

/// The database says no.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OrderError {
    #[error("there is no such order")]
    NotFound,
    #[error("the order is not paid, or not by that transaction")]
    NotPaid,
    #[error("this was paid or refunded, or is about to be, by a request with another key or content")]
    Taken,
    #[error("a later attempt at this came before this one")]
    Overtaken,
    #[error("only {left} of the order, in minor units, can still be refunded")]
    TooMuch { left: u64 },
    #[error("the orders cannot be written: {0}")]
    Disk(#[from] io::Error),
    #[error("the orders cannot be read or written: {0}")]
    Tables(#[from] sqlx::Error),
    #[error("the order cannot be confirmed: {0}")]
    Once(#[from] idempotency::Error),
    #[error("the order cannot be confirmed: {0}")]
    Key(#[from] KeyError),
}

impl From<OrderError> for Problem {
    fn from(error: OrderError) -> Self {
        let told = |status, kind| Self::new(status, kind, error.to_string());
        match error {
            OrderError::NotFound => told(StatusCode::NOT_FOUND, "order-not-found"),
            OrderError::NotPaid => told(StatusCode::CONFLICT, "order-not-paid"),
            OrderError::Taken => told(StatusCode::CONFLICT, "order-taken"),
            OrderError::Overtaken => told(StatusCode::CONFLICT, "overtaken").retry(std::time::Duration::from_secs(1)),
            OrderError::TooMuch { .. } => told(StatusCode::UNPROCESSABLE_ENTITY, "refund-too-large"),
            // Money may have moved, and be in no book yet.
            OrderError::Disk(_) | OrderError::Tables(_) | OrderError::Once(_) | OrderError::Key(_) => {
                told(StatusCode::INTERNAL_SERVER_ERROR, "database").unknown()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(fence: u64) -> Opened {
        Opened { key: "k".into(), fence }
    }

    /// It was paused before it began, and goes on beside its successor: what it notes would be taken for the latest.
    #[tokio::test]
    async fn an_attempt_that_was_overtaken_does_not_begin() {
        let folder = tempfile::tempdir().unwrap();
        let orders = Orders::Journaled(Journaled::open(&folder.path().join("orders.jsonl")).unwrap());
        let order = Step { order: "o".into(), refund: None, amount: 10, currency: "EUR".into() };
        let refund = Step { refund: Some("r".into()), amount: 5, ..order.clone() };
        for (step, transaction) in [(&order, "ch_1"), (&refund, "re_1")] {
            assert_eq!(orders.begin(step, opened(2)).await.unwrap(), None);
            let stale = orders.begin(step, opened(1)).await;
            assert!(matches!(stale, Err(OrderError::Overtaken)), "{stale:?}");
            orders.close(step, opened(1)).await.unwrap();
            orders.done(step, transaction).await.unwrap();
            assert_eq!(orders.begin(step, opened(1)).await.unwrap().as_deref(), Some(transaction), "it is done");
        }
    }
}
