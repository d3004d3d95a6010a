//! The service's own database: its orders, and the second check behind the idempotency key.
//!
//! The key keeps one request from running twice; the database keeps an order from being paid under
//! two keys, refunded beyond what was paid, or confirmed again when a key is long forgotten.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use idempotency_examples::journal::{Journal, JournalError};
use idempotency_examples::problem::Problem;

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

/// A line of the journal.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Event {
    /// Money is about to move.
    Opened {
        step: Step,
        by: Opened,
    },
    /// It did.
    Done {
        step: Step,
        transaction: String,
    },
    /// It surely did not.
    Closed {
        step: Step,
    },
    Confirmed {
        order: String,
        transaction: String,
    },
}

#[derive(Debug)]
struct Book {
    journal: Journal<Event>,
    orders: BTreeMap<String, Order>,
}

#[derive(Clone, Debug)]
pub(crate) struct Orders(Arc<Mutex<Book>>);

impl Orders {
    pub(crate) fn open(path: &Path) -> Result<Self, JournalError> {
        let (journal, events) = Journal::open(path)?;
        let mut book = Book { journal, orders: BTreeMap::new() };
        events.into_iter().for_each(|event| book.apply(event));
        Ok(Self(Arc::new(Mutex::new(book))))
    }

    pub(crate) async fn find(&self, order: &str) -> Result<Order, OrderError> {
        let order = order.to_owned();
        self.on_book(move |book| book.orders.get(&order).cloned().ok_or(OrderError::NotFound)).await
    }

    /// Checks that money may move, and notes that it is about to. `Some` is the transaction in which
    /// it already has.
    pub(crate) async fn begin(&self, step: &Step, by: Opened) -> Result<Option<String>, OrderError> {
        let step = step.clone();
        self.on_book(move |book| {
            let done = book.check(&step, &by)?;
            if done.is_none() {
                book.record(Event::Opened { step, by })?;
            }
            Ok(done)
        })
        .await
    }

    /// Notes that money moved.
    pub(crate) async fn done(&self, step: &Step, transaction: &str) -> Result<(), OrderError> {
        let (step, transaction) = (step.clone(), transaction.to_owned());
        self.on_book(move |book| book.record(Event::Done { step, transaction })).await
    }

    /// Notes that no money moved, unless a later attempt is at it by now.
    pub(crate) async fn close(&self, step: &Step, by: Opened) -> Result<(), OrderError> {
        let step = step.clone();
        self.on_book(
            move |book| if book.opened(&step) == Some(&by) { book.record(Event::Closed { step }) } else { Ok(()) },
        )
        .await
    }

    /// Confirms an order that was paid in this transaction, under this downstream key; `false` if it
    /// was confirmed before. An order whose payment's answer was lost is known to be paid from then on.
    pub(crate) async fn confirm(&self, order: &str, transaction: &str, key: &str) -> Result<bool, OrderError> {
        let (order, transaction, key) = (order.to_owned(), transaction.to_owned(), key.to_owned());
        self.on_book(move |book| {
            let found = book.orders.get(&order).ok_or(OrderError::NotFound)?;
            match &found.transaction_id {
                Some(known) if *known == transaction => {}
                None if found.opened.key == key => {
                    let (amount, currency) = (found.amount, found.currency.clone());
                    let step = Step { order: order.clone(), refund: None, amount, currency };
                    book.record(Event::Done { step, transaction: transaction.clone() })?;
                }
                Some(_) | None => return Err(OrderError::NotPaid),
            }
            if book.orders.get(&order).is_some_and(|order| order.confirmations > 0) {
                tracing::warn!(%order, %transaction, "already confirmed, skipping");
                return Ok(false);
            }
            book.record(Event::Confirmed { order, transaction }).map(|()| true)
        })
        .await
    }

    /// The journal waits for the disk, which must not hold up the runtime.
    async fn on_book<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Book) -> Result<T, OrderError> + Send + 'static,
    ) -> Result<T, OrderError> {
        let book = self.0.clone();
        let work = move || act(&mut book.lock().unwrap_or_else(PoisonError::into_inner));
        tokio::task::spawn_blocking(work).await.map_err(|error| OrderError::Disk(io::Error::other(error)))?
    }
}

impl Book {
    fn check(&self, step: &Step, by: &Opened) -> Result<Option<String>, OrderError> {
        let Some(refund) = &step.refund else {
            return match self.orders.get(&step.order) {
                None => Ok(None),
                Some(order) if order.opened.key != by.key => Err(OrderError::Taken),
                Some(order) => Ok(order.transaction_id.clone()),
            };
        };
        let order = self.orders.get(&step.order).ok_or(OrderError::NotFound)?;
        if order.transaction_id.is_none() {
            return Err(OrderError::NotPaid);
        }
        if let Some(known) = order.refunds.get(refund) {
            return if known.opened.key == by.key { Ok(known.transaction_id.clone()) } else { Err(OrderError::Taken) };
        }
        let left = order.amount - order.refunds.values().map(|refund| refund.amount).sum::<u64>();
        if step.amount > left { Err(OrderError::TooMuch { left }) } else { Ok(None) }
    }

    fn opened(&self, step: &Step) -> Option<&Opened> {
        let order = self.orders.get(&step.order)?;
        match &step.refund {
            None => Some(&order.opened),
            Some(refund) => Some(&order.refunds.get(refund)?.opened),
        }
    }

    fn record(&mut self, event: Event) -> Result<(), OrderError> {
        self.journal.append(&event)?;
        self.apply(event);
        Ok(())
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Opened { step: Step { order: order_id, refund: None, amount, currency }, by: opened } => {
                let refunds = BTreeMap::new();
                let order = Order {
                    order_id: order_id.clone(),
                    amount,
                    currency,
                    transaction_id: None,
                    confirmations: 0,
                    refunds,
                    opened,
                };
                self.orders.insert(order_id, order);
            }
            Event::Opened { step: Step { order, refund: Some(refund), amount, .. }, by: opened } => {
                if let Some(order) = self.orders.get_mut(&order) {
                    order.refunds.insert(refund, Refund { amount, transaction_id: None, opened });
                }
            }
            Event::Done { step: Step { order, refund, .. }, transaction } => {
                let Some(order) = self.orders.get_mut(&order) else { return };
                match refund {
                    None => order.transaction_id = Some(transaction),
                    Some(refund) => {
                        if let Some(refund) = order.refunds.get_mut(&refund) {
                            refund.transaction_id = Some(transaction);
                        }
                    }
                }
            }
            Event::Closed { step: Step { order, refund: None, .. } } => {
                self.orders.remove(&order);
            }
            Event::Closed { step: Step { order, refund: Some(refund), .. } } => {
                if let Some(order) = self.orders.get_mut(&order) {
                    order.refunds.remove(&refund);
                }
            }
            Event::Confirmed { order, .. } => {
                if let Some(order) = self.orders.get_mut(&order) {
                    order.confirmations += 1;
                }
            }
        }
    }
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
    #[error("only {left} of the order, in minor units, can still be refunded")]
    TooMuch { left: u64 },
    #[error("the orders cannot be written: {0}")]
    Disk(#[from] io::Error),
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
        let problem = Self::new(status, kind, error.to_string());
        if matches!(error, OrderError::Disk(_)) { problem.unknown() } else { problem }
    }
}
