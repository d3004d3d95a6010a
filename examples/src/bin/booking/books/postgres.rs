//! The books as tables, in the database that also holds the keys: for many processes.

use idempotency::postgres::sqlx;
use sqlx::postgres::{PgPool, PgRow};
use sqlx::{PgConnection, Row};

use super::model::{Entry, Event, Execution, Opened, Payment, Reservation, Results, State, Status};
use super::{BooksError, By, CUT_OFF, EXECUTIONS_KEPT, Refusal, Step, Taken, opened, rules};

/// Two services that start at once make the tables one after the other: Postgres' own `IF NOT EXISTS` is no
/// protection against that, nor does it leave those alone who work already.
const MAKE: &str = include_str!("tables.sql");

/// Whoever would change the event or one of its reservations waits here until the transaction ends, so that what
/// the rules are asked about stays as it is.
const EVENT_ALONE: &str = "SELECT * FROM booking_events WHERE event_id = $1 FOR UPDATE";
const SAVE: &str = "
    INSERT INTO booking_reservations (id, event_id, user_id, seats, state, expires_at, locked_by, booked_by,
        payment_key, payment_fence, payment_amount, transaction_id)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
    ON CONFLICT (id) DO UPDATE SET state = excluded.state, expires_at = excluded.expires_at,
        booked_by = excluded.booked_by, payment_key = excluded.payment_key, payment_fence = excluded.payment_fence,
        payment_amount = excluded.payment_amount, transaction_id = excluded.transaction_id";
/// Refused, by changing no row, to a run after which another has begun; and holds off one that would begin now.
const COUNT: &str =
    "UPDATE booking_executions SET processed = processed + 1 WHERE execution_id = $1 AND status = 'running'";
const END: &str = "
    UPDATE booking_executions SET status = $2, errors = $3, details = $4, completed_at = booking_now()
    WHERE execution_id = $1 AND status = 'running' RETURNING *";

#[derive(Debug)]
pub(crate) struct Tables(PgPool);

impl Tables {
    /// Opens the tables, and makes them where they are missing.
    pub(crate) async fn open(url: &str) -> Result<Self, sqlx::Error> {
        let pool = PgPool::connect(url).await?;
        sqlx::raw_sql(MAKE).execute(&pool).await?;
        Ok(Self(pool))
    }

    pub(super) async fn open_event(&self, event_id: &str, capacity: u64, by: &By) -> Result<Event, BooksError> {
        let mut transaction = self.0.begin().await?;
        let insert = "INSERT INTO booking_events (event_id, capacity) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        let made = sqlx::query(insert).bind(event_id).bind(number(capacity)).execute(&mut *transaction).await?;
        let event = event_alone(&mut transaction, event_id).await?;
        if event.capacity != capacity {
            return Err(Refusal::EventTaken.into());
        }
        if made.rows_affected() == 1 {
            let now = now(&mut transaction).await?;
            note(&mut transaction, &opened(&event, by, now)).await?;
        }
        transaction.commit().await?;
        Ok(event)
    }

    pub(super) async fn event(&self, event_id: &str) -> Result<Option<Event>, BooksError> {
        let found = sqlx::query("SELECT * FROM booking_events WHERE event_id = $1").bind(event_id);
        found.fetch_optional(&self.0).await?.as_ref().map(event_of).transpose()
    }

    pub(super) async fn find(&self, id: &str) -> Result<Option<Reservation>, BooksError> {
        load(&mut *self.0.acquire().await?, id).await
    }

    pub(super) async fn take(&self, step: Step, by: &By) -> Result<Taken, BooksError> {
        let mut transaction = self.0.begin().await?;
        // A reservation's event never changes, so this may be read before the event is held.
        let event_id = match &step {
            Step::Lock { event_id, .. } => event_id.clone(),
            _ => load(&mut transaction, step.id()).await?.ok_or(Refusal::NotFound)?.event_id,
        };
        let mut event = event_alone(&mut transaction, &event_id).await?;
        let held = load(&mut transaction, step.id()).await?;
        let now = now(&mut transaction).await?;
        let (reservation, entry) = rules::take(&step, by, &mut event, held, now)?;
        let Some(entry) = entry else { return Ok(Taken { reservation, now: false }) };
        if let Some(execution) = &by.execution
            && sqlx::query(COUNT).bind(execution).execute(&mut *transaction).await?.rows_affected() == 0
        {
            return Err(BooksError::Overtaken);
        }
        sqlx::query("UPDATE booking_events SET locked = $2, booked = $3 WHERE event_id = $1")
            .bind(&event.event_id)
            .bind(number(event.locked))
            .bind(number(event.booked))
            .execute(&mut *transaction)
            .await?;
        save(&mut transaction, &reservation).await?;
        note(&mut transaction, &entry).await?;
        transaction.commit().await?;
        Ok(Taken { reservation, now: true })
    }

    pub(super) async fn note(&self, entry: Entry) -> Result<(), BooksError> {
        let mut connection = self.0.acquire().await?;
        let entry = Entry { at: now(&mut connection).await?, ..entry };
        note(&mut connection, &entry).await
    }

    pub(super) async fn trail(&self, booking_id: Option<&str>) -> Result<Vec<Entry>, BooksError> {
        let asked = "SELECT entry::text FROM booking_audit WHERE $1::text IS NULL OR booking_id = $1 ORDER BY number";
        let rows = sqlx::query(asked).bind(booking_id).fetch_all(&self.0).await?;
        rows.iter().map(|row| serde_json::from_str(row.try_get(0)?).map_err(|error| damaged(&error))).collect()
    }

    pub(super) async fn over(&self, states: &'static [State]) -> Result<Vec<Reservation>, BooksError> {
        let names: Vec<&str> = states.iter().map(|state| state.as_str()).collect();
        let over =
            "SELECT * FROM booking_reservations WHERE state = ANY($1) AND expires_at <= booking_now() ORDER BY id";
        sqlx::query(over).bind(names).fetch_all(&self.0).await?.iter().map(reservation_of).collect()
    }

    pub(super) async fn begin_execution(&self, execution: Execution) -> Result<(), BooksError> {
        let mut transaction = self.0.begin().await?;
        let cut_off = "UPDATE booking_executions SET status = 'failed', completed_at = booking_now(), details = $2
                       WHERE job_type = $1 AND status = 'running'";
        sqlx::query(cut_off).bind(&execution.job_type).bind(CUT_OFF).execute(&mut *transaction).await?;
        let forget = "DELETE FROM booking_executions WHERE started_at + $1 <= booking_now()";
        sqlx::query(forget).bind(number(EXECUTIONS_KEPT)).execute(&mut *transaction).await?;
        sqlx::query(
            "INSERT INTO booking_executions (execution_id, job_type, status, started_at, correlation_id)
             VALUES ($1, $2, $3, booking_now(), $4)",
        )
        .bind(execution.execution_id)
        .bind(execution.job_type)
        .bind(execution.status.as_str())
        .bind(execution.correlation_id)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(())
    }

    pub(super) async fn end_execution(
        &self,
        id: &str,
        status: Status,
        errors: u64,
        details: &str,
    ) -> Result<Option<Execution>, BooksError> {
        let end = sqlx::query(END).bind(id).bind(status.as_str()).bind(number(errors)).bind(details);
        end.fetch_optional(&self.0).await?.as_ref().map(execution_of).transpose()
    }

    pub(super) async fn executions(&self) -> Result<Vec<Execution>, BooksError> {
        let kept = "SELECT * FROM booking_executions WHERE started_at + $1 > booking_now() ORDER BY started_at DESC";
        sqlx::query(kept).bind(number(EXECUTIONS_KEPT)).fetch_all(&self.0).await?.iter().map(execution_of).collect()
    }
}

async fn event_alone(transaction: &mut PgConnection, event_id: &str) -> Result<Event, BooksError> {
    let found = sqlx::query(EVENT_ALONE).bind(event_id).fetch_optional(transaction).await?;
    event_of(&found.ok_or(Refusal::NotFound)?)
}

async fn now(connection: &mut PgConnection) -> Result<u64, sqlx::Error> {
    let now: i64 = sqlx::query("SELECT booking_now()").fetch_one(connection).await?.try_get(0)?;
    Ok(now.unsigned_abs())
}

async fn load(connection: &mut PgConnection, id: &str) -> Result<Option<Reservation>, BooksError> {
    let found = sqlx::query("SELECT * FROM booking_reservations WHERE id = $1").bind(id);
    found.fetch_optional(connection).await?.as_ref().map(reservation_of).transpose()
}

async fn save(connection: &mut PgConnection, held: &Reservation) -> Result<(), sqlx::Error> {
    let payment = held.payment.as_ref();
    sqlx::query(SAVE)
        .bind(&held.id)
        .bind(&held.event_id)
        .bind(&held.user_id)
        .bind(number(held.seats))
        .bind(held.state.as_str())
        .bind(number(held.expires_at))
        .bind(&held.locked_by)
        .bind(&held.booked_by)
        .bind(payment.map(|payment| &payment.by.key))
        .bind(payment.map(|payment| number(payment.by.fence)))
        .bind(payment.map(|payment| number(payment.amount)))
        .bind(payment.and_then(|payment| payment.transaction_id.as_ref()))
        .execute(connection)
        .await?;
    Ok(())
}

async fn note(connection: &mut PgConnection, entry: &Entry) -> Result<(), BooksError> {
    let text = serde_json::to_string(entry).map_err(|error| damaged(&error))?;
    let insert = sqlx::query("INSERT INTO booking_audit (booking_id, entry) VALUES ($1, $2::jsonb)");
    insert.bind(&entry.booking_id).bind(text).execute(connection).await?;
    Ok(())
}

fn event_of(row: &PgRow) -> Result<Event, BooksError> {
    Ok(Event {
        event_id: row.try_get("event_id")?,
        capacity: count(row, "capacity")?,
        locked: count(row, "locked")?,
        booked: count(row, "booked")?,
    })
}

fn reservation_of(row: &PgRow) -> Result<Reservation, BooksError> {
    let state: String = row.try_get("state")?;
    let payment = match row.try_get("payment_key")? {
        None => None,
        Some(key) => Some(Payment {
            by: Opened { key, fence: count(row, "payment_fence")? },
            amount: count(row, "payment_amount")?,
            transaction_id: row.try_get("transaction_id")?,
        }),
    };
    Ok(Reservation {
        id: row.try_get("id")?,
        event_id: row.try_get("event_id")?,
        user_id: row.try_get("user_id")?,
        seats: count(row, "seats")?,
        state: State::of(&state).ok_or_else(|| damaged(&format_args!("the state {state}")))?,
        expires_at: count(row, "expires_at")?,
        locked_by: row.try_get("locked_by")?,
        booked_by: row.try_get("booked_by")?,
        payment,
    })
}

fn execution_of(row: &PgRow) -> Result<Execution, BooksError> {
    let status: String = row.try_get("status")?;
    let (processed, errors) = (count(row, "processed")?, count(row, "errors")?);
    Ok(Execution {
        execution_id: row.try_get("execution_id")?,
        job_type: row.try_get("job_type")?,
        status: Status::of(&status).ok_or_else(|| damaged(&format_args!("the status {status}")))?,
        started_at: count(row, "started_at")?,
        completed_at: row.try_get::<Option<i64>, _>("completed_at")?.map(i64::unsigned_abs),
        results: Results { processed, errors, details: row.try_get("details")? },
        correlation_id: row.try_get("correlation_id")?,
    })
}

fn count(row: &PgRow, column: &str) -> Result<u64, sqlx::Error> {
    Ok(row.try_get::<i64, _>(column)?.unsigned_abs())
}

/// What is counted here is far below what a `bigint` holds; requests are checked for it.
const fn number(count: u64) -> i64 {
    count as i64
}

fn damaged(what: &dyn std::fmt::Display) -> BooksError {
    BooksError::Damaged(what.to_string())
}
