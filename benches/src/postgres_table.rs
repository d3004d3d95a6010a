//! The Postgres store's table when it is large, is purged, and stands under a constant load. It takes
//! some minutes, and is measured where it is named: `postgres/table`.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use idempotency::{Idempotency, Upkeep};
use idempotency_store_postgres::sqlx::{self, AssertSqlSafe, PgPool, Row};
use idempotency_store_postgres::{Names, PostgresStore, PostgresStoreConfig};
use tokio::runtime::Runtime;

use crate::measure::{Fresh, Report, pairs, round};
use crate::ours::Ours;
use crate::value::keys;

const SMALL: u64 = 100_000;
const LARGE: u64 = 10_000_000;
/// How many of the large table's records are expired.
const EXPIRED: u64 = 2_000_000;
const TASKS: usize = 64;
const RUNS: usize = 5_000;
const PAIRS: usize = 11;
const MINUTES: usize = 6;

type Tell<'a> = &'a mut dyn FnMut(Report) -> io::Result<()>;

/// One table, by the store and by the driver itself.
pub(crate) struct Table {
    pub(crate) store: PostgresStore,
    ours: Arc<Fresh<Ours>>,
    pub(crate) pool: PgPool,
    name: &'static str,
}

impl Table {
    pub(crate) async fn open(url: &str, name: &'static str, retention: Duration) -> io::Result<Self> {
        let config = PostgresStoreConfig::from_url(url).map_err(io::Error::other)?;
        let config = config.with_names(Names::new("bench", name).map_err(io::Error::other)?);
        let store = PostgresStore::open(config).await.map_err(io::Error::other)?;
        let handle = Idempotency::new(store.clone()).with_retention(retention).map_err(io::Error::other)?;
        let pool = PgPool::connect(url).await.map_err(io::Error::other)?;
        Ok(Self { store, ours: Arc::new(Fresh(Arc::new(Ours(handle)))), pool, name })
    }

    pub(crate) async fn number(&self, sql: &str) -> io::Result<i64> {
        let sql = sql.replace("{table}", &format!("bench.{}", self.name));
        let row = sqlx::query(AssertSqlSafe(sql)).fetch_one(&self.pool).await.map_err(io::Error::other)?;
        row.try_get(0).map_err(io::Error::other)
    }

    /// Completed records with a value of 64 bytes; the first `expired` of them expired long ago.
    pub(crate) async fn fill(&self, records: u64, expired: u64) -> io::Result<()> {
        const HOUR: u64 = 3_600_000_000;
        let fill = format!(
            "WITH made AS (INSERT INTO {{table}} (key, owner, fingerprint, fence, attempt, acquired_at, lease_until, \
               completed_at, forgotten_at, retention, unknown_retention, look_at, on_unknown, fingerprint_version, state, \
               confirmed, value) \
             SELECT '/payment:create/' || md5(n::text), decode(md5(n::text), 'hex'), sha256(n::text::bytea), n, 1, now, now, \
               now, until, {HOUR}, {HOUR}, until, 0, 1, 'C', true, decode(repeat('ab', 64), 'hex') \
             FROM generate_series(1, {records}) n, LATERAL (SELECT (extract(epoch FROM now()) * 1000000)::bigint AS now) a, \
               LATERAL (SELECT CASE WHEN n <= {expired} THEN now - {HOUR} + n ELSE now + 24 * {HOUR} + n END AS until) b \
             RETURNING 1) SELECT count(*) FROM made"
        );
        self.number(&fill).await?;
        let vacuum = format!("VACUUM (ANALYZE) bench.{}", self.name);
        sqlx::query(AssertSqlSafe(vacuum)).execute(&self.pool).await.map_err(io::Error::other)?;
        sqlx::query("CHECKPOINT").execute(&self.pool).await.map_err(io::Error::other)?;
        Ok(())
    }
}

pub(crate) fn run(runtime: &Runtime, url: &str, tell: Tell<'_>) -> io::Result<()> {
    let hour = Duration::from_secs(3600);
    let small = runtime.block_on(Table::open(url, "small", hour))?;
    let large = runtime.block_on(Table::open(url, "large", hour))?;
    runtime.block_on(small.fill(SMALL, 0))?;
    runtime.block_on(large.fill(LARGE, EXPIRED))?;

    let on = |table: &Table, n| round(runtime, table.ours.clone(), keys(n, RUNS), TASKS);
    let by_size = pairs(PAIRS, |n| on(&large, n), |n| on(&small, n));
    tell(Report::of("postgres/table/size".into(), "10,000,000", "100,000", &by_size))?;

    purged(runtime, &large, tell)?;
    let updates = runtime.block_on(async {
        // Sessions tell of what they did within a second after it.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let of = |column: &str| format!("SELECT {column} FROM pg_stat_user_tables WHERE relid = '{{table}}'::regclass");
        Ok::<_, io::Error>((large.number(&of("n_tup_hot_upd")).await?, large.number(&of("n_tup_upd")).await?))
    })?;
    println!("postgres/table/hot   {} of {} updates changed no index", updates.0, updates.1);
    steady(runtime, url)
}

/// The same load while the table is purged, and while it is not.
fn purged(runtime: &Runtime, table: &Table, tell: Tell<'_>) -> io::Result<()> {
    let begun = Instant::now();
    let alone = runtime.block_on(table.store.purge(200_000)).map_err(io::Error::other)?.removed;
    println!("postgres/table/purge {:.0} rows/s, alone", alone as f64 / begun.elapsed().as_secs_f64());

    let (removed, busy) = (AtomicUsize::new(0), Duration::ZERO);
    let busy = std::cell::Cell::new(busy);
    let during = |n| {
        let stopped = Arc::new(AtomicBool::new(false));
        let (store, stop) = (table.store.clone(), stopped.clone());
        let purging = runtime.spawn(async move {
            let (mut removed, begun) = (0, Instant::now());
            while !stop.load(Relaxed) {
                removed += store.purge(1_000).await.expect("the server answers").removed;
            }
            (removed, begun.elapsed())
        });
        let done = round(runtime, table.ours.clone(), keys(n, RUNS), TASKS);
        stopped.store(true, Relaxed);
        let (gone, took) = runtime.block_on(purging).expect("no panic");
        removed.fetch_add(gone, Relaxed);
        busy.set(busy.get() + took);
        done
    };
    let quiet = |n| round(runtime, table.ours.clone(), keys(1_000 + n, RUNS), TASKS);
    let by_purge = pairs(PAIRS, |n| during(500 + n), quiet);
    tell(Report::of("postgres/table/purged".into(), "purging", "quiet", &by_purge))?;
    println!("postgres/table/purge {:.0} rows/s, under load", removed.into_inner() as f64 / busy.get().as_secs_f64());
    Ok(())
}

/// How large a table is whose records are forgotten as fast as they come.
fn steady(runtime: &Runtime, url: &str) -> io::Result<()> {
    let table = runtime.block_on(Table::open(url, "steady", Duration::from_millis(500)))?;
    let mut sizes = Vec::new();
    // Vacuumed once a minute, as Postgres comes.
    for n in 0..MINUTES * 30 {
        let next = Instant::now() + Duration::from_secs(2);
        drop(round(runtime, table.ours.clone(), keys(n, RUNS), TASKS));
        runtime.block_on(table.store.purge(usize::MAX)).map_err(io::Error::other)?;
        sizes.push(runtime.block_on(table.number("SELECT pg_total_relation_size('{table}')"))?);
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    let sizes: Vec<_> = sizes.iter().skip(29).step_by(30).map(|size| format!("{:.1}", *size as f64 / 1e6)).collect();
    println!("postgres/table/steady MB after each minute of {RUNS} records in 2 s: {}", sizes.join(" "));
    Ok(())
}
