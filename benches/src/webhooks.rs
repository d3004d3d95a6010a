//! The figures that the webhooks' document claims, measured: a table with a day's million of records, on the store's
//! own statements and over HTTP. It takes some minutes, and is measured where it is named: `webhooks`.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use idempotency::http::server::IdempotencyLayer;
use idempotency::{Error, Idempotency, IdempotencyStore, Key, Upkeep};
use idempotency_store_postgres::sqlx::{self, AssertSqlSafe};
use tokio::runtime::Runtime;

use crate::measure::{Subject, quantile};
use crate::postgres_table::Table;
use crate::served::{Served, service};
use crate::value::{Payment, keys};

const RECORDS: u64 = 1_000_000;
/// Of those, a clean-up each.
const CLEAN_UPS: u64 = 30;
const BATCH: usize = 1_000;
const RUNS: usize = 5_000;
/// A tenth of a day's: their size is told for all of them.
const LARGE_RECORDS: u64 = 100_000;
/// Answers of 7 to 10 KB that cannot be compressed; a thousand, for the records to choose from.
const ANSWERS: &str = "
    CREATE TABLE bench.answers AS SELECT n, (
        SELECT decode(substr(string_agg(md5(n::text || '/' || part::text), ''), 1, 2 * (7000 + n * 3)), 'hex')
        FROM generate_series(1, 640) part) AS value
    FROM generate_series(0, 999) n";

pub(crate) fn run(runtime: &Runtime, url: &str) -> io::Result<()> {
    let day = Duration::from_secs(24 * 60 * 60);
    let table = runtime.block_on(Table::open(url, "webhooks", day))?;
    runtime.block_on(table.fill(RECORDS, CLEAN_UPS * BATCH as u64))?;
    size(runtime, &table, RECORDS, "answers of 64 bytes")?;

    let store = &table.store;
    let known = "SELECT key FROM bench.webhooks WHERE forgotten_at > completed_at ORDER BY md5(key) LIMIT 5000";
    let known: Vec<String> =
        runtime.block_on(sqlx::query_scalar(known).fetch_all(&table.pool)).map_err(io::Error::other)?;
    let known = known.into_iter().map(Key::parse).collect::<Result<Vec<_>, _>>().map_err(io::Error::other)?;
    let looked_up = each(runtime, &known, async |key| assert!(store.get(key).await.is_ok_and(|found| found.is_some())));
    tell("look-up", "5 ms", looked_up);

    let handle = Idempotency::new(store.clone()).with_retention(day).map_err(io::Error::other)?;
    let inserted = each(runtime, &keys(0, RUNS), async |key| {
        let ran = handle.execute_once(key, async { Ok::<_, Error>(Payment::sample()) }).await;
        assert!(ran.is_ok_and(|ran| !ran.is_replay()));
    });
    tell("insert: lock and answer", "2 ms", inserted);

    let service = service(Duration::ZERO).layer(IdempotencyLayer::new(handle));
    let served = Arc::new(runtime.block_on(Served::start(service))?);
    let first = each(runtime, &keys(1, RUNS), async |key| served.operate(key).await);
    tell("first request, over HTTP", "200 ms", first);
    let again = each(runtime, &keys(1, RUNS), async |key| served.operate(key).await);
    tell("hit, over HTTP", "5 ms", again);

    let cleaned = each(runtime, &keys(2, CLEAN_UPS as usize), async |_| {
        assert_eq!(store.purge(BATCH).await.expect("the server answers").removed, BATCH);
    });
    tell("clean-up of 1,000", "1 s", cleaned);

    let large = runtime.block_on(Table::open(url, "webhooks_large", day))?;
    runtime.block_on(async {
        sqlx::query(ANSWERS).execute(&large.pool).await.map_err(io::Error::other)?;
        large.fill(LARGE_RECORDS, 0).await?;
        let answer =
            "UPDATE bench.webhooks_large SET value = (SELECT a.value FROM bench.answers a WHERE a.n = fence % 1000)";
        sqlx::query(AssertSqlSafe(answer)).execute(&large.pool).await.map_err(io::Error::other)?;
        // Rows were written twice, which those of a service are not.
        sqlx::query("VACUUM FULL bench.webhooks_large").execute(&large.pool).await.map_err(io::Error::other)
    })?;
    size(runtime, &large, LARGE_RECORDS, "answers of 7 to 10 KB")
}

/// How long each took, one after the other.
fn each(runtime: &Runtime, keys: &[Key], operate: impl AsyncFn(&Key)) -> Vec<f64> {
    runtime.block_on(async {
        let mut took = Vec::with_capacity(keys.len());
        for key in keys {
            let begun = Instant::now();
            operate(key).await;
            took.push(begun.elapsed().as_secs_f64() * 1e3);
        }
        took.sort_by(f64::total_cmp);
        took
    })
}

fn tell(what: &str, claimed: &str, took: Vec<f64>) {
    let (half, most) = (quantile(&took, 0.5), quantile(&took, 0.99));
    println!("webhooks/{what:<26} p50 {half:>8.3} ms   p99 {most:>8.3} ms   (document: < {claimed})");
}

fn size(runtime: &Runtime, table: &Table, records: u64, what: &str) -> io::Result<()> {
    let bytes = runtime.block_on(table.number("SELECT pg_total_relation_size('{table}')"))? as f64;
    let each = bytes / records as f64;
    println!("webhooks/size, {what:<24} {each:>6.0} bytes each   {:>6.2} GB for 1,000,000", each / 1e3);
    Ok(())
}
