//! Wakes waiters within one process, for embedded stores.

use std::fmt;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::key::Key;
use crate::store::Watch;

const SLOTS: usize = 256;

/// Wakes whoever watches a key when it changes.
///
/// Keys share a fixed number of slots, so that a change costs no allocation and no map: a waiter may
/// be woken for another key's change, and looks again.
pub struct Notifier {
    slots: Box<[Arc<Notify>]>,
}

impl Notifier {
    /// A notifier without watchers.
    #[must_use]
    pub fn new() -> Self {
        Self { slots: (0..SLOTS).map(|_| Arc::default()).collect() }
    }

    /// Wakes whoever watches `key`. Call it once the change can be seen, where a result was stored or a
    /// lock released.
    pub fn changed(&self, key: &Key) {
        self.slot(key).notify_waiters();
    }

    /// Watches `key` from now on.
    pub fn watch(&self, key: &Key) -> Watch {
        Watch::new(self.slot(key).clone().notified_owned())
    }

    fn slot(&self, key: &Key) -> &Arc<Notify> {
        let hash = crc32fast::hash(key.as_str().as_bytes());
        &self.slots[hash as usize % SLOTS]
    }
}

impl fmt::Debug for Notifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notifier").finish_non_exhaustive()
    }
}

impl Default for Notifier {
    fn default() -> Self {
        Self::new()
    }
}
