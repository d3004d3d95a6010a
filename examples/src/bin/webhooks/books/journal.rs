//! The books in a journal on disk, for one process: the ledger's lines, of which the orders follow.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use idempotency_examples::journal::{Journal, JournalError};

use super::{BookError, Entry, Order, booked};

/// Its source, and an id of an event or an order.
type Name = (String, String);

#[derive(Debug)]
struct Book {
    journal: Journal<Entry>,
    entries: HashMap<Name, Entry>,
    orders: HashMap<Name, Order>,
}

#[derive(Clone, Debug)]
pub(crate) struct Journaled(Arc<Mutex<Book>>);

impl Journaled {
    pub(crate) fn open(path: &Path) -> Result<Self, JournalError> {
        let (journal, entries) = Journal::open(path)?;
        let mut book = Book { journal, entries: HashMap::new(), orders: HashMap::new() };
        for entry in entries {
            // What was booked before was checked then.
            if let Ok(Some(order)) = book.check(&entry) {
                book.apply(entry, order);
            }
        }
        Ok(Self(Arc::new(Mutex::new(book))))
    }

    /// Whether it is new.
    pub(super) async fn book(&self, entry: Entry) -> Result<bool, BookError> {
        let books = self.clone();
        // The journal waits for the disk, which must not hold up the runtime.
        let work = move || {
            let mut book = books.lock();
            let Some(order) = book.check(&entry)? else { return Ok(false) };
            book.journal.append(&entry)?;
            book.apply(entry, order);
            Ok(true)
        };
        tokio::task::spawn_blocking(work).await.map_err(|error| BookError::Disk(io::Error::other(error)))?
    }

    pub(super) fn order(&self, source: &str, order: &str) -> Option<Order> {
        self.lock().orders.get(&(source.into(), order.into())).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn check(&self, entry: &Entry) -> Result<Option<Order>, BookError> {
        let name = |id: &String| (entry.source.clone(), id.clone());
        booked(self.orders.get(&name(&entry.order.id)), self.entries.get(&name(&entry.event)), entry)
    }

    fn apply(&mut self, entry: Entry, order: Order) {
        self.orders.insert((entry.source.clone(), entry.order.id.clone()), order);
        self.entries.insert((entry.source.clone(), entry.event.clone()), entry);
    }
}
