//! The tables, and how they come to be.

use idempotency_core::{StoreError, StoreErrorKind};
use sqlx::{AssertSqlSafe, PgPool, Row};

use crate::carry::Pool;
use crate::config::Names;
use crate::error::{Operation, misconfigured};

/// Each with its number; none is ever changed once it was released.
const MIGRATIONS: [(i64, &str, &str); 1] = [(1, "records", include_str!("migrations/1_records.sql"))];

/// The newest that this code knows.
const NEWEST: i64 = MIGRATIONS[MIGRATIONS.len() - 1].0;

/// All that the store needs in its database, as SQL: for those who run their migrations themselves. The
/// store finds the tables then, and makes none.
#[must_use]
pub fn migrations(names: &Names) -> String {
    let mut sql = format!("CREATE SCHEMA IF NOT EXISTS \"{}\";\n", names.schema());
    for (_, name, text) in MIGRATIONS {
        sql.push_str(&format!("\n-- {name}\n{}", filled_in(text, names)));
    }
    sql
}

fn filled_in(text: &str, names: &Names) -> String {
    text.replace("{schema}", &format!("\"{}\"", names.schema())).replace("{table}", names.table())
}

fn bookkeeping(names: &Names) -> String {
    format!("\"{}\".\"{}_migrations\"", names.schema(), names.table())
}

/// Makes what is missing. Many may do so at once: one does, and the others wait.
pub(crate) async fn run(pool: &Pool, names: &Names) -> Result<(), StoreError> {
    match found(pool, names).await? {
        Found::Newer(version) => return Err(newer(version, names)),
        Found::Current => return Ok(()),
        Found::Nothing | Found::Older => {}
    }
    let (pool, names_of_it) = (pool.pool.clone(), names.clone());
    // A transaction whose begin is cut off would stay open in its pool.
    let made = tokio::spawn(async move { make(&pool, &names_of_it).await });
    let made = made.await.unwrap_or_else(|cut_off| Err(sqlx::Error::Io(std::io::Error::other(cut_off))));
    made.during("open").map_err(|error| {
        let message = format!(
            "the table {}.{} is missing or old, and could not be made; give its user the right, or run the SQL that \
             `migrations` prints: {error}",
            names.schema(),
            names.table()
        );
        StoreError::new(error.kind(), "open").with_message(message).with_source(error)
    })
}

/// Makes what is missing, all in one transaction: it has only what a pooler leaves to it, and what it
/// locks is free when it is gone.
async fn make(pool: &PgPool, names: &Names) -> Result<(), sqlx::Error> {
    let (kept, schema) = (bookkeeping(names), names.schema());
    let mut transaction = pool.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
    sqlx::raw_sql("SET LOCAL lock_timeout = 0").execute(&mut *transaction).await?;
    // One for the whole database: several tables may need the same schema.
    sqlx::raw_sql("SELECT pg_advisory_xact_lock(7381046127)").execute(&mut *transaction).await?;
    // To say IF NOT EXISTS, too, takes the right to make schemas.
    let there = sqlx::query("SELECT to_regnamespace($1) IS NOT NULL AS there").persistent(false);
    let there = there.bind(format!("\"{schema}\"")).fetch_one(&mut *transaction).await?;
    if !there.try_get::<bool, _>("there")? {
        sqlx::raw_sql(AssertSqlSafe(format!("CREATE SCHEMA \"{schema}\""))).execute(&mut *transaction).await?;
    }
    let prepared = format!(
        "CREATE TABLE IF NOT EXISTS {kept} (version bigint PRIMARY KEY, description text NOT NULL, \
           installed_on timestamptz NOT NULL DEFAULT now())"
    );
    sqlx::raw_sql(AssertSqlSafe(prepared)).execute(&mut *transaction).await?;
    for (number, name, text) in MIGRATIONS {
        let new = format!("INSERT INTO {kept} (version, description) VALUES ($1, $2) ON CONFLICT (version) DO NOTHING");
        let new = sqlx::query(AssertSqlSafe(new)).persistent(false).bind(number).bind(name);
        if new.execute(&mut *transaction).await?.rows_affected() == 1 {
            sqlx::raw_sql(AssertSqlSafe(filled_in(text, names))).execute(&mut *transaction).await?;
        }
    }
    transaction.commit().await
}

/// The table, which others made, is not of a version that this code does not know. Whether it is there at
/// all is seen with the rights to it.
pub(crate) async fn is_not_newer(pool: &Pool, names: &Names) -> Result<(), StoreError> {
    match found(pool, names).await? {
        Found::Newer(version) => Err(newer(version, names)),
        Found::Nothing | Found::Older | Found::Current => Ok(()),
    }
}

fn newer(version: i64, names: &Names) -> StoreError {
    misconfigured(format!(
        "the table {}.{} is of version {version}, and this program knows only {NEWEST}: it is older than the one that \
         made it; update this program",
        names.schema(),
        names.table()
    ))
}

enum Found {
    Nothing,
    Older,
    Current,
    Newer(i64),
}

/// What is there already: by its own bookkeeping, or by its table alone where somebody else made it.
async fn found(pool: &Pool, names: &Names) -> Result<Found, StoreError> {
    match kept(pool, names).await {
        // The bookkeeping need not be shown to everybody: what is there is taken as it is.
        Err(error) if error.kind() == StoreErrorKind::Misconfigured => Ok(Found::Current),
        found => found,
    }
}

async fn kept(pool: &Pool, names: &Names) -> Result<Found, StoreError> {
    const THERE: &str = "SELECT to_regclass($1) IS NOT NULL AS kept, to_regclass($2) IS NOT NULL AS made";
    let table = format!("\"{}\".\"{}\"", names.schema(), names.table());
    let there = || sqlx::query(THERE).persistent(false).bind(bookkeeping(names)).bind(table.clone());
    let there = pool.one("open", there).await?;
    if !there.try_get::<bool, _>("kept").during("open")? {
        return Ok(if there.try_get::<bool, _>("made").during("open")? { Found::Current } else { Found::Nothing });
    }
    let newest = format!("SELECT max(version) AS newest FROM {}", bookkeeping(names));
    let newest = || sqlx::query(AssertSqlSafe(newest.clone())).persistent(false);
    let newest = pool.one("open", newest).await?;
    Ok(match newest.try_get::<Option<i64>, _>("newest").during("open")? {
        Some(version) if version > NEWEST => Found::Newer(version),
        Some(version) if version == NEWEST => Found::Current,
        Some(_) | None => Found::Older,
    })
}
