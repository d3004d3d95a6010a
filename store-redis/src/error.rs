//! What went wrong, as a store's error.

use idempotency_core::{StoreError, StoreErrorKind};
use redis::{RedisError, ServerError};

use crate::layout::Garbled;
use crate::link::Failure;

/// Names the operation that failed.
pub(crate) trait Operation<T> {
    /// The error as that of `operation`.
    fn during(self, operation: &'static str) -> Result<T, StoreError>;
}

impl<T> Operation<T> for Result<T, Failure> {
    fn during(self, operation: &'static str) -> Result<T, StoreError> {
        self.map_err(|failure| match failure {
            Failure::Unreached { place, source, why } => {
                let (kind, advice) = source.as_ref().map_or((StoreErrorKind::Unavailable, ""), kind_of_refused_entry);
                // What we found wrong ourselves is said by the source.
                let found = source.as_ref().filter(|source| source.kind() == redis::ErrorKind::InvalidClientConfig);
                let found = found.map_or_else(String::new, |found| format!(": {found}"));
                let message = format!("Redis at {place}: {why}{advice}{found}");
                with_source(StoreError::new(kind, operation).with_message(message), source)
            }
            Failure::NoAnswer { place, source, why } => {
                let error = StoreError::new(StoreErrorKind::InDoubt, operation);
                with_source(error.with_message(format!("Redis at {place}: {why}")), source)
            }
            Failure::Refused { place, error } => refused(&place, error, operation),
        })
    }
}

fn with_source(error: StoreError, source: Option<RedisError>) -> StoreError {
    match source {
        Some(source) => error.with_source(source),
        None => error,
    }
}

/// The server was there, and would have nothing to do with us: some other user or setting is wanted.
fn kind_of_refused_entry(error: &RedisError) -> (StoreErrorKind, &'static str) {
    use redis::ErrorKind::{
        AuthenticationFailed, InvalidClientConfig, MasterNameNotFoundBySentinel, RESP3NotSupported,
    };

    let details = error.detail().unwrap_or_default();
    match (error.kind(), error.code()) {
        (AuthenticationFailed, _) | (_, Some("WRONGPASS" | "NOAUTH")) => {
            (StoreErrorKind::Misconfigured, "; check user and password")
        }
        (_, Some("NOPERM")) => {
            (StoreErrorKind::Misconfigured, "; its user lacks a right: see the README for those needed")
        }
        (_, Some("ERR")) if details.contains("DB index") => {
            (StoreErrorKind::Misconfigured, "; it has no database of this number")
        }
        (RESP3NotSupported, _) => (StoreErrorKind::Misconfigured, "; it is older than Redis 7.0"),
        (MasterNameNotFoundBySentinel, _) => (StoreErrorKind::Misconfigured, "; check the master's name"),
        (InvalidClientConfig, _) => (StoreErrorKind::Misconfigured, ""),
        (_, Some("LOADING" | "MASTERDOWN" | "CLUSTERDOWN")) => (StoreErrorKind::Unavailable, "; it is starting"),
        _ => (StoreErrorKind::Unavailable, ""),
    }
}

/// What a server answers by an error it has not done.
fn refused(place: &str, error: ServerError, operation: &'static str) -> StoreError {
    let details = error.details().unwrap_or_default();
    let (kind, message) = match error.code() {
        "OOM" => {
            (StoreErrorKind::Full, "it is over its `maxmemory`; give it more, or let fewer records live".to_owned())
        }
        "WRONGTYPE" => (
            StoreErrorKind::Damaged,
            "the key holds another type than a string: something else writes under this prefix".into(),
        ),
        "FOREIGN" => (
            StoreErrorKind::Damaged,
            format!(
                "the key holds {details} bytes that are no record of this library: something else writes under this prefix"
            ),
        ),
        "DAMAGED" => (StoreErrorKind::Damaged, format!("the key holds a damaged record: {details}")),
        "NOPERM" => (
            StoreErrorKind::Misconfigured,
            format!("its user lacks a right: {details}; see the README for those needed"),
        ),
        "NOAUTH" | "WRONGPASS" => (StoreErrorKind::Misconfigured, "it wants another user or password".into()),
        "READONLY" => (
            StoreErrorKind::Unavailable,
            "it is a replica, or has become one: name the master, or the sentinels by `redis-sentinel://`".into(),
        ),
        "MISCONF" => {
            (StoreErrorKind::Unavailable, "it cannot write its snapshot and takes no writes; free its disk".into())
        }
        "NOREPLICAS" => (StoreErrorKind::Unavailable, "it has too few replicas to take writes".into()),
        "LOADING" | "BUSY" | "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN" | "MOVED" | "ASK" | "UNBLOCKED" => {
            (StoreErrorKind::Unavailable, format!("{} {details}", error.code()))
        }
        // Redis 7.0 refuses a right within a script so; newer servers by NOPERM.
        "ERR" if details.starts_with("The user executing the script can't") => (
            StoreErrorKind::Misconfigured,
            format!("its user lacks a right: {details}; see the README for those needed"),
        ),
        "ERR" if details.contains("user_script") => {
            (StoreErrorKind::Damaged, format!("the key holds a damaged record, over which a script failed: {details}"))
        }
        "ERR" if details.contains("cluster support disabled") => {
            (StoreErrorKind::Misconfigured, "it is no part of a cluster: write `redis://`".into())
        }
        code => (StoreErrorKind::Internal, format!("it answered {code} {details}")),
    };
    StoreError::new(kind, operation).with_message(format!("Redis at {place}: {message}")).with_source(error)
}

/// A record that is none.
pub(crate) fn damaged(operation: &'static str, garbled: Garbled) -> StoreError {
    StoreError::new(StoreErrorKind::Damaged, operation)
        .with_message(format!("the key holds {garbled}"))
        .with_source(garbled)
}

/// An answer that makes no sense.
pub(crate) fn nonsense(operation: &'static str, what: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Internal, operation).with_message(format!("Redis answered {what}"))
}
