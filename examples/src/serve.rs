//! Processes: start, listen, say where, and end.

use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use idempotency::Idempotency;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing_subscriber::filter::LevelFilter;

use crate::Failure;

/// Begins the line on standard output by which a child tells its parent where it listens.
pub const LISTENING: &str = "listening on ";

/// How long an ending service waits for its clients, and then for its runs.
const LONGEST_GOODBYE: Duration = Duration::from_secs(2);

/// Serves until the end is told, then lets clients finish, and then the runs whose clients have gone away.
///
/// # Errors
///
/// If the listener fails.
pub async fn until_told(
    listener: TcpListener,
    router: Router,
    idempotency: &Idempotency,
    end: End,
) -> Result<(), Failure> {
    let (tell, mut told) = watch::channel(false);
    let ending = async {
        end.wait().await;
        tell.send_replace(true);
        sleep(LONGEST_GOODBYE).await;
    };
    let graceful = async move {
        let _ = told.wait_for(|told| *told).await;
    };
    tokio::select! {
        ended = axum::serve(listener, router).with_graceful_shutdown(graceful) => ended?,
        () = ending => {}
    }
    if let Err(error) = idempotency.drain(LONGEST_GOODBYE).await {
        tracing::warn!(%error, "ended before all was done");
    }
    Ok(())
}

/// When a process is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// At Ctrl-C.
    Interrupt,
    /// With the process that started it, which holds its standard input open.
    Parent,
}

impl End {
    /// Waits for the end. A parent's is seen however it died.
    pub async fn wait(self) {
        if self == Self::Interrupt {
            let _ = tokio::signal::ctrl_c().await;
            return;
        }
        // Ctrl-C goes to the whole group; the parent decides when its children end.
        let ignored = async {
            while tokio::signal::ctrl_c().await.is_ok() {}
            std::future::pending::<()>().await;
        };
        let mut byte = [0];
        tokio::select! {
            _ = async { while matches!(tokio::io::stdin().read(&mut byte).await, Ok(1..)) {} } => {}
            () = ignored => {}
        }
    }
}

/// Writes what is logged to standard error.
pub fn log() {
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::INFO)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .init();
}

/// Tells a parent process, or a person, where the service listens.
///
/// # Errors
///
/// If standard output is closed.
pub fn say_where(listener: &TcpListener) -> io::Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{LISTENING}{}", listener.local_addr()?)?;
    out.flush()
}

/// Makes a folder, unless it is there.
///
/// # Errors
///
/// If it cannot be made; the message says what to do.
pub fn make_folder(folder: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(folder).map_err(|error| {
        format!("cannot make the folder {}: {error}; name one that can be written with --folder", folder.display())
            .into()
    })
}

/// The folder that all files of a program are in: the one that was named, or a new one that is removed in the end.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    removed: bool,
}

impl Folder {
    /// Makes the folder; without one named, a new one with `name` in its own name.
    ///
    /// # Errors
    ///
    /// If it cannot be made; the message says what to do.
    pub fn make(wanted: Option<&Path>, name: &str) -> Result<Self, Failure> {
        let own = || std::env::temp_dir().join(format!("{name}-{}", new_id()));
        let path = wanted.map_or_else(own, Path::to_owned);
        make_folder(&path)?;
        // Children are given it as an argument, and the reader a path to copy.
        let path = path.canonicalize()?;
        Ok(Self { path, removed: wanted.is_none() })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves it there in the end.
    pub fn keep(mut self) {
        self.removed = false;
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.removed {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// A name that no other process has.
pub fn new_id() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{:x}-{:x}", now.as_millis(), std::process::id())
}

/// Listens on loopback; port 0 takes any that is free.
pub async fn listen(port: u16) -> Result<TcpListener, ListenError> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => ListenError::InUse { port },
        _ => ListenError::Other { port, source },
    })
}

/// A port cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The messages say it.
pub enum ListenError {
    #[error("port {port} of 127.0.0.1 is in use by another process; end it, or choose another port with --port")]
    InUse { port: u16 },
    #[error("cannot listen on port {port} of 127.0.0.1: {source}; choose another port with --port")]
    Other { port: u16, source: io::Error },
}
