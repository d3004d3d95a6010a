//! The books as tables, in the database that also holds the keys: for many processes.

use idempotency::postgres::sqlx;
use sqlx::postgres::{PgPool, PgRow};
use sqlx::{PgConnection, Row};

use super::{BookError, Entry, Kind, Order, booked};
use crate::event::About;

/// Two services that start at once make the tables one after the other: Postgres' own `IF NOT EXISTS` is no
/// protection against that.
const MAKE: &str = "
    BEGIN;
    SELECT pg_advisory_xact_lock(hashtextextended('webhooks: tables', 0));
    CREATE TABLE IF NOT EXISTS webhooks_orders (
        source text NOT NULL,
        order_id text NOT NULL,
        amount bigint NOT NULL,
        currency text NOT NULL,
        paid bigint NOT NULL CHECK (paid <= amount),
        PRIMARY KEY (source, order_id)
    );
    CREATE TABLE IF NOT EXISTS webhooks_ledger (
        source text NOT NULL,
        event text NOT NULL,
        kind text NOT NULL CHECK (kind IN ('sale', 'payment')),
        order_id text NOT NULL,
        amount bigint NOT NULL,
        currency text NOT NULL,
        booked_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (source, event),
        FOREIGN KEY (source, order_id) REFERENCES webhooks_orders
    );
    COMMIT;";

const KEEP_ORDER: &str = "
    INSERT INTO webhooks_orders (source, order_id, amount, currency, paid) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (source, order_id) DO UPDATE SET paid = excluded.paid";
const KEEP_ENTRY: &str = "
    INSERT INTO webhooks_ledger (source, event, kind, order_id, amount, currency) VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (source, event) DO NOTHING";

#[derive(Debug)]
pub(crate) struct Tables {
    pool: PgPool,
}

impl Tables {
    /// Opens the tables, and makes them where they are missing.
    pub(crate) async fn open(pool: PgPool) -> Result<Self, sqlx::Error> {
        sqlx::raw_sql(MAKE).execute(&pool).await?;
        Ok(Self { pool })
    }

    /// Whether it is new. Order and entry are one transaction.
    pub(super) async fn book(&self, entry: Entry) -> Result<bool, BookError> {
        let Entry { source, event, kind, order: About { id, amount, currency } } = &entry;
        let mut transaction = self.pool.begin().await?;
        // Nobody else changes the order until the transaction ends, be it there or not.
        let lock = "SELECT pg_advisory_xact_lock(hashtextextended('webhooks: ' || $1 || '/' || $2, 0))";
        sqlx::query(lock).bind(source).bind(id).execute(&mut *transaction).await?;
        let known = find(&mut transaction, source, event).await?;
        let order = load(&mut transaction, source, id).await?;
        let Some(order) = booked(order.as_ref(), known.as_ref(), &entry)? else { return Ok(false) };
        sqlx::query(KEEP_ORDER)
            .bind(source)
            .bind(id)
            .bind(order.amount as i64)
            .bind(order.currency)
            .bind(order.paid as i64)
            .execute(&mut *transaction)
            .await?;
        let kept = sqlx::query(KEEP_ENTRY)
            .bind(source)
            .bind(event)
            .bind(kind.name())
            .bind(id)
            .bind(*amount as i64)
            .bind(currency)
            .execute(&mut *transaction)
            .await?;
        if kept.rows_affected() == 0 {
            // Booked meanwhile, for another order.
            return Err(BookError::EventReused);
        }
        transaction.commit().await?;
        Ok(true)
    }

    pub(super) async fn order(&self, source: &str, order: &str) -> Result<Option<Order>, BookError> {
        let mut connection = self.pool.acquire().await?;
        Ok(load(&mut connection, source, order).await?)
    }
}

async fn load(connection: &mut PgConnection, source: &str, order: &str) -> Result<Option<Order>, sqlx::Error> {
    let found = sqlx::query("SELECT * FROM webhooks_orders WHERE source = $1 AND order_id = $2");
    let Some(row) = found.bind(source).bind(order).fetch_optional(connection).await? else { return Ok(None) };
    let (amount, paid) = (amount_of(&row, "amount")?, amount_of(&row, "paid")?);
    Ok(Some(Order { amount, currency: row.try_get("currency")?, paid }))
}

async fn find(connection: &mut PgConnection, source: &str, event: &str) -> Result<Option<Entry>, sqlx::Error> {
    let found = sqlx::query("SELECT * FROM webhooks_ledger WHERE source = $1 AND event = $2");
    let Some(row) = found.bind(source).bind(event).fetch_optional(connection).await? else { return Ok(None) };
    let kind: String = row.try_get("kind")?;
    let kind = if kind == Kind::Sale.name() { Kind::Sale } else { Kind::Payment };
    let (id, amount, currency) = (row.try_get("order_id")?, amount_of(&row, "amount")?, row.try_get("currency")?);
    Ok(Some(Entry { source: source.into(), event: event.into(), kind, order: About { id, amount, currency } }))
}

fn amount_of(row: &PgRow, column: &str) -> Result<u64, sqlx::Error> {
    Ok(row.try_get::<i64, _>(column)?.unsigned_abs())
}
