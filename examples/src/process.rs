//! A child process that listens: a service, or this same program in another mode.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::serve::LISTENING;

/// Ends when it is dropped, and when this process dies, by whatever: it reads its standard input,
/// which we hold open.
#[derive(Debug)]
pub struct Process {
    child: Child,
    out: BufReader<ChildStdout>,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Process {
    /// Starts this program again with these arguments, as [`of`](Self::of) does.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn start(
        args: impl IntoIterator<Item = OsString>,
        store: Option<&str>,
        log: &Path,
    ) -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
        Self::of(&program, args, store, log).await
    }

    /// Starts a program with these arguments, and waits until it listens. What it logs is appended to `log`.
    ///
    /// The store's URL, which may hold a password, goes by the environment, where `ps` does not show it.
    ///
    /// # Errors
    ///
    /// If it cannot be started, or ends before it listens: what it said then.
    pub async fn of(
        program: &Path,
        args: impl IntoIterator<Item = OsString>,
        store: Option<&str>,
        log: &Path,
    ) -> Result<Self, String> {
        let cannot = |what: &str, error: std::io::Error| {
            format!("cannot {what} {}: {error}; name a folder that can be written with --folder", log.display())
        };
        let end = std::fs::metadata(log).map_or(0, |found| found.len());
        let file = OpenOptions::new().create(true).append(true).open(log).map_err(|error| cannot("write", error))?;
        let name = format!("{}: ", program.file_stem().unwrap_or_default().to_string_lossy());
        let mut command = Command::new(program);
        command.args(args).arg("--child").kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(file);
        command.env("IDEMPOTENCY_STORE", store.unwrap_or_default());
        let mut child = command.spawn().map_err(|error| format!("cannot start a process: {error}"))?;
        let out = child.stdout.take().ok_or("a process has no output")?;
        let mut out = BufReader::new(out);
        let mut line = String::new();
        // Whatever it may say, it is told below if it is no address.
        let _ = timeout(Duration::from_secs(20), out.read_line(&mut line)).await;
        match line.strip_prefix(LISTENING).and_then(|address| address.trim().parse().ok()) {
            Some(address) => Ok(Self { child, out, address }),
            None => {
                let _ = child.kill().await;
                let logged = std::fs::read(log).map_err(|error| cannot("read", error))?;
                let logged = String::from_utf8_lossy(logged.get(end as usize..).unwrap_or_default()).into_owned();
                Err(logged.trim().trim_start_matches(&name).to_owned())
            }
        }
    }

    /// Its id, until it has ended.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Ends it with SIGKILL: it has no time for anything.
    ///
    /// # Errors
    ///
    /// If it cannot be killed.
    pub async fn kill(&mut self) -> Result<(), String> {
        self.child.kill().await.map_err(|error| format!("cannot kill the process: {error}"))
    }

    /// Tells it to end, and waits for it.
    pub async fn stop(mut self) {
        drop(self.child.stdin.take());
        if timeout(Duration::from_secs(5), self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }

    /// Waits until it ends by itself. Dropped, nothing has changed.
    pub async fn ended(&mut self) {
        // Not `wait`, which closes its input, and so would end it: its output ends with it.
        let mut line = String::new();
        while matches!(self.out.read_line(&mut line).await, Ok(1..)) {}
    }
}
