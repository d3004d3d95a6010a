//! A folder for a server, and what is in it.

use std::fs::File;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::ServerError;
use super::user::User;
use super::watchdog::Watchdog;

/// How much of a log is shown.
const LINES: usize = 40;

/// A temporary folder with a watchdog: when it is dropped, all that lives in it has ended.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) watchdog: Watchdog,
    pub(super) user: Option<User>,
    folder: TempDir,
}

impl Folder {
    /// Makes a folder that belongs to `user`.
    pub(super) fn new(user: Option<User>, signal: &str) -> Result<Self, ServerError> {
        let folder = tempfile::Builder::new()
            .prefix("idempotency-server-")
            .tempdir()
            .map_err(ServerError::io("cannot make a temporary folder"))?;
        let watchdog = Watchdog::over(folder.path(), signal).map_err(ServerError::io("cannot start `sh`"))?;
        if let Some(user) = user {
            user.give(folder.path())?;
        }
        Ok(Self { watchdog, user, folder })
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn log(&self) -> PathBuf {
        self.path().join("log")
    }

    /// The log, to be written at its end.
    pub(super) fn open_log(&self) -> Result<File, ServerError> {
        File::options()
            .create(true)
            .append(true)
            .open(self.log())
            .map_err(ServerError::io(format!("cannot write {}", self.log().display())))
    }

    /// The last lines of the log.
    pub(super) fn log_tail(&self) -> String {
        let log = std::fs::read(self.log()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What the watchdog leaves, if it was killed itself, goes with the `TempDir`.
        self.watchdog.finish();
    }
}
