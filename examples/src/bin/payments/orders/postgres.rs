//! The orders as tables, in the database that also holds the keys: for many processes.

use std::collections::BTreeMap;

use idempotency::Key;
use idempotency::postgres::{Transactions, sqlx};
use sqlx::postgres::{PgPool, PgRow};
use sqlx::{PgConnection, Row};

use super::{Charge, Confirming, Opened, Order, OrderError, Refund, Step, check, check_confirm};

/// Two services that start at once make the tables one after the other: Postgres' own `IF NOT EXISTS` is no
/// protection against that.
const MAKE: &str = "
    BEGIN;
    SELECT pg_advisory_xact_lock(hashtextextended('payments: tables', 0));
    CREATE TABLE IF NOT EXISTS payments_orders (
        order_id text PRIMARY KEY,
        amount bigint NOT NULL,
        currency text NOT NULL,
        transaction_id text UNIQUE,
        confirmations integer NOT NULL DEFAULT 0 CHECK (confirmations <= 1),
        opened_key text NOT NULL,
        opened_fence bigint NOT NULL
    );
    CREATE TABLE IF NOT EXISTS payments_refunds (
        order_id text NOT NULL REFERENCES payments_orders,
        refund_id text NOT NULL,
        amount bigint NOT NULL,
        transaction_id text UNIQUE,
        opened_key text NOT NULL,
        opened_fence bigint NOT NULL,
        PRIMARY KEY (order_id, refund_id)
    );
    COMMIT;";

const OPEN_ORDER: &str = "
    INSERT INTO payments_orders (order_id, amount, currency, opened_key, opened_fence) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (order_id) DO UPDATE SET opened_fence = excluded.opened_fence";
const OPEN_REFUND: &str = "
    INSERT INTO payments_refunds (order_id, refund_id, amount, opened_key, opened_fence) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (order_id, refund_id) DO UPDATE SET opened_fence = excluded.opened_fence";
const CLOSE_ORDER: &str = "DELETE FROM payments_orders WHERE order_id = $1 AND opened_key = $2 AND opened_fence = $3";
const CLOSE_REFUND: &str =
    "DELETE FROM payments_refunds WHERE order_id = $1 AND opened_key = $2 AND opened_fence = $3 AND refund_id = $4";

#[derive(Debug)]
pub(crate) struct Tables {
    pool: PgPool,
    transactions: Transactions,
}

impl Tables {
    /// Opens the tables, and makes them where they are missing. `transactions` are of the same database.
    pub(crate) async fn open(url: &str, transactions: Transactions) -> Result<Self, sqlx::Error> {
        let pool = PgPool::connect(url).await?;
        sqlx::raw_sql(MAKE).execute(&pool).await?;
        Ok(Self { pool, transactions })
    }

    pub(super) async fn find(&self, order: &str) -> Result<Option<Order>, OrderError> {
        let mut connection = self.pool.acquire().await?;
        Ok(load(&mut connection, order).await?)
    }

    pub(super) async fn begin(&self, step: &Step, by: Opened) -> Result<Option<String>, OrderError> {
        let mut transaction = self.pool.begin().await?;
        let order = load_alone(&mut transaction, &step.order).await?;
        let done = check(order.as_ref(), step, &by)?;
        if done.is_none() {
            let (amount, fence) = (step.amount as i64, by.fence as i64);
            let insert = match &step.refund {
                None => sqlx::query(OPEN_ORDER).bind(&step.order).bind(amount).bind(&step.currency),
                Some(refund) => sqlx::query(OPEN_REFUND).bind(&step.order).bind(refund).bind(amount),
            };
            insert.bind(by.key).bind(fence).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(done)
    }

    pub(super) async fn done(&self, step: &Step, transaction: &str) -> Result<(), OrderError> {
        let done = match &step.refund {
            None => sqlx::query("UPDATE payments_orders SET transaction_id = $1 WHERE order_id = $2"),
            Some(_) => {
                sqlx::query("UPDATE payments_refunds SET transaction_id = $1 WHERE order_id = $2 AND refund_id = $3")
            }
        };
        done.bind(transaction).bind(&step.order).bind(&step.refund).execute(&self.pool).await?;
        Ok(())
    }

    pub(super) async fn close(&self, step: &Step, by: Opened) -> Result<(), OrderError> {
        let close = sqlx::query(if step.refund.is_none() { CLOSE_ORDER } else { CLOSE_REFUND });
        let close = close.bind(&step.order).bind(by.key).bind(by.fence as i64).bind(&step.refund);
        close.execute(&self.pool).await?;
        Ok(())
    }

    /// One transaction with the record of its key: a confirmation is counted and remembered, or neither.
    pub(super) async fn confirm(&self, charge: Charge) -> Result<bool, OrderError> {
        let key = Key::new("order:confirm", &charge.transaction).request(&charge).build()?;
        let confirmed = self.transactions.execute_in_transaction(&key, move |mut transaction, _| async move {
            let order = load_alone(&mut transaction, &charge.order).await?;
            let Confirming::Now { .. } = check_confirm(order.as_ref(), &charge)? else { return Ok(false) };
            let confirm = "UPDATE payments_orders SET transaction_id = $1, confirmations = confirmations + 1
                           WHERE order_id = $2";
            sqlx::query(confirm).bind(charge.transaction).bind(charge.order).execute(&mut *transaction).await?;
            Ok::<_, OrderError>(true)
        });
        let confirmed = confirmed.await?;
        Ok(*confirmed && !confirmed.is_replay())
    }
}

/// Loads an order that nobody else reads to change it until the transaction ends, be it there or not.
async fn load_alone(transaction: &mut PgConnection, order: &str) -> Result<Option<Order>, sqlx::Error> {
    let lock = "SELECT pg_advisory_xact_lock(hashtextextended('payments: ' || $1, 0))";
    sqlx::query(lock).bind(order).execute(&mut *transaction).await?;
    load(transaction, order).await
}

async fn load(connection: &mut PgConnection, order: &str) -> Result<Option<Order>, sqlx::Error> {
    let found = sqlx::query("SELECT * FROM payments_orders WHERE order_id = $1").bind(order);
    let Some(row) = found.fetch_optional(&mut *connection).await? else { return Ok(None) };
    let mut refunds = BTreeMap::new();
    let found = sqlx::query("SELECT * FROM payments_refunds WHERE order_id = $1").bind(order);
    for row in found.fetch_all(connection).await? {
        let (amount, transaction_id) = (amount_of(&row)?, row.try_get("transaction_id")?);
        refunds.insert(row.try_get("refund_id")?, Refund { amount, transaction_id, opened: opened_of(&row)? });
    }
    Ok(Some(Order {
        order_id: order.into(),
        amount: amount_of(&row)?,
        currency: row.try_get("currency")?,
        transaction_id: row.try_get("transaction_id")?,
        confirmations: row.try_get::<i32, _>("confirmations")?.unsigned_abs(),
        refunds,
        opened: opened_of(&row)?,
    }))
}

fn amount_of(row: &PgRow) -> Result<u64, sqlx::Error> {
    Ok(row.try_get::<i64, _>("amount")?.unsigned_abs())
}

fn opened_of(row: &PgRow) -> Result<Opened, sqlx::Error> {
    let fence: i64 = row.try_get("opened_fence")?;
    Ok(Opened { key: row.try_get("opened_key")?, fence: fence.unsigned_abs() })
}
