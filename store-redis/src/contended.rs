//! Which keys were found in progress lately.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Keys share so many slots.
const SLOTS: usize = 1024;
/// How long a key that was found in progress is asked for by the script at once.
const LATELY: Duration = Duration::from_secs(1);

/// Remembers which keys were found in progress lately, so that whoever asks again need not try first
/// whether they are new: duplicates come in crowds. Only a hint, and two keys may share one.
#[derive(Debug)]
pub(crate) struct Contended {
    hasher: RandomState,
    since: Instant,
    /// Until when, in µs.
    slots: Box<[AtomicU64]>,
}

impl Contended {
    pub(crate) fn new() -> Self {
        let slots = (0..SLOTS).map(|_| AtomicU64::new(0)).collect();
        Self { hasher: RandomState::new(), since: Instant::now(), slots }
    }

    pub(crate) fn has(&self, name: &[u8]) -> bool {
        let until = self.slot(name).load(Ordering::Relaxed);
        until != 0 && until > self.now()
    }

    pub(crate) fn add(&self, name: &[u8]) {
        let lately = u64::try_from(LATELY.as_micros()).unwrap_or(u64::MAX);
        self.slot(name).store(self.now() + lately, Ordering::Relaxed);
    }

    pub(crate) fn remove(&self, name: &[u8]) {
        self.slot(name).store(0, Ordering::Relaxed);
    }

    fn slot(&self, name: &[u8]) -> &AtomicU64 {
        let hash = self.hasher.hash_one(name);
        &self.slots[usize::try_from(hash % SLOTS as u64).unwrap_or_default()]
    }

    fn now(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_contended_from_when_it_was_found_so_until_it_is_free() {
        let contended = Contended::new();
        assert!(!contended.has(b"a"));
        contended.add(b"a");
        assert!(contended.has(b"a"));
        contended.remove(b"a");
        assert!(!contended.has(b"a"));
    }
}
