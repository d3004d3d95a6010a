//! The orders in a journal on disk, for one process.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use idempotency_examples::journal::{Journal, JournalError};
use serde::{Deserialize, Serialize};

use super::{Charge, Confirming, Opened, Order, OrderError, Refund, Step, check, check_confirm};

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
pub(crate) struct Journaled(Arc<Mutex<Book>>);

impl Journaled {
    pub(crate) fn open(path: &Path) -> Result<Self, JournalError> {
        let (journal, events) = Journal::open(path)?;
        let mut book = Book { journal, orders: BTreeMap::new() };
        events.into_iter().for_each(|event| book.apply(event));
        Ok(Self(Arc::new(Mutex::new(book))))
    }

    pub(super) async fn find(&self, order: &str) -> Result<Option<Order>, OrderError> {
        let order = order.to_owned();
        self.on_book(move |book| Ok(book.orders.get(&order).cloned())).await
    }

    pub(super) async fn begin(&self, step: &Step, by: Opened) -> Result<Option<String>, OrderError> {
        let step = step.clone();
        self.on_book(move |book| {
            let done = check(book.orders.get(&step.order), &step, &by)?;
            if done.is_none() {
                book.record(Event::Opened { step, by })?;
            }
            Ok(done)
        })
        .await
    }

    pub(super) async fn done(&self, step: &Step, transaction: &str) -> Result<(), OrderError> {
        let (step, transaction) = (step.clone(), transaction.to_owned());
        self.on_book(move |book| book.record(Event::Done { step, transaction })).await
    }

    pub(super) async fn close(&self, step: &Step, by: Opened) -> Result<(), OrderError> {
        let step = step.clone();
        self.on_book(
            move |book| if book.opened(&step) == Some(&by) { book.record(Event::Closed { step }) } else { Ok(()) },
        )
        .await
    }

    pub(super) async fn confirm(&self, charge: Charge) -> Result<bool, OrderError> {
        self.on_book(move |book| {
            let found = book.orders.get(&charge.order);
            let Confirming::Now { newly_paid } = check_confirm(found, &charge)? else { return Ok(false) };
            let Charge { order, transaction, .. } = charge;
            if let (Some(found), true) = (found, newly_paid) {
                let (amount, currency) = (found.amount, found.currency.clone());
                let step = Step { order: order.clone(), refund: None, amount, currency };
                book.record(Event::Done { step, transaction: transaction.clone() })?;
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
