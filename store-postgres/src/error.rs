//! What went wrong, as a store's error.

use idempotency_core::{StoreError, StoreErrorKind};
use sqlx::postgres::PgDatabaseError;

use crate::row::Garbled;

/// Names the operation that failed.
pub(crate) trait Operation<T> {
    /// The error as that of `operation`.
    fn during(self, operation: &'static str) -> Result<T, StoreError>;
}

impl<T> Operation<T> for Result<T, sqlx::Error> {
    fn during(self, operation: &'static str) -> Result<T, StoreError> {
        self.map_err(|error| told(operation, error))
    }
}

impl<T> Operation<T> for Result<T, Garbled> {
    fn during(self, operation: &'static str) -> Result<T, StoreError> {
        self.map_err(|garbled| {
            StoreError::new(StoreErrorKind::Damaged, operation)
                .with_message(format!("the table holds {garbled}"))
                .with_source(garbled)
        })
    }
}

pub(crate) fn misconfigured(message: impl Into<String>) -> StoreError {
    StoreError::new(StoreErrorKind::Misconfigured, "open").with_message(message)
}

/// Whether the same statement may succeed when it is sent again at once: it lost against another one, and
/// nothing of it was done.
pub(crate) fn lost_a_race(error: &sqlx::Error) -> bool {
    // Serialization failure, deadlock, lock not available.
    matches!(code(error).as_deref(), Some("40001" | "40P01" | "55P03"))
}

/// Whether the connection broke: perhaps long before, while nobody used it.
pub(crate) fn broke(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(io) => io.kind() != std::io::ErrorKind::ConnectionRefused,
        // Ended by an operator, or by a server that went down.
        _ => matches!(code(error).as_deref(), Some("57P01" | "57P02")),
    }
}

/// Whether it may be the fault of one of the rows that a statement was about: too much for it, or not to
/// be read.
pub(crate) fn is_about_a_row(error: &sqlx::Error) -> bool {
    // Data exception, program limit, out of shared memory, internal error such as a damaged page.
    code(error).is_some_and(|code| ["22", "54", "53200", "XX"].iter().any(|class| code.starts_with(class)))
}

fn code(error: &sqlx::Error) -> Option<String> {
    error.as_database_error().and_then(|error| error.code()).map(Into::into)
}

pub(crate) fn told(operation: &'static str, error: sqlx::Error) -> StoreError {
    told_of(operation, error, "")
}

/// The same, with the place of the server, if that is known.
pub(crate) fn told_of(operation: &'static str, error: sqlx::Error, place: &str) -> StoreError {
    let place = if place.is_empty() { String::new() } else { format!(" at {place}") };
    let (kind, message) = match &error {
        sqlx::Error::Database(database) => by_code(database.try_downcast_ref::<PgDatabaseError>()),
        sqlx::Error::PoolTimedOut => {
            let message = "no connection was free, or could be made, within the time limit";
            (StoreErrorKind::Unavailable, message.to_owned())
        }
        sqlx::Error::PoolClosed => (StoreErrorKind::Closed, "the pool is closed".to_owned()),
        sqlx::Error::Io(io) if io.kind() == std::io::ErrorKind::ConnectionRefused => {
            (StoreErrorKind::Unavailable, format!("the server{place} cannot be reached"))
        }
        sqlx::Error::Configuration(_) => {
            (StoreErrorKind::Misconfigured, "the connection is not set up as it must be".to_owned())
        }
        sqlx::Error::Tls(_) => {
            let advice = if cfg!(feature = "tls") { "" } else { ": turn on the feature `tls` (`postgres-tls`)" };
            (StoreErrorKind::Misconfigured, format!("no encrypted connection could be made{advice}"))
        }
        _ => (StoreErrorKind::InDoubt, "the connection broke before an answer came".to_owned()),
    };
    StoreError::new(kind, operation).with_message(format!("Postgres: {message}")).with_source(error)
}

/// What a statement is refused for by the server, of which nothing was done.
fn by_code(error: Option<&PgDatabaseError>) -> (StoreErrorKind, String) {
    use StoreErrorKind::{Full, InDoubt, Internal, Misconfigured, Unavailable};

    let Some(error) = error else { return (Internal, "it answered by an error".to_owned()) };
    let message = error.message();
    let (kind, advice) = match error.code() {
        "28P01" | "28000" => (Misconfigured, "check user and password"),
        "3D000" => (Misconfigured, "check the database's name"),
        "42501" => (Misconfigured, "its user lacks a right: see the README for those needed"),
        "42P01" | "3F000" => {
            (Misconfigured, "the table is missing: let the store make it, or run the SQL that `migrations` prints")
        }
        "42703" => (Misconfigured, "the table is not as this version needs it: run the migrations"),
        "25006" => (Unavailable, "this server is a standby or read-only: name the primary"),
        "53100" => (Full, "its disk is full"),
        "53200" => (Full, "it is out of memory"),
        "53300" => (Unavailable, "it has no connection left: raise max_connections, or use fewer"),
        "57P01" | "57P02" | "57P05" => (InDoubt, "the connection was ended"),
        "25P02" => (
            Internal,
            "a statement in the transaction failed earlier, and its error was passed over: return it from the operation, \
             or try the statement in a savepoint",
        ),
        "25P03" => (Unavailable, "the server ended the transaction, which was idle for too long"),
        "57P03" => (Unavailable, "it is shutting down or starting"),
        "57014" => (InDoubt, "the statement took too long and was ended"),
        "40001" | "40P01" | "55P03" => (Unavailable, "the statement lost against another one"),
        code if code.starts_with("08") => (InDoubt, "the connection broke"),
        code if code.starts_with("58") => (Unavailable, "its system failed"),
        _ => (Internal, "it refused a statement"),
    };
    (kind, format!("{advice} ({}: {message})", error.code()))
}
