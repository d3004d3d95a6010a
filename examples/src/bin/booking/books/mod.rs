//! The service's own database: seats, reservations, the audit trail, and the runs of its jobs.
//!
//! It checks again what the key checks, for the request that comes when its key is long forgotten: seats are not
//! sold twice, a lock becomes one booking, a booking is paid once and given back once. Each change is written
//! together with its line of the audit trail, so that neither is there without the other.
//!
//! It is where the keys are: tables in the same Postgres, shared by processes; else a journal on disk. The rules
//! are the same ([`rules`]).

mod journal;
pub(crate) mod model;
mod postgres;
mod rules;
#[cfg(test)]
mod tests;

use std::io;

use axum::http::StatusCode;
use idempotency::postgres::sqlx;
use idempotency_examples::problem::Problem;

pub(crate) use journal::Journaled;
use model::{Entry, Event, Execution, Opened, Payment, Reservation, Results, State, Status};
pub(crate) use postgres::Tables;

/// How long the runs of jobs are remembered, in milliseconds.
const EXECUTIONS_KEPT: u64 = 60 * 60 * 1000;

/// What is to change of a reservation, which it names by `id`. Durations are in milliseconds.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Lock {
        id: String,
        event_id: String,
        seats: u64,
        lasts: u64,
    },
    Book {
        id: String,
        lasts: u64,
    },
    /// Money is about to move.
    BeginPayment {
        id: String,
        payment: Payment,
    },
    /// It did, in the attempt `paid`.
    Paid {
        id: String,
        paid: Opened,
        transaction: String,
    },
    /// It surely did not.
    NotPaid {
        id: String,
        paid: Opened,
        action: &'static str,
        reason: String,
    },
    /// Its time is over. With a payment under way, only if that is `abandoned`.
    Expire {
        id: String,
        abandoned: Option<Opened>,
    },
}

impl Step {
    fn id(&self) -> &str {
        match self {
            Self::Lock { id, .. }
            | Self::Book { id, .. }
            | Self::BeginPayment { id, .. }
            | Self::Paid { id, .. }
            | Self::NotPaid { id, .. }
            | Self::Expire { id, .. } => id,
        }
    }
}

/// Who takes a step.
#[derive(Clone, Debug)]
pub(crate) struct By {
    /// A user, or a job.
    pub(crate) actor: String,
    pub(crate) correlation: String,
    /// The attempt at the request's key.
    pub(crate) attempt: Option<String>,
    /// The run of a job: what it does counts as processed, and is refused once another run has begun.
    pub(crate) execution: Option<String>,
}

/// A step that was taken, now or before.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    pub(crate) reservation: Reservation,
    /// Whether it was taken now.
    pub(crate) now: bool,
}

/// The books, in a journal or in tables.
#[derive(Debug)]
pub(crate) enum Books {
    Journaled(Journaled),
    Tables(Tables),
}

/// Both databases do the same.
macro_rules! of_either {
    ($books:expr, $inner:ident => $call:expr) => {
        match $books {
            Books::Journaled($inner) => $call.await,
            Books::Tables($inner) => $call.await,
        }
    };
}

impl Books {
    /// Opens an event for reservations; one that is open with as many seats stays as it is.
    pub(crate) async fn open_event(&self, event_id: &str, capacity: u64, by: &By) -> Result<Event, BooksError> {
        of_either!(self, books => books.open_event(event_id, capacity, by))
    }

    pub(crate) async fn event(&self, event_id: &str) -> Result<Event, BooksError> {
        of_either!(self, books => books.event(event_id))?.ok_or_else(|| Refusal::NotFound.into())
    }

    pub(crate) async fn find(&self, id: &str) -> Result<Reservation, BooksError> {
        of_either!(self, books => books.find(id))?.ok_or_else(|| Refusal::NotFound.into())
    }

    /// Takes a step, with its line of the audit trail; or finds it taken.
    pub(crate) async fn take(&self, step: Step, by: &By) -> Result<Taken, BooksError> {
        of_either!(self, books => books.take(step, by))
    }

    /// Adds a line to the audit trail by which nothing changes.
    pub(crate) async fn note(&self, entry: Entry) -> Result<(), BooksError> {
        of_either!(self, books => books.note(entry))
    }

    /// The audit trail, the oldest first; of one booking only, if it is named.
    pub(crate) async fn trail(&self, booking_id: Option<&str>) -> Result<Vec<Entry>, BooksError> {
        of_either!(self, books => books.trail(booking_id))
    }

    /// The reservations in these states whose time is over.
    pub(crate) async fn over(&self, states: &'static [State]) -> Result<Vec<Reservation>, BooksError> {
        of_either!(self, books => books.over(states))
    }

    /// Notes that a run of a job begins. One of the same job that did not end has failed.
    pub(crate) async fn begin_execution(&self, execution: Execution) -> Result<(), BooksError> {
        of_either!(self, books => books.begin_execution(execution))
    }

    /// Notes how a run of a job ended; what it processed was counted as it went.
    pub(crate) async fn end_execution(
        &self,
        execution_id: &str,
        status: Status,
        errors: u64,
        details: &str,
    ) -> Result<Execution, BooksError> {
        of_either!(self, books => books.end_execution(execution_id, status, errors, details))?
            .ok_or(BooksError::Overtaken)
    }

    /// The runs of jobs of the last hour, the latest first.
    pub(crate) async fn executions(&self) -> Result<Vec<Execution>, BooksError> {
        of_either!(self, books => books.executions())
    }
}

/// What is said of a run that did not end, when the next begins.
const CUT_OFF: &str = "it did not end: its process died, or was too slow";

impl Execution {
    /// A run that begins. Its times are for the books to say.
    pub(crate) fn begins(job_type: &str, fence: u64, correlation: &str) -> Self {
        Self {
            execution_id: format!("{job_type}-{fence}"),
            job_type: job_type.into(),
            status: Status::Running,
            started_at: 0,
            completed_at: None,
            results: Results::default(),
            correlation_id: correlation.into(),
        }
    }
}

/// The line of the audit trail for an event that is opened.
fn opened(event: &Event, by: &By, now: u64) -> Entry {
    Entry {
        at: now,
        event_id: Some(event.event_id.clone()),
        seat_lock_id: None,
        booking_id: None,
        actor: by.actor.clone(),
        from_state: "NONE".into(),
        to_state: "OPEN".into(),
        correlation_id: by.correlation.clone(),
        action: "EVENT_OPENED".into(),
        metadata: model::Metadata { seats: Some(event.capacity), ..model::Metadata::default() },
    }
}

/// The rules say no.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("there is nothing of that id, or it is not yours")]
    NotFound,
    #[error("the event is open with another number of seats")]
    EventTaken,
    #[error("only {free} seats are free")]
    TooFewSeats { free: u64 },
    #[error("the seat lock has expired; lock seats anew, with a new key")]
    LockExpired,
    #[error("the booking was not paid in time; lock seats anew, with a new key")]
    BookingExpired,
    #[error("the booking is paid, by a request with another key or content")]
    AlreadyPaid,
    #[error("another payment of this booking is under way, or nobody knows yet what became of it; ask again later")]
    BeingPaid,
    #[error("the provider made the charge {transaction} for a booking that is over; it has to be refunded")]
    PaidInVain { transaction: String },
}

/// The books say no, or cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BooksError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("another run of the job has begun")]
    Overtaken,
    #[error("the books cannot be written: {0}")]
    Disk(#[from] io::Error),
    #[error("the books cannot be read or written: {0}")]
    Tables(#[from] sqlx::Error),
    #[error("the books hold what is none: {0}")]
    Damaged(String),
}

impl From<BooksError> for Problem {
    fn from(error: BooksError) -> Self {
        let told = |status, kind| Self::new(status, kind, error.to_string());
        let BooksError::Refused(refusal) = &error else {
            // What was asked may be done, and in no book yet.
            return told(StatusCode::INTERNAL_SERVER_ERROR, "database").unknown();
        };
        match refusal {
            Refusal::NotFound => told(StatusCode::NOT_FOUND, "not-found"),
            Refusal::EventTaken => told(StatusCode::CONFLICT, "event-taken"),
            Refusal::TooFewSeats { .. } => told(StatusCode::CONFLICT, "too-few-seats"),
            Refusal::LockExpired => told(StatusCode::CONFLICT, "lock-expired"),
            Refusal::BookingExpired => told(StatusCode::CONFLICT, "booking-expired"),
            Refusal::AlreadyPaid => told(StatusCode::CONFLICT, "already-paid"),
            Refusal::BeingPaid => told(StatusCode::CONFLICT, "being-paid"),
            Refusal::PaidInVain { .. } => {
                tracing::error!("{error}");
                told(StatusCode::CONFLICT, "paid-in-vain").unknown()
            }
        }
    }
}
