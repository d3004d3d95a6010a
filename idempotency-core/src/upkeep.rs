//! What operators and background tasks do with a store.

use async_trait::async_trait;

use crate::error::StoreError;
use crate::key::Key;
use crate::record::Snapshot;
use crate::store::IdempotencyStore;
use crate::time::Timestamp;

/// Purging, counting and listing; apart from [`IdempotencyStore`], so that a minimal store stays
/// minimal.
#[async_trait]
pub trait Upkeep: IdempotencyStore {
    /// Removes up to `limit` records whose retention has ended.
    ///
    /// Purging is never needed for a right answer, only for room. May run at any time, from many
    /// places at once.
    ///
    /// # Errors
    /// [`StoreError`]; what was removed until then stays removed.
    async fn purge(&self, limit: usize) -> Result<Purged, StoreError>;

    /// Counts the records by how they stand now.
    ///
    /// # Errors
    /// [`StoreError`]
    async fn stats(&self) -> Result<Stats, StoreError>;

    /// Lists up to `limit` records, in an order of the store's own, from after `after` on.
    ///
    /// Records that come and go meanwhile may be missed; one that stays is listed once. Records past
    /// their retention are left out.
    ///
    /// # Errors
    /// [`StoreError`]
    async fn list(&self, after: Option<&Key>, limit: usize) -> Result<Page, StoreError>;
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: Upkeep + ?Sized> Upkeep for std::sync::Arc<S> {
    async fn purge(&self, limit: usize) -> Result<Purged, StoreError> {
        (**self).purge(limit).await
    }

    async fn stats(&self) -> Result<Stats, StoreError> {
        (**self).stats().await
    }

    async fn list(&self, after: Option<&Key>, limit: usize) -> Result<Page, StoreError> {
        (**self).list(after, limit).await
    }
}

/// What a purge did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// How many records it removed.
    pub removed: usize,
    /// Whether it stopped at its limit, so that there may be more.
    pub more: bool,
}

/// How many records stand how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// With a live lease.
    pub in_progress: u64,
    /// With an unknown attempt.
    pub unknown: u64,
    /// Released, and still remembered.
    pub released: u64,
    /// With a result.
    pub completed: u64,
    /// Past their retention, and not purged yet.
    pub expired: u64,
    /// When the oldest unexpired record's latest attempt began.
    pub oldest: Option<Timestamp>,
}

impl Stats {
    /// Counts one record as it stands at the snapshot's time.
    pub fn count(&mut self, snapshot: &Snapshot) {
        use crate::record::Phase;

        let Snapshot { record, now } = snapshot;
        if *now >= record.forgotten_at() {
            self.expired += 1;
            return;
        }
        match record.phase(*now) {
            Phase::Live(_) => self.in_progress += 1,
            Phase::Unknown(_) => self.unknown += 1,
            Phase::Free => self.released += 1,
            Phase::Completed => self.completed += 1,
        }
        let began = record.acquired_at;
        self.oldest = Some(self.oldest.map_or(began, |oldest| oldest.min(began)));
    }
}

/// A part of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The records. Their keys have no fingerprint; the records have.
    pub records: Vec<(Key, Snapshot)>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<Key>,
}
