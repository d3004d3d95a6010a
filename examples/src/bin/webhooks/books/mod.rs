//! The service's own database: orders, and a ledger with an entry for each event that moved money.
//!
//! The key keeps a webhook from being worked on twice; the ledger keeps an event from being booked twice, be it sent
//! under another key, or when its key is long forgotten. **It has the event's own id for that, and no time at which
//! it forgets.**
//!
//! It is where the keys are: tables in the same Postgres, else a journal on disk.

mod journal;
mod postgres;

use std::io;

use axum::http::StatusCode;
use idempotency::postgres::sqlx;
use idempotency_examples::problem::Problem;
use serde::{Deserialize, Serialize};

use crate::event::{About, Sent};

pub(crate) use journal::Journaled;
pub(crate) use postgres::Tables;

/// What an event means for the books.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// `order.created`: there is an order, to be paid.
    Sale,
    /// `payment.received`: some of it was paid.
    Payment,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Sale => "sale",
            Self::Payment => "payment",
        }
    }
}

/// A line of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) source: String,
    /// The provider's id for the event: with the source, it names the entry.
    pub(crate) event: String,
    pub(crate) kind: Kind,
    pub(crate) order: About,
}

impl Entry {
    /// What of an event is to be booked, if anything.
    pub(crate) fn of(sent: &Sent) -> Option<Self> {
        let kind = match sent.event.kind.as_str() {
            "order.created" => Kind::Sale,
            "payment.received" => Kind::Payment,
            _ => return None,
        };
        let (source, event, order) = (sent.source.clone(), sent.event.id.clone(), sent.event.order.clone()?);
        Some(Self { source, event, kind, order })
    }
}

/// An order, as `GET /api/v1/orders/{source}/{order}` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Order {
    /// In minor units.
    amount: u64,
    currency: String,
    paid: u64,
}

/// Orders and ledger, in a journal or in tables.
#[derive(Debug)]
pub(crate) enum Books {
    Journaled(Journaled),
    Tables(Tables),
}

impl Books {
    /// Books an entry, and the order it makes or pays: both or neither. One that is there already stays as it is,
    /// and that is no error.
    pub(crate) async fn book(&self, entry: Entry) -> Result<(), BookError> {
        let (event, order) = (entry.event.clone(), entry.order.id.clone());
        let is_new = match self {
            Self::Journaled(books) => books.book(entry).await,
            Self::Tables(books) => books.book(entry).await,
        }?;
        if !is_new {
            tracing::warn!(event, order, "already booked, skipping");
        }
        Ok(())
    }

    pub(crate) async fn order(&self, source: &str, order: &str) -> Result<Option<Order>, BookError> {
        match self {
            Self::Journaled(books) => Ok(books.order(source, order)),
            Self::Tables(books) => books.order(source, order).await,
        }
    }
}

/// What becomes of an order by an entry, on what the books hold of the two; `None` where it is booked already.
fn booked(order: Option<&Order>, known: Option<&Entry>, entry: &Entry) -> Result<Option<Order>, BookError> {
    match known {
        Some(known) if known == entry => return Ok(None),
        Some(_) => return Err(BookError::EventReused),
        None => {}
    }
    let About { amount, currency, .. } = entry.order.clone();
    match (entry.kind, order) {
        (Kind::Sale, None) => Ok(Some(Order { amount, currency, paid: 0 })),
        (Kind::Sale, Some(_)) => Err(BookError::OrderTaken),
        (Kind::Payment, None) => Err(BookError::NoOrder),
        (Kind::Payment, Some(order)) => match order.paid.checked_add(amount) {
            Some(paid) if paid <= order.amount && currency == order.currency => {
                Ok(Some(Order { paid, ..order.clone() }))
            }
            _ => Err(BookError::TooMuch),
        },
    }
}

/// The books say no.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BookError {
    #[error("this event was booked with another content")]
    EventReused,
    #[error("another event made this order")]
    OrderTaken,
    #[error("there is no such order yet: the event that makes it may come after this one")]
    NoOrder,
    #[error("more would be paid than the order is about, or in another currency")]
    TooMuch,
    #[error("the books cannot be written: {0}")]
    Disk(#[from] io::Error),
    #[error("the books cannot be read or written: {0}")]
    Tables(#[from] sqlx::Error),
}

impl From<BookError> for Problem {
    fn from(error: BookError) -> Self {
        let told = |status, kind| Self::new(status, kind, error.to_string());
        match error {
            BookError::EventReused => told(StatusCode::UNPROCESSABLE_ENTITY, "event-reused"),
            BookError::OrderTaken => told(StatusCode::CONFLICT, "order-taken"),
            BookError::NoOrder => {
                told(StatusCode::CONFLICT, "order-not-found").retry(std::time::Duration::from_secs(1))
            }
            BookError::TooMuch => told(StatusCode::UNPROCESSABLE_ENTITY, "payment-too-large"),
            // It may be booked all the same.
            BookError::Disk(_) | BookError::Tables(_) => told(StatusCode::INTERNAL_SERVER_ERROR, "database").unknown(),
        }
    }
}
