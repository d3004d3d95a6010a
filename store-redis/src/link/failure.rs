//! Why a call has no answer, or which.

use redis::{ErrorKind, RedisError, ServerError, ServerErrorKind};

/// A call failed.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// Nothing was sent.
    Unreached { place: String, source: Option<RedisError>, why: &'static str },
    /// It was sent, and no answer came: it may have been carried out.
    NoAnswer { place: String, source: Option<RedisError>, why: &'static str },
    /// The server answered by an error: nothing was done.
    Refused { place: String, error: ServerError },
}

impl Failure {
    pub(crate) fn unreached(place: &str, source: RedisError) -> Self {
        match &source {
            // It was there, and would not have us: a password, a right.
            error if is_refusal(error) => {
                Self::Unreached { place: place.into(), source: Some(source), why: "it would not let us in" }
            }
            _ => Self::Unreached { place: place.into(), source: Some(source), why: "it cannot be reached" },
        }
    }

    /// The server was there, and would not let us in.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Self::Unreached { source: Some(error), .. } if is_refusal(error))
    }

    pub(crate) fn no_answer(place: &str, source: RedisError) -> Self {
        Self::NoAnswer { place: place.into(), source: Some(source), why: "the connection broke before an answer came" }
    }

    pub(crate) fn late(place: &str) -> Self {
        Self::NoAnswer { place: place.into(), source: None, why: "no answer came in time" }
    }

    /// Whether the connection is of no more use: the server is another's replica, or is going away.
    pub(crate) fn spoils_connection(error: &ServerError) -> bool {
        error.kind() == Some(ServerErrorKind::ReadOnly) || matches!(error.code(), "MASTERDOWN" | "UNBLOCKED")
    }
}

/// Whether whoever connects is refused for good: no other try helps until somebody changes a setting.
fn is_refusal(error: &RedisError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::AuthenticationFailed | ErrorKind::InvalidClientConfig | ErrorKind::RESP3NotSupported
    ) || matches!(error.code(), Some("WRONGPASS" | "NOAUTH" | "NOPERM" | "DENIED"))
        || (error.code() == Some("ERR"))
}
