//! What the store's user must be allowed, found out when the store is opened and not by the first call.

use idempotency_core::StoreError;
use sqlx::Row;

use crate::carry::Pool;
use crate::config::Names;
use crate::error::{Operation, misconfigured};

/// Each right, with what is granted to have it. Without DELETE only purging fails.
const NEEDED: [(&str, &str); 5] = [
    ("schema_usage", "USAGE ON SCHEMA {schema}"),
    ("table_select", "SELECT ON {schema}.{table}"),
    ("table_insert", "INSERT ON {schema}.{table}"),
    ("table_update", "UPDATE ON {schema}.{table}"),
    ("fences_usage", "USAGE ON SEQUENCE {schema}.{table}_fences"),
];

/// Asked of the catalog by number: by name, a right that is missing would be an error.
const ASKED: &str = "SELECT has_schema_privilege(n.oid, 'USAGE') AS schema_usage, \
                       has_table_privilege(t.oid, 'SELECT') AS table_select, \
                       has_table_privilege(t.oid, 'INSERT') AS table_insert, \
                       has_table_privilege(t.oid, 'UPDATE') AS table_update, \
                       has_sequence_privilege(f.oid, 'USAGE') AS fences_usage, current_user::text AS who \
                     FROM pg_catalog.pg_namespace n \
                     JOIN pg_catalog.pg_class t ON t.relnamespace = n.oid AND t.relname = $2 \
                     JOIN pg_catalog.pg_class f ON f.relnamespace = n.oid AND f.relname = $3 \
                     WHERE n.nspname = $1";

/// Whether they suffice.
///
/// # Errors
/// *Misconfigured*, with the table that is missing or what to grant.
pub(crate) async fn suffice(pool: &Pool, names: &Names) -> Result<(), StoreError> {
    let (schema, table) = (names.schema(), names.table());
    let asked = || {
        let query = sqlx::query(ASKED).persistent(false).bind(schema.to_owned()).bind(table.to_owned());
        query.bind(format!("{table}_fences"))
    };
    let rows = pool.again("open", asked).await?;
    let Some(row) = rows.first() else {
        return Err(misconfigured(format!(
            "Postgres: the table is missing, {schema}.{table} or its sequence: let the store make it, or run the SQL that \
             `migrations` prints"
        )));
    };
    let mut missing = Vec::new();
    for (right, granted) in NEEDED {
        if !row.try_get::<bool, _>(right).during("open")? {
            missing.push(granted.replace("{schema}", schema).replace("{table}", table));
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let who: String = row.try_get("who").during("open")?;
    let grants: Vec<_> = missing.iter().map(|right| format!("GRANT {right} TO {who};")).collect();
    Err(misconfigured(format!("Postgres: its user {who} lacks a right: run `{}`; see the README", grants.join(" "))))
}
