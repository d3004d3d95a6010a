//! Fences from a counter that is as durable as the locks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use idempotency_core::Fence;

use crate::journal::{Journal, JournalError};
use crate::layout::FENCES_KEY;

/// How many fences are set aside at a time.
const BLOCK: u64 = 1 << 16;

/// Hands out fences below a high-water mark that is kept in the database.
///
/// The mark is raised before a fence above it is used: whoever waits for the lock that bears that
/// fence to be durable waits for the mark too, as it was written first.
#[derive(Debug)]
pub(crate) struct Fences {
    next: AtomicU64,
    mark: Mutex<u64>,
    /// A copy of the mark, to be looked at without the lock.
    seen_mark: AtomicU64,
}

impl Fences {
    /// Goes on from the mark of the run before. `None` where what is kept is no mark.
    pub(crate) fn open(journal: &Journal) -> Result<Option<Self>, JournalError> {
        let mark = match journal.get(FENCES_KEY)?.value {
            None => 1,
            Some(kept) => match <[u8; 8]>::try_from(&*kept) {
                Ok(mark) => u64::from_be_bytes(mark),
                Err(_) => return Ok(None),
            },
        };
        Ok(Some(Self { next: AtomicU64::new(mark), mark: Mutex::new(mark), seen_mark: AtomicU64::new(mark) }))
    }

    /// A fence larger than every one before it.
    pub(crate) fn next(&self, journal: &Journal) -> Result<Fence, JournalError> {
        let fence = self.next.fetch_add(1, Ordering::Relaxed);
        if fence >= self.seen_mark.load(Ordering::Acquire) {
            let mut mark = self.mark.lock().unwrap_or_else(PoisonError::into_inner);
            while *mark <= fence {
                let raised = *mark + BLOCK;
                let _covered_by_the_lock = journal.insert(FENCES_KEY, &raised.to_be_bytes())?;
                *mark = raised;
            }
            self.seen_mark.store(*mark, Ordering::Release);
        }
        Ok(Fence::new(fence))
    }
}
