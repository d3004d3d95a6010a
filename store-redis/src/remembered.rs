//! What this process acquired itself.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use idempotency_core::{Lock, Record};

/// How many are remembered. Each takes some 600 bytes, and 3 KiB with the most notes there can be.
const MOST: usize = 65_536;

/// The records of locks that this process acquired and has not ended yet, as the server has them, so
/// that it need not be asked for one to complete it. Only a hint: where it is gone or no longer true,
/// the server looks itself.
#[derive(Debug, Default)]
pub(crate) struct Remembered(Mutex<HashMap<Lock, Acquired>>);

/// A record as it was acquired.
#[derive(Clone, Debug)]
pub(crate) struct Acquired {
    pub(crate) record: Record,
    /// The same as the server has it.
    pub(crate) written: Bytes,
    /// Whether it is still so, byte for byte, as far as is known: its lease was not extended.
    pub(crate) is_exact: bool,
}

impl Remembered {
    pub(crate) fn add(&self, record: Record, written: Bytes) {
        let mut all = self.all();
        if all.len() >= MOST {
            // Those of runs that never ended; those that have not ended yet can do without.
            all.clear();
        }
        all.insert(record.lock, Acquired { record, written, is_exact: true });
    }

    pub(crate) fn get(&self, lock: &Lock) -> Option<Acquired> {
        self.all().get(lock).cloned()
    }

    pub(crate) fn extended(&self, lock: &Lock) {
        if let Some(acquired) = self.all().get_mut(lock) {
            acquired.is_exact = false;
        }
    }

    pub(crate) fn forget(&self, lock: &Lock) {
        self.all().remove(lock);
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Lock, Acquired>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
