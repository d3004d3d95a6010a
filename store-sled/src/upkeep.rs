//! Purging, counting and listing.

use std::ops::Bound;
use std::sync::Arc;

use async_trait::async_trait;
use idempotency_core::{Clock, Key, Page, Purged, Snapshot, Stats, StoreError, StoreErrorKind, Timestamp, Upkeep};

use crate::error::Operation;
use crate::index;
use crate::journal::Swap;
use crate::layout::{self, LONG, SHORT};
use crate::records::{Found, key_of};
use crate::store::{Shared, SledStore};

/// How many entries are read at a time, so that no call holds up an executor for long.
const PAGE: usize = 256;

#[async_trait]
impl<C: Clock> Upkeep for SledStore<C> {
    async fn purge(&self, limit: usize) -> Result<Purged, StoreError> {
        let shared = &self.shared;
        let now = shared.clock.now();
        let mut purged = Purged::default();
        let mut from = Bound::Included(index::FIRST.to_vec());
        let mut damage = None;
        loop {
            let page = shared.records.journal.scan(from.as_ref().map(Vec::as_slice), PAGE).during("purge")?.value;
            let due: Vec<_> = page
                .into_iter()
                .map(|(entry, _)| entry)
                .take_while(|entry| index::read(entry).is_some_and(|(at, _)| at <= now))
                .collect();
            let Some(last) = due.last() else {
                return damage.map_or(Ok(purged), Err);
            };
            from = Bound::Excluded(last.to_vec());
            for entry in due {
                if purged.removed == limit {
                    purged.more = true;
                    return Ok(purged);
                }
                let Some((_, record_key)) = index::read(&entry) else { continue };
                match shared.purge_one(record_key, now).await {
                    Ok(removed) => purged.removed += usize::from(removed),
                    // One damaged record must not keep all others; its entry stays, to be told of again.
                    Err(error) if error.kind() == StoreErrorKind::Damaged => {
                        damage.get_or_insert(error);
                        continue;
                    }
                    Err(error) => return Err(error),
                }
                let _nobody_waits = shared.records.journal.remove(&entry).during("purge")?;
            }
            tokio::task::yield_now().await;
        }
    }

    async fn stats(&self) -> Result<Stats, StoreError> {
        let now = self.shared.clock.now();
        let mut stats = Stats::default();
        let mut walk = Walk::from(Bound::Included(vec![LONG.min(SHORT)]));
        while let Some(page) = walk.next(&self.shared, "stats")? {
            for (_, found) in page {
                stats.count(&Snapshot { record: found.record, now });
            }
            tokio::task::yield_now().await;
        }
        Ok(stats)
    }

    async fn list(&self, after: Option<&Key>, limit: usize) -> Result<Page, StoreError> {
        let now = self.shared.clock.now();
        let first =
            after.map_or(Bound::Included(vec![LONG.min(SHORT)]), |key| Bound::Excluded(layout::record_key(key)));
        let mut walk = Walk::from(first);
        let mut listed = Page::default();
        while let Some(page) = walk.next(&self.shared, "list")? {
            for (key, found) in page {
                if now >= found.record.forgotten_at() {
                    continue;
                }
                if listed.records.len() == limit {
                    listed.next = listed.records.last().map(|(key, _)| key.clone());
                    return Ok(listed);
                }
                listed.records.push((key, Snapshot { record: found.record, now }));
            }
            tokio::task::yield_now().await;
        }
        Ok(listed)
    }
}

impl<C: Clock> Shared<C> {
    /// Removes a record that may be forgotten; files it again if it may not be yet. Whether it was
    /// removed.
    async fn purge_one(self: &Arc<Self>, record_key: &[u8], now: Timestamp) -> Result<bool, StoreError> {
        loop {
            let Some(raw) = self.records.journal.get(record_key).during("purge")?.value else { return Ok(false) };
            let key = key_of("purge", record_key, &raw)?;
            let (Some(Found { raw, pieces, record }), _) = self.records.find("purge", &key, record_key)? else {
                return Ok(false);
            };
            if now < record.forgotten_at() {
                let entry = index::entry(index::look_at(&record, now), record_key);
                let _before_the_old_one_goes = self.records.journal.insert(&entry, &[]).during("purge")?;
                return Ok(false);
            }
            let Swap::Swapped(ticket) =
                self.records.journal.compare_and_swap(record_key, Some(&raw), None).during("purge")?
            else {
                continue;
            };
            if let Some(pieces) = pieces {
                // Waits for the disk, so that a purge of many long records does not get far ahead of it.
                self.remove(pieces, ticket).await;
            }
            return Ok(true);
        }
    }
}

/// Walks over all records, long keys first, a page at a time.
struct Walk {
    next: Option<Bound<Vec<u8>>>,
}

impl From<Bound<Vec<u8>>> for Walk {
    fn from(first: Bound<Vec<u8>>) -> Self {
        Self { next: Some(first) }
    }
}

impl Walk {
    fn next<C: Clock>(
        &mut self,
        shared: &Shared<C>,
        operation: &'static str,
    ) -> Result<Option<Vec<(Key, Found)>>, StoreError> {
        let Some(first) = self.next.take() else { return Ok(None) };
        let page = shared.records.journal.scan(first.as_ref().map(Vec::as_slice), PAGE).during(operation)?.value;
        let mut records = Vec::new();
        for (record_key, raw) in &page {
            match record_key.first() {
                Some(&SHORT | &LONG) => {
                    let read = key_of(operation, record_key, raw)
                        .and_then(|key| Ok((shared.records.find(operation, &key, record_key)?.0, key)));
                    match read {
                        Ok((found, key)) => records.extend(found.map(|found| (key, found))),
                        Err(error) if records.is_empty() => return Err(error),
                        // Told when it is reached: whoever wants fewer records need not hear of it.
                        Err(_) => {
                            self.next = Some(Bound::Included(record_key.to_vec()));
                            return Ok(Some(records));
                        }
                    }
                }
                // Past the records of short keys, which come last.
                Some(&kind) if kind > SHORT => return Ok(Some(records)),
                // Between the two kinds lie the pieces, which are long and many.
                _ => {
                    self.next = Some(Bound::Included(vec![SHORT]));
                    return Ok(Some(records));
                }
            }
        }
        self.next = page.last().filter(|_| page.len() == PAGE).map(|(last, _)| Bound::Excluded(last.to_vec()));
        Ok(Some(records))
    }
}
