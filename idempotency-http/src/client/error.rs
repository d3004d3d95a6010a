//! Why a request has no answer that its caller could use.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use reqwest::{Response, StatusCode};
use reqwest_middleware::Error;

use super::key_store::KeyStoreError;
use crate::header::HeaderKey;
use crate::problem::ProblemKind;

/// Why a request has no answer that its caller could use.
///
/// It comes as the middleware's error: [`ClientError::of`] finds it there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The server has this key from **another request** (422): with a new body, path or account, the key
    /// was used again. This request was not carried out; the other one may have been. A new request needs a
    /// new key, and a named operation is one request, for ever.
    #[error(
        "the key was used for another request, so this one was not carried out: a new request needs a new key{}",
        of_operation(operation.as_deref())
    )]
    KeyReused {
        /// The operation's name, where the key is kept under one.
        operation: Option<String>,
        /// The server's answer.
        response: Box<Response>,
    },
    /// The server does not know whether the request was carried out, and will not run it again before
    /// somebody has looked (409).
    #[error("nobody knows whether the request was carried out, and it will not run again until somebody has looked")]
    OutcomeUnknown {
        /// The server's answer.
        response: Box<Response>,
    },
    /// The request was carried out before, but its answer is not kept (409): look up what it made.
    #[error("the request was carried out, but its answer is not kept: look up what it made")]
    AnswerNotKept {
        /// The server's answer.
        response: Box<Response>,
    },
    /// It was sent, and is not sent any more. It may have been carried out: ask again with the same key.
    #[error(transparent)]
    GaveUp(Box<GaveUp>),
    /// The operation's key cannot be kept. Nothing was sent.
    #[error("nothing was sent, as the operation's key cannot be kept")]
    KeyStore(#[from] KeyStoreError),
    /// The request is a named operation, and the middleware has no store of keys. Nothing was sent.
    #[error("nothing was sent, as there is no store to keep the key of the operation `{operation}` in")]
    NoKeyStore {
        /// The operation's name.
        operation: String,
    },
    /// The key cannot be written without quotes. Nothing was sent.
    #[error("nothing was sent, as the key has spaces, quotes, backslashes or commas, and is to be sent bare")]
    NotBare,
}

fn of_operation(name: Option<&str>) -> String {
    name.map_or(String::new(), |name| format!("; it is kept for the operation `{name}`"))
}

impl ClientError {
    /// Finds it in a client's error; `None` for the errors of others.
    #[must_use]
    pub fn of(error: &Error) -> Option<&Self> {
        match error {
            Error::Middleware(error) => error.downcast_ref(),
            Error::Reqwest(_) => None,
        }
    }

    /// Takes it out of a client's error.
    ///
    /// # Errors
    /// The error of others, as it was.
    pub fn take(error: Error) -> Result<Self, Error> {
        match error {
            Error::Middleware(error) => error.downcast().map_err(Error::Middleware),
            Error::Reqwest(_) => Err(error),
        }
    }

    pub(super) fn refused(kind: ProblemKind, operation: Option<String>, response: Response) -> Self {
        let response = Box::new(response);
        match kind {
            ProblemKind::KeyReused => Self::KeyReused { operation, response },
            ProblemKind::AnswerNotKept => Self::AnswerNotKept { response },
            _ => Self::OutcomeUnknown { response },
        }
    }
}

impl From<ClientError> for Error {
    fn from(error: ClientError) -> Self {
        Self::middleware(error)
    }
}

/// A request that was sent, and is not sent any more.
#[derive(Debug)]
#[non_exhaustive]
pub struct GaveUp {
    /// What forbids to send it again.
    pub limit: Limit,
    /// How often it was sent.
    pub attempts: u32,
    /// The key to ask again with.
    pub key: Option<HeaderKey>,
    /// What came of it the last time.
    pub last: Last,
}

/// What forbids to send a request again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Limit {
    /// It was sent as often as it may be.
    Attempts,
    /// No time is left, or less than the server says to wait.
    Time,
    /// Its body is a stream, which can be sent only once.
    Body,
}

/// What came of the last sending.
#[derive(Debug)]
#[non_exhaustive]
pub enum Last {
    /// An answer that says to come again.
    Answer(Box<Response>),
    /// No connection, or a broken one.
    Failed(Error),
    /// No answer, or no whole one, in this time.
    TimedOut(Duration),
}

impl Last {
    /// The answer's status; `None` where there was no answer.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Answer(response) => Some(response.status()),
            Self::Failed(_) | Self::TimedOut(_) => None,
        }
    }
}

impl fmt::Display for GaveUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.last {
            Last::Answer(response) => write!(f, "the answer is {}", response.status())?,
            Last::Failed(_) => f.write_str("the connection failed")?,
            Last::TimedOut(time) => write!(f, "no answer came in {time:?}")?,
        }
        match self.limit {
            Limit::Attempts => write!(f, ", and the request was sent as often as it may be ({})", self.attempts)?,
            Limit::Time => write!(f, ", and no time is left to send the request again (sent: {})", self.attempts)?,
            Limit::Body => f.write_str(", and the request's body is a stream, which can be sent only once")?,
        }
        match self.key {
            Some(_) => f.write_str(": it may have been carried out; ask again with the same key"),
            None => Ok(()),
        }
    }
}

impl StdError for GaveUp {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.last {
            Last::Failed(error) => Some(error),
            Last::Answer(_) | Last::TimedOut(_) => None,
        }
    }
}
