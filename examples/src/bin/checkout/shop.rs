//! The shop's own database: its stock and its orders, in a journal on disk.
//!
//! Stock is reserved under the order's id, which is the same for every attempt at one key. So an attempt that finds
//! what another one reserved before it died takes that over, and reserves nothing.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::StatusCode;
use idempotency_examples::journal::{Journal, JournalError};
use idempotency_examples::problem::Problem;
use serde::{Deserialize, Serialize};

use crate::cart::{Cart, VARIANTS};

/// An order, as `GET /api/checkout/orders/{order}` shows it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Order {
    order_id: String,
    #[serde(flatten)]
    pub(crate) cart: Cart,
    /// The client's key, or the one that it was given.
    idempotency_key: String,
    #[serde(flatten)]
    pub(crate) state: State,
    /// Of the latest attempt at it.
    #[serde(skip)]
    fence: u64,
}

#[derive(Clone, Debug, Serialize)]
#[serde(tag = "status", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub(crate) enum State {
    /// Its stock is set aside, and its payment under way.
    Reserved,
    Paid {
        transaction_id: String,
    },
    /// Its stock is for others again.
    GivenBack {
        reason: String,
    },
}

/// Who reserves: one attempt of those at an order.
#[derive(Clone, Debug)]
pub(crate) struct By {
    pub(crate) order: String,
    pub(crate) key: String,
    pub(crate) fence: u64,
}

/// What becomes of a reservation.
#[derive(Debug)]
pub(crate) enum Reserved {
    /// The stock is set aside: now, or by an attempt before this one.
    Held,
    /// The order is paid already, in this transaction.
    Paid(String),
}

/// A line of the journal.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Event {
    Stocked { variant: String, quantity: u32 },
    Reserved { order: String, key: String, fence: u64, cart: Cart },
    Paid { order: String, transaction: String },
    GivenBack { order: String, reason: String },
}

#[derive(Debug)]
struct Book {
    journal: Journal<Event>,
    /// What is left of each variant. Below zero where money came in for what was given back meanwhile.
    left: BTreeMap<String, i64>,
    orders: BTreeMap<String, Order>,
}

#[derive(Clone, Debug)]
pub(crate) struct Shop(Arc<Mutex<Book>>);

impl Shop {
    /// Opens the journal; a variant that is not in it is stocked.
    pub(crate) fn open(path: &Path, stock: u32) -> Result<Self, JournalError> {
        let (journal, events) = Journal::open(path)?;
        let mut book = Book { journal, left: BTreeMap::new(), orders: BTreeMap::new() };
        events.into_iter().for_each(|event| book.apply(event));
        for variant in VARIANTS {
            if !book.left.contains_key(variant.id) {
                let stocked = Event::Stocked { variant: variant.id.into(), quantity: stock };
                book.record(stocked).map_err(|source| JournalError::Open { path: path.into(), source })?;
            }
        }
        Ok(Self(Arc::new(Mutex::new(book))))
    }

    /// Sets the order's stock aside, unless it is.
    pub(crate) async fn reserve(&self, by: By, cart: Cart) -> Result<Reserved, ShopError> {
        self.on_book(move |book| {
            if let Some(order) = book.orders.get_mut(&by.order) {
                // One that was overtaken must not take again what the later attempt has given back.
                if by.fence < order.fence {
                    return Err(ShopError::Overtaken);
                }
                order.fence = by.fence;
                match &order.state {
                    State::Reserved => return Ok(Reserved::Held),
                    State::Paid { transaction_id } => return Ok(Reserved::Paid(transaction_id.clone())),
                    State::GivenBack { .. } => {}
                }
            }
            let left = book.left.get(&cart.variant_id).copied().unwrap_or_default();
            if left < i64::from(cart.quantity) {
                return Err(ShopError::SoldOut { left });
            }
            book.record(Event::Reserved { order: by.order, key: by.key, fence: by.fence, cart })?;
            Ok(Reserved::Held)
        })
        .await
    }

    /// Notes that an order is paid.
    pub(crate) async fn paid(&self, by: By, transaction: String) -> Result<(), ShopError> {
        self.on_book(move |book| match book.orders.get(&by.order).map(|order| &order.state) {
            Some(State::Paid { .. }) => Ok(()),
            Some(State::Reserved | State::GivenBack { .. }) | None => {
                Ok(book.record(Event::Paid { order: by.order, transaction })?)
            }
        })
        .await
    }

    /// Gives an order's stock back, once; not where a later attempt is at it by now.
    pub(crate) async fn give_back(&self, by: By, reason: String) -> Result<(), ShopError> {
        self.on_book(move |book| match book.orders.get(&by.order) {
            Some(Order { state: State::Reserved, fence, .. }) if *fence == by.fence => {
                Ok(book.record(Event::GivenBack { order: by.order, reason })?)
            }
            Some(_) | None => Ok(()),
        })
        .await
    }

    pub(crate) fn find(&self, order: &str) -> Result<Order, ShopError> {
        self.book().orders.get(order).cloned().ok_or(ShopError::NotFound)
    }

    /// How many there are left of a variant.
    pub(crate) fn left(&self, variant: &str) -> i64 {
        self.book().left.get(variant).copied().unwrap_or_default()
    }

    /// The journal waits for the disk, which must not hold up the runtime.
    async fn on_book<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Book) -> Result<T, ShopError> + Send + 'static,
    ) -> Result<T, ShopError> {
        let shop = self.clone();
        let work = move || act(&mut shop.book());
        tokio::task::spawn_blocking(work).await.map_err(|error| ShopError::Disk(io::Error::other(error)))?
    }

    fn book(&self) -> std::sync::MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn record(&mut self, event: Event) -> io::Result<()> {
        self.journal.append(&event)?;
        self.apply(event);
        Ok(())
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Stocked { variant, quantity } => {
                *self.left.entry(variant).or_default() += i64::from(quantity);
            }
            Event::Reserved { order: order_id, key: idempotency_key, fence, cart } => {
                *self.left.entry(cart.variant_id.clone()).or_default() -= i64::from(cart.quantity);
                let order = Order { order_id: order_id.clone(), cart, idempotency_key, state: State::Reserved, fence };
                self.orders.insert(order_id, order);
            }
            Event::Paid { order, transaction } => {
                let Some(order) = self.orders.get_mut(&order) else { return };
                if matches!(order.state, State::GivenBack { .. }) {
                    *self.left.entry(order.cart.variant_id.clone()).or_default() -= i64::from(order.cart.quantity);
                }
                order.state = State::Paid { transaction_id: transaction };
            }
            Event::GivenBack { order, reason } => {
                let Some(order) = self.orders.get_mut(&order) else { return };
                *self.left.entry(order.cart.variant_id.clone()).or_default() += i64::from(order.cart.quantity);
                order.state = State::GivenBack { reason };
            }
        }
    }
}

/// The shop says no.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShopError {
    #[error("there is no such order")]
    NotFound,
    #[error("only {left} are left: order fewer, or another variant")]
    SoldOut { left: i64 },
    #[error("a later attempt at this order came before this one")]
    Overtaken,
    #[error("the orders cannot be written: {0}")]
    Disk(#[from] io::Error),
}

impl From<ShopError> for Problem {
    fn from(error: ShopError) -> Self {
        let told = |status, kind| Self::new(status, kind, error.to_string());
        match error {
            ShopError::NotFound => told(StatusCode::NOT_FOUND, "order-not-found"),
            // Nothing was done, so the key is free: the same request may find stock later.
            ShopError::SoldOut { .. } => told(StatusCode::CONFLICT, "sold-out"),
            ShopError::Overtaken => told(StatusCode::CONFLICT, "overtaken").retry(std::time::Duration::from_secs(1)),
            // Money may have moved, and be in no book yet.
            ShopError::Disk(_) => told(StatusCode::INTERNAL_SERVER_ERROR, "database").unknown(),
        }
    }
}
