//! The tables, and how they come to be.

use std::borrow::Cow;

use idempotency_core::{StoreError, StoreErrorKind};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AssertSqlSafe, PgPool, Row, SqlSafeStr};

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
    format!("{}.{}_migrations", names.schema(), names.table())
}

/// Makes what is missing. Many may do so at once: one does, and the others wait.
pub(crate) async fn run(pool: &PgPool, names: &Names) -> Result<(), StoreError> {
    match found(pool, names).await? {
        Found::Newer(version) => return Err(newer(version, names)),
        Found::Current => return Ok(()),
        Found::Nothing | Found::Older => {}
    }
    let all = MIGRATIONS.map(|(number, name, text)| {
        let sql = AssertSqlSafe(filled_in(text, names)).into_sql_str();
        Migration::new(number, Cow::Borrowed(name), MigrationType::Simple, sql, false)
    });
    let mut migrator = Migrator::with_migrations(all.to_vec());
    migrator.dangerous_set_table_name(bookkeeping(names));
    migrator.create_schema(names.schema().to_owned());
    migrator.run(pool).await.map_err(|error| match error {
        sqlx::migrate::MigrateError::Execute(error) => error,
        other => sqlx::Error::Migrate(Box::new(other)),
    })
    .during("open")
    .map_err(|error| {
        let message = format!(
            "the table {}.{} is missing or old, and could not be made; give its user the right, or run the SQL that \
             `migrations` prints: {error}",
            names.schema(),
            names.table()
        );
        StoreError::new(error.kind(), "open").with_message(message).with_source(error)
    })
}

/// The table, which others made, is not of a version that this code does not know. Whether it is there at
/// all is found out by its first use.
pub(crate) async fn is_not_newer(pool: &PgPool, names: &Names) -> Result<(), StoreError> {
    match found(pool, names).await {
        Ok(Found::Newer(version)) => Err(newer(version, names)),
        // The bookkeeping need not be shown to everybody.
        Ok(Found::Nothing | Found::Older | Found::Current) => Ok(()),
        Err(error) if error.kind() == StoreErrorKind::Misconfigured => Ok(()),
        Err(error) => Err(error),
    }
}

fn newer(version: i64, names: &Names) -> StoreError {
    misconfigured(format!(
        "the table {}.{} is of version {version}, and this program knows only {NEWEST}: it is older than the one that \
         made it",
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
async fn found(pool: &PgPool, names: &Names) -> Result<Found, StoreError> {
    let there = sqlx::query("SELECT to_regclass($1) IS NOT NULL AS kept, to_regclass($2) IS NOT NULL AS made")
        .persistent(false)
        .bind(bookkeeping(names))
        .bind(format!("\"{}\".\"{}\"", names.schema(), names.table()))
        .fetch_one(pool)
        .await
        .during("open")?;
    if !there.try_get::<bool, _>("kept").during("open")? {
        return Ok(if there.try_get::<bool, _>("made").during("open")? { Found::Current } else { Found::Nothing });
    }
    let newest = format!("SELECT max(version) AS newest FROM {}", bookkeeping(names));
    let newest = sqlx::query(AssertSqlSafe(newest)).persistent(false).fetch_one(pool).await.during("open")?;
    Ok(match newest.try_get::<Option<i64>, _>("newest").during("open")? {
        Some(version) if version > NEWEST => Found::Newer(version),
        Some(version) if version == NEWEST => Found::Current,
        Some(_) | None => Found::Older,
    })
}
