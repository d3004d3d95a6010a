//! What is known of keys and of retries: `GET /api/v1/webhooks/statistics`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use axum::response::Response;
use idempotency::http::names::{IDEMPOTENCY_STATUS, Status};
use idempotency::postgres::sqlx::{self, Row, postgres::PgPool};
use idempotency::{Store, StoreError, Timestamp, Upkeep};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;

/// The operation of the webhooks' keys, as the layer names it.
pub(crate) const OPERATION: &str = "POST /api/v1/whatsapp/webhook";
/// Counting is not to take more than a tenth of the time.
const RESTS: u32 = 10;
/// How many records are listed at a time.
const PAGE: usize = 500;

/// By the database itself where it can, else record by record. In a key's text, a slash within a part is `%2F`.
const COUNT: &str = "
    SELECT state = 'expired' AS expired, coalesce(attributes->>'type', '') AS type, count(*) AS count
    FROM idempotency.records_readable WHERE operation = replace($1, '/', '%2F') OR state = 'expired' GROUP BY 1, 2";

/// Counts records and answers.
#[derive(Debug)]
pub(crate) struct Statistics {
    store: Store,
    /// The database that the store is in.
    database: Option<PgPool>,
    counted: Mutex<Option<Counted>>,
    /// A count may be so old before it is made again; older where it takes long.
    fresh_for: Duration,
    since: Timestamp,
    answered: AtomicU64,
    replayed: AtomicU64,
}

/// The records at some time.
#[derive(Clone, Debug)]
struct Counted {
    records: Records,
    at: Instant,
    took: Duration,
}

#[derive(Clone, Debug, Default, Serialize)]
struct Records {
    /// Webhooks whose key is known.
    active: u64,
    /// Records past their time, which are not removed yet; those of clean-up slots, too.
    expired: u64,
    /// The active ones.
    by_type: BTreeMap<String, u64>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum CountError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the records cannot be counted: {0}")]
    Database(#[from] sqlx::Error),
}

impl Statistics {
    pub(crate) fn new(store: Store, database: Option<PgPool>, fresh_for: Duration) -> Self {
        let (answered, replayed) = (AtomicU64::default(), AtomicU64::default());
        let (counted, since) = (Mutex::default(), SystemTime::now().into());
        Self { store, database, counted, fresh_for, since, answered, replayed }
    }

    /// Counts an answer, if it is a handler's, of now or of before. Whether it is of before.
    pub(crate) fn count(&self, response: &Response) -> bool {
        let said = response.headers().get(IDEMPOTENCY_STATUS).and_then(|said| Status::of(said.to_str().ok()?));
        let is_replay = said == Some(Status::Replayed);
        self.answered.fetch_add(u64::from(said.is_some()), Ordering::Relaxed);
        self.replayed.fetch_add(u64::from(is_replay), Ordering::Relaxed);
        is_replay
    }

    /// What is known. Records are not counted for every request: how old the count is, is told.
    pub(crate) async fn tell(&self) -> Result<Value, CountError> {
        let Counted { records, at, took } = self.counted().await?;
        let (answered, replayed) = (self.answered.load(Ordering::Relaxed), self.replayed.load(Ordering::Relaxed));
        let rate = if answered == 0 { None } else { Some(replayed as f64 / answered as f64) };
        Ok(json!({
            "records": records,
            "counted": { "seconds_ago": at.elapsed().as_secs_f64(), "took_seconds": took.as_secs_f64() },
            "hit_rate": {
                "rate": rate, "replayed": replayed, "answered": answered, "since": self.since.to_string(),
                "over": "requests that were answered with a key, by this process since it started",
            },
        }))
    }

    async fn counted(&self) -> Result<Counted, CountError> {
        // Whoever comes while it is counted waits for that count.
        let mut counted = self.counted.lock().await;
        if let Some(known) = &*counted
            && known.at.elapsed() < self.fresh_for.max(known.took * RESTS)
        {
            return Ok(known.clone());
        }
        let begun = Instant::now();
        let records = match &self.database {
            Some(database) => by_query(database).await?,
            None => by_walk(&self.store).await?,
        };
        let now = Counted { records, at: Instant::now(), took: begun.elapsed() };
        *counted = Some(now.clone());
        Ok(now)
    }
}

async fn by_query(database: &PgPool) -> Result<Records, CountError> {
    let mut records = Records::default();
    for row in sqlx::query(COUNT).bind(OPERATION).fetch_all(database).await? {
        let count = row.try_get::<i64, _>("count")?.unsigned_abs();
        if row.try_get("expired")? {
            records.expired += count;
        } else {
            records.add(row.try_get("type")?, count);
        }
    }
    Ok(records)
}

async fn by_walk(store: &Store) -> Result<Records, CountError> {
    let mut records = Records { expired: store.stats().await?.expired, ..Records::default() };
    let mut after = None;
    loop {
        let page = store.list(after.as_ref(), PAGE).await?;
        for (_, found) in page.records.iter().filter(|(key, _)| key.operation() == OPERATION) {
            records.add(found.record.attributes.get("type").unwrap_or_default().into(), 1);
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(records),
        }
    }
}

impl Records {
    fn add(&mut self, kind: String, count: u64) {
        self.active += count;
        *self.by_type.entry(kind).or_default() += count;
    }
}
