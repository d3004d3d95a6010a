//! Purging, counting and listing.

use std::ops::Bound;

use async_trait::async_trait;
use idempotency_core::{
    Clock, Key, Page, Purged, Snapshot, Stats, StoreError, StoreErrorKind, Timestamp, Upkeep, envelope,
};

use crate::error::Operation;
use crate::index;
use crate::journal::{Journal, JournalError, Swap};
use crate::layout::{self, Body, LONG, PIECE, SHORT};
use crate::store::{Found, Shared, SledStore, damaged};

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
            let page = shared.journal.scan(from.as_ref().map(Vec::as_slice), PAGE).during("purge")?.value;
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
                let _nobody_waits = shared.journal.remove(&entry).during("purge")?;
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
    async fn purge_one(&self, record_key: &[u8], now: Timestamp) -> Result<bool, StoreError> {
        loop {
            let Some(raw) = self.journal.get(record_key).during("purge")?.value else { return Ok(false) };
            let key = key_of("purge", record_key, &raw)?;
            let (Some(Found { raw, pieces, record }), _) = self.find("purge", &key, record_key)? else {
                return Ok(false);
            };
            if now < record.forgotten_at() {
                let entry = index::entry(index::look_at(&record, now), record_key);
                let _before_the_old_one_goes = self.journal.insert(&entry, &[]).during("purge")?;
                return Ok(false);
            }
            let Swap::Swapped(ticket) = self.journal.compare_and_swap(record_key, Some(&raw), None).during("purge")?
            else {
                continue;
            };
            if let Some((id, len)) = pieces {
                ticket.durable().await.during("purge")?;
                let prefix = layout::piece_prefix(record_key);
                let _nobody_waits = self.journal.remove_chunks(&prefix, &id, len).during("purge")?;
            }
            return Ok(true);
        }
    }
}

/// Reads the key that a record was stored under.
fn key_of(operation: &'static str, record_key: &[u8], raw: &[u8]) -> Result<Key, StoreError> {
    let garbled = |what: String| damaged(operation, format!("under {}: {what}", record_key.escape_ascii()));
    let (text, _) = layout::key_and_body(record_key, raw).map_err(|error| garbled(error.to_string()))?;
    Key::parse(text).map_err(|error| garbled(format!("it is no key: {error}")))
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
        let page = shared.journal.scan(first.as_ref().map(Vec::as_slice), PAGE).during(operation)?.value;
        let mut records = Vec::new();
        for (record_key, raw) in &page {
            match record_key.first() {
                Some(&SHORT | &LONG) => {
                    let read = key_of(operation, record_key, raw)
                        .and_then(|key| Ok((shared.find(operation, &key, record_key)?.0, key)));
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

/// Removes pieces that no record names: a process was killed between writing them and the record.
/// For when nobody else uses the database yet.
pub(crate) fn sweep_pieces(journal: &Journal) -> Result<(), JournalError> {
    let mut from = Bound::Included(vec![PIECE]);
    loop {
        let first = journal.scan(from.as_ref().map(Vec::as_slice), 1)?.value.pop();
        let Some((piece, _)) = first.filter(|(piece, _)| piece.starts_with(&[PIECE])) else { return Ok(()) };
        let Some((record_key, id)) = layout::of_piece(&piece) else {
            from = Bound::Excluded(piece.to_vec());
            continue;
        };
        let prefix = layout::piece_prefix(record_key);
        if !names(journal, record_key, id)? {
            let _covered_by_the_opening = journal.sweep_chunks(&prefix, &id)?;
        }
        from = Bound::Excluded([&prefix[..], &id, &u32::MAX.to_be_bytes()].concat());
    }
}

fn names(journal: &Journal, record_key: &[u8], wanted: [u8; 16]) -> Result<bool, JournalError> {
    let Some(raw) = journal.get(record_key)?.value else { return Ok(false) };
    // What cannot be read may name them: damage is told when the key is used.
    let Ok(key) = key_of("open", record_key, &raw) else { return Ok(true) };
    Ok(match layout::body(&key, record_key, &raw) {
        Ok(Body::Pieces { id, .. }) => id == wanted,
        // A head whose first bytes are damaged looks like a whole record, but is none.
        Ok(Body::Whole(bytes)) => envelope::decode(&key, bytes).is_err(),
        Err(_) => true,
    })
}
