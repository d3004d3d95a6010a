//! Why there is no server.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why a test has no server, or could not do to it what it wanted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// A binary is not installed.
    #[error(
        "`{binary}` is not installed (looked on the PATH and in {looked_in:?}): run `cargo xtask test`, which installs it, \
         or install it by `apt-get install {apt}` or `brew install {brew}`, or name a running server in {variable}"
    )]
    NotFound {
        /// Which.
        binary: &'static str,
        /// Where it was looked for beside the PATH.
        looked_in: Vec<PathBuf>,
        /// The package that has it, for apt.
        apt: &'static str,
        /// The package that has it, for Homebrew.
        brew: &'static str,
        /// The variable that names a server to use instead.
        variable: &'static str,
    },
    /// A server ended while it was waited for.
    #[error("{what} ended before it was ready ({status}); the end of its log:\n{log}")]
    Ended {
        /// Which server.
        what: String,
        /// How it ended.
        status: String,
        /// The end of its log.
        log: String,
    },
    /// A server was not ready in time.
    #[error("{what} was not ready within {waited:?}: {why}; the end of its log:\n{log}")]
    NotReady {
        /// Which server.
        what: String,
        /// How long it was waited for.
        waited: Duration,
        /// What was still missing.
        why: String,
        /// The end of its log.
        log: String,
    },
    /// The server is somebody else's, named in the environment.
    #[error("the server named in {variable} is not this test's own: it is not paused, killed or restarted")]
    Foreign {
        /// The variable.
        variable: &'static str,
    },
    /// A server answered something else than was expected.
    #[error("{what} answered {answer:?}")]
    Answer {
        /// Who was asked what.
        what: String,
        /// The answer.
        answer: String,
    },
    /// A file, process or socket could not be used.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

/// Says what was tried.
pub(super) trait Tried<T> {
    /// The error as that of trying `what`.
    fn tried(self, what: impl FnOnce() -> String) -> Result<T, ServerError>;
}

impl<T> Tried<T> for io::Result<T> {
    fn tried(self, what: impl FnOnce() -> String) -> Result<T, ServerError> {
        self.map_err(|source| ServerError::Io { what: what(), source })
    }
}
