//! Which records can be forgotten next.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use idempotency_core::Timestamp;

type Entry = Reverse<(Timestamp, Arc<str>)>;

/// The keys whose attempt is over, by when their record may be forgotten.
///
/// With one retention for all, times come in order, and adding one costs no more than a push. A key
/// has one entry at a time: one that was used again since is found out when its time comes.
#[derive(Debug, Default)]
pub(crate) struct Expiry {
    queue: Mutex<BinaryHeap<Entry>>,
    /// The earliest time in the queue, so that looking costs one load where nothing is due.
    first: AtomicU64,
}

impl Expiry {
    pub(crate) fn new() -> Self {
        Self { queue: Mutex::default(), first: AtomicU64::new(u64::MAX) }
    }

    pub(crate) fn add(&self, at: Timestamp, key: Arc<str>) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.push(Reverse((at, key)));
        self.note_first(&queue);
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Takes up to `most` keys whose time has come; none while another thread is at it.
    pub(crate) fn take_due(&self, now: Timestamp, most: usize) -> Vec<(Timestamp, Arc<str>)> {
        if now.as_micros() < self.first.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let mut queue = match self.queue.try_lock() {
            Ok(queue) => queue,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Vec::new(),
        };
        let mut due = Vec::new();
        while due.len() < most && queue.peek().is_some_and(|Reverse((at, _))| *at <= now) {
            due.extend(queue.pop().map(|Reverse(entry)| entry));
        }
        self.note_first(&queue);
        due
    }

    fn note_first(&self, queue: &MutexGuard<'_, BinaryHeap<Entry>>) {
        let first = queue.peek().map_or(u64::MAX, |Reverse((at, _))| at.as_micros());
        self.first.store(first, Ordering::Relaxed);
    }
}
