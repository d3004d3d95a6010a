//! A sled database whose writes say when they are durable.
//!
//! sled makes a write *visible* before it is on disk, and its own `flush` does not survive a power
//! cut. [`Journal`] wraps a sled database so that every write hands back a [`Ticket`], which
//! resolves when a flush begun after the write has completed, and every read knows whether what it
//! saw is durable yet. One thread flushes for all who wait.

mod chunks;
mod disk;
mod error;
mod flush;
mod ledger;
mod sentry;

use std::fmt;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

pub(crate) use chunks::ChunkId;
use disk::Disk;
pub(crate) use error::{Fault, FaultKind, JournalError};
use ledger::Ledger;
pub(crate) use ledger::Ticket;
pub(crate) use sled::IVec;

/// The longest key. See [`VALUE_LIMIT`].
pub(crate) const KEY_LIMIT: usize = 320;

/// The longest value; longer ones go in [chunks](Journal::put_chunks).
///
/// sled writes any page over 128 KiB to a file of its own, which it never syncs, and a failure
/// there leaves it hanging. A page is up to 20 entries *of any size*, so it is the entry that must
/// be small: 20 of these fit.
pub(crate) const VALUE_LIMIT: usize = 6 * 1024;

/// What an acknowledged write survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// A power cut: the data file is synced before the acknowledgement.
    #[default]
    Power,
    /// The death of the process, not that of the machine.
    Process,
}

/// How to open a [`Journal`].
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// What an acknowledged write survives.
    pub(crate) durability: Durability,
    /// The size of sled's page cache in bytes.
    pub(crate) cache: u64,
    /// For how long one flush may take before the journal gives up and closes.
    pub(crate) stall_limit: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { durability: Durability::Power, cache: 64 * 1024 * 1024, stall_limit: Duration::from_secs(30) }
    }
}

/// A sled database, the thread that flushes it, and the account of what is durable.
///
/// All calls are synchronous and short; only a [`Ticket`] is waited for. After a fault every call
/// and every wait gets [`JournalError::Closed`]. Dropping the journal flushes what is outstanding
/// and releases the folder, which takes about one flush; after [`FaultKind::Stalled`] the folder
/// stays held until the process ends.
pub(crate) struct Journal {
    /// `None` only while dropping.
    disk: Option<Arc<Disk>>,
    ledger: Arc<Ledger>,
    /// Disconnects when the threads have let go of the database.
    released: Mutex<mpsc::Receiver<()>>,
    threads: Vec<JoinHandle<()>>,
    folder: PathBuf,
    stall_limit: Duration,
}

/// Something read, which may not be durable yet.
#[must_use = "what was read may be lost in a crash until it is durable"]
#[derive(Clone, Debug)]
pub(crate) struct Seen<T> {
    /// What is visible now.
    pub(crate) value: T,
    /// Resolves at once when nothing was dirty.
    pub(crate) ticket: Ticket,
}

/// The outcome of a compare-and-swap.
#[derive(Clone, Debug)]
pub(crate) enum Swap {
    /// The new value is visible, and durable once the ticket says so.
    Swapped(Ticket),
    /// Nothing was written: another value was found.
    Found,
}

impl Journal {
    /// Opens the database in `folder`, creating the folder but not its parents.
    ///
    /// # Errors
    ///
    /// Any [`JournalError`] but `TooLarge` and `Closed`.
    pub(crate) fn open(folder: impl AsRef<Path>, options: Options) -> Result<Self, JournalError> {
        let Options { durability, cache, stall_limit } = options;
        let folder = folder.as_ref().to_path_buf();
        let power = durability == Durability::Power;
        let disk = Arc::new(disk::open(&folder, cache, power)?);
        let ledger = Arc::new(Ledger::default());
        let (held, released) = mpsc::channel::<()>();
        let mut journal = Self {
            disk: Some(Arc::clone(&disk)),
            ledger: Arc::clone(&ledger),
            released: Mutex::new(released),
            threads: Vec::with_capacity(2),
            folder,
            stall_limit,
        };

        let watched = Arc::downgrade(&disk);
        let (its_ledger, its_hold) = (Arc::clone(&ledger), held.clone());
        journal.spawn("sled-sentry", move || {
            let _held = its_hold;
            sentry::run(&its_ledger, stall_limit, || watched.upgrade().map(|disk| disk as sentry::MediumRef));
        })?;
        journal.spawn("sled-flusher", move || {
            flush::run(&ledger, &*disk);
            // Before `held`, that the folder is free when the channel says so.
            drop(disk);
            ledger.wake_sentry();
            drop(held);
        })?;
        Ok(journal)
    }

    fn spawn(&mut self, name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), JournalError> {
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(body)
            .map_err(|error| JournalError::Open { folder: self.folder.clone(), source: error.into() })?;
        self.threads.push(thread);
        Ok(())
    }

    /// The value of `key`.
    ///
    /// # Errors
    ///
    /// [`JournalError::Closed`] after a fault.
    pub(crate) fn get(&self, key: &[u8]) -> Result<Seen<Option<IVec>>, JournalError> {
        self.read("a read", |db| db.get(key))
    }

    /// Up to `limit` entries with `first <= key`, in order. The caller pages on, so that no call
    /// holds up an executor for long.
    ///
    /// # Errors
    ///
    /// [`JournalError::Closed`] after a fault.
    pub(crate) fn scan(&self, first: Bound<&[u8]>, limit: usize) -> Result<Seen<Vec<(IVec, IVec)>>, JournalError> {
        self.read("a scan", |db| db.range::<&[u8], _>((first, Bound::Unbounded)).take(limit).collect())
    }

    /// Sets `key` to `value`, whatever it was.
    ///
    /// # Errors
    ///
    /// [`JournalError::TooLarge`], or [`JournalError::Closed`] after a fault.
    pub(crate) fn insert(&self, key: &[u8], value: &[u8]) -> Result<Ticket, JournalError> {
        check_len("key", key, KEY_LIMIT)?;
        check_len("value", value, VALUE_LIMIT)?;
        self.ledger.check()?;
        let write = self.ledger.begin_write();
        self.guarded("an insert", |db| db.insert(key, value))?;
        drop(write);
        Ok(self.ledger.ticket())
    }

    /// Removes `key`, if it is there.
    ///
    /// # Errors
    ///
    /// [`JournalError::Closed`] after a fault.
    pub(crate) fn remove(&self, key: &[u8]) -> Result<Ticket, JournalError> {
        self.ledger.check()?;
        let write = self.ledger.begin_write();
        self.guarded("a removal", |db| db.remove(key))?;
        drop(write);
        Ok(self.ledger.ticket())
    }

    /// Sets `key` to `new` (`None`: removes it) if it is `old` (`None`: absent).
    ///
    /// # Errors
    ///
    /// [`JournalError::TooLarge`], or [`JournalError::Closed`] after a fault.
    pub(crate) fn compare_and_swap(
        &self,
        key: &[u8],
        old: Option<&[u8]>,
        new: Option<&[u8]>,
    ) -> Result<Swap, JournalError> {
        check_len("key", key, KEY_LIMIT)?;
        check_len("value", new.unwrap_or_default(), VALUE_LIMIT)?;
        self.ledger.check()?;
        let write = self.ledger.begin_write();
        match self.guarded("a compare-and-swap", |db| db.compare_and_swap(key, old, new))? {
            Ok(()) => {
                drop(write);
                Ok(Swap::Swapped(self.ledger.ticket()))
            }
            Err(_) => {
                write.had_no_effect();
                Ok(Swap::Found)
            }
        }
    }

    /// A ticket for everything written so far, by anybody.
    pub(crate) fn ticket(&self) -> Ticket {
        self.ledger.ticket()
    }

    fn read<T>(
        &self,
        action: &'static str,
        call: impl FnOnce(&sled::Db) -> sled::Result<T>,
    ) -> Result<Seen<T>, JournalError> {
        self.ledger.check()?;
        let value = self.guarded(action, call)?;
        // After the read: a write that it saw was in the ledger before it was visible.
        Ok(Seen { value, ticket: self.ledger.ticket() })
    }

    /// Calls sled. An error or a panic in there closes the journal.
    fn guarded<T>(
        &self,
        action: &'static str,
        call: impl FnOnce(&sled::Db) -> sled::Result<T>,
    ) -> Result<T, JournalError> {
        let Some(disk) = &self.disk else {
            unreachable!("the database is taken only by drop");
        };
        let fault = match catch_unwind(AssertUnwindSafe(|| call(&disk.db))) {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => Fault::sled(action, error),
            Err(payload) => Fault::panic(action, &*payload),
        };
        self.ledger.close(fault.clone());
        Err(JournalError::Closed(self.ledger.fault().cloned().unwrap_or(fault)))
    }
}

fn check_len(what: &'static str, bytes: &[u8], limit: usize) -> Result<(), JournalError> {
    match bytes.len() {
        len if len > limit => Err(JournalError::TooLarge { what, len, limit }),
        _ => Ok(()),
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // The flusher's handle is now the last, so that closing the database, which may hang after
        // a fault, happens in its thread.
        self.disk = None;
        self.ledger.shut_down();
        let released = self.released.get_mut().unwrap_or_else(PoisonError::into_inner);
        let stalled = self.ledger.fault().is_some_and(|fault| fault.kind() == FaultKind::Stalled);
        let _disconnected = released.recv_timeout(if stalled { Duration::ZERO } else { self.stall_limit });
        for thread in self.threads.drain(..).filter(JoinHandle::is_finished) {
            let _panicked = thread.join();
        }
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Journal")
            .field("folder", &self.folder)
            .field("fault", &self.ledger.fault())
            .finish_non_exhaustive()
    }
}
