//! Purging, counting and listing.

use std::time::Duration;

use async_trait::async_trait;
use idempotency_core::{Key, Page, Purged, Snapshot, Stats, StoreError, Timestamp, Upkeep};
use sqlx::Row;

use crate::error::Operation;
use crate::row::{self, Name, from_i64, time};
use crate::store::{PostgresStore, Shared, now};

/// How often a purge comes back to rows that others were at, and after how long.
const PASSED_OVER: u32 = 3;
const MOMENT: Duration = Duration::from_millis(10);

/// The most rows that one statement of a purge removes.
const BATCH: usize = 1000;

#[async_trait]
impl Upkeep for PostgresStore {
    /// Removes in batches of 1,000, each a statement of its own that skips what others are at: many may
    /// purge at once.
    async fn purge(&self, limit: usize) -> Result<Purged, StoreError> {
        let pool = &self.shared.pool;
        let now = self.shared.now("purge").await?;
        let mut purged = Purged::default();
        let mut passed_over = 0;
        while purged.removed < limit {
            let batch = i64::try_from(BATCH.min(limit - purged.removed)).unwrap_or(i64::MAX);
            let row = pool.one("purge", || pool.query(&pool.sql.purge).bind(time(now)).bind(batch)).await?;
            let count = |column: &str| row.try_get::<i64, _>(column).during("purge").map(from_i64);
            let (gone, later) = (count("gone")?, count("later")?);
            purged.removed += usize::try_from(gone).unwrap_or(usize::MAX);
            if gone + later == 0 {
                // What is left are rows that others are at, for a moment: another purge, or a late call.
                if passed_over == PASSED_OVER || !row.try_get::<bool, _>("held").during("purge")? {
                    return Ok(purged);
                }
                passed_over += 1;
                tokio::time::sleep(MOMENT).await;
            }
        }
        purged.more = true;
        Ok(purged)
    }

    async fn stats(&self) -> Result<Stats, StoreError> {
        let pool = &self.shared.pool;
        let now = self.shared.now("stats").await?;
        let count = || pool.query(&pool.sql.stats).bind(time(now));
        let mut stats = Stats::default();
        for row in pool.again("stats", count).await? {
            let count = from_i64(row.try_get::<i64, _>("count").during("stats")?);
            let is = |column: &str| row.try_get::<bool, _>(column).during("stats");
            if !is("known")? {
                stats.expired += count;
                continue;
            }
            let state: String = row.try_get("state").during("stats")?;
            match state.as_str() {
                "P" if is("live")? => stats.in_progress += count,
                "P" if is("confirmed")? || is("has_prior")? => stats.unknown += count,
                "U" => stats.unknown += count,
                "C" => stats.completed += count,
                _ => stats.released += count,
            }
            let oldest = Timestamp::from_micros(from_i64(row.try_get::<i64, _>("oldest").during("stats")?));
            stats.oldest = Some(stats.oldest.map_or(oldest, |before| before.min(oldest)));
        }
        Ok(stats)
    }

    /// Lists in the order of the keys' texts; keys of more than 1,024 bytes come by their digests.
    async fn list(&self, after: Option<&Key>, limit: usize) -> Result<Page, StoreError> {
        let pool = &self.shared.pool;
        let from = self.shared.now("list").await?;
        let after = after.map(|key| Name::of(key).key).unwrap_or_default();
        let one_more = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
        let list = || pool.query(&pool.sql.list).bind(after.clone()).bind(time(from)).bind(one_more);
        let mut page = Page::default();
        for row in pool.again("list", list).await? {
            if page.records.len() == limit {
                page.next = page.records.last().map(|(key, _)| key.clone());
                break;
            }
            if let Some(stored) = row::read(&row).during("list")? {
                let key = row::key_of(&row).during("list")?;
                page.records.push((key, Snapshot { record: stored.record, now: now(&row, "list")? }));
            }
        }
        Ok(page)
    }
}

impl Shared {
    async fn now(&self, operation: &'static str) -> Result<Timestamp, StoreError> {
        let (_, now) = self.get(&Name { key: "#".into(), long: None }, operation, self.pool.deadline()).await?;
        Ok(now)
    }
}
