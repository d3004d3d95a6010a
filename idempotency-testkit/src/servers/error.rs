//! What can go wrong with a server for tests.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why a server cannot be had, or did not do what it was told: what, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// No binary is installed, and no running server is named.
    #[error(
        "{program} was not found in {looked_in:?}; `cargo xtask test` installs it, or install it yourself: \
         `apt-get install {apt}`, `brew install {brew}`{}",
        named_by(.variable)
    )]
    NotFound {
        /// The program.
        program: &'static str,
        /// The package that has it, for apt.
        apt: &'static str,
        /// The package that has it, for Homebrew.
        brew: &'static str,
        /// The variable that would name a running server instead, if there is one.
        variable: Option<&'static str>,
        /// The folders without it.
        looked_in: Vec<PathBuf>,
    },

    /// The server, or what sets it up, ended before it was ready.
    #[error("{server} did not start: it ended ({ended}); the end of what it said:\n{log}")]
    NotStarted {
        /// The server, with its address.
        server: String,
        /// How it ended.
        ended: String,
        /// The end of its log.
        log: String,
    },

    /// The server runs, but a condition was not met within a limit.
    #[error("{server} was not ready within {limit:?}: {lacking}; the end of its log:\n{log}")]
    NotReady {
        /// The server, with its address.
        server: String,
        /// What it lacks.
        lacking: String,
        /// How long was waited.
        limit: Duration,
        /// The end of its log.
        log: String,
    },

    /// The server was named by the environment, and is not ours to touch.
    #[error(
        "the server that {variable} names is foreign, and is not touched: it cannot be {action}; \
             ask for one of your own by `own()`, or unset {variable}"
    )]
    Foreign {
        /// The variable that names it.
        variable: &'static str,
        /// What it was to be.
        action: &'static str,
    },

    /// The variable holds no URL of the kind that is meant.
    #[error("{variable} is not of the form {form}")]
    BadUrl {
        /// The variable.
        variable: &'static str,
        /// What it should look like.
        form: &'static str,
    },

    /// The server was killed, and cannot do this until it is restarted.
    #[error("{server} does not run: it was killed; call `restart` first")]
    NotRunning {
        /// The server, with its address.
        server: String,
    },

    /// We are root, which the server refuses to be, and there is no other user.
    #[error(
        "{program} refuses to run as root, and /etc/passwd has neither `postgres` nor `nobody`; \
             add such a user, or run the tests as one that is not root"
    )]
    NoUser {
        /// The program.
        program: &'static str,
    },

    /// The server gave an answer that was not expected.
    #[error("{server} answered {asked} by: {answer}")]
    Refused {
        /// The server, with its address.
        server: String,
        /// What it was asked.
        asked: String,
        /// What it said.
        answer: String,
    },

    /// It could not be talked to, or the system refused something.
    #[error("{what}")]
    Io {
        /// What failed, and where.
        what: String,
        /// How.
        source: io::Error,
    },
}

fn named_by(variable: &Option<&'static str>) -> String {
    variable.map_or_else(String::new, |variable| format!("; or name a running server by {variable}"))
}

impl ServerError {
    /// Says of an error of the system what failed.
    pub(super) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
