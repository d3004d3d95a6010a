//! A Postgres server.

mod server;

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::Pid;

pub use self::server::PostgresServer;
use super::ServerError;
use super::find::{Finder, Program};
use super::folder::Folder;
use super::foreign::Foreign;
use super::handshake::shake_hands;
use super::process::Process;
use super::server::Server;
use super::user::User;
use super::wait::LIMIT;

const VARIABLE: &str = "IDEMPOTENCY_TEST_POSTGRES_URL";
const FORM: &str = "postgres://[user:password@]host:port[/database]";
const PORT: u16 = 5432;

const SERVER: Program =
    Program { name: "postgres", apt: "postgresql", brew: "postgresql@16", variable: Some(VARIABLE) };
const INITDB: Program = Program { name: "initdb", ..SERVER };
const BASEBACKUP: Program = Program { name: "pg_basebackup", ..PSQL };
const PSQL: Program = Program { name: "psql", apt: "postgresql-client", brew: "libpq", variable: None };

/// The user that initdb makes, who needs no password.
pub(super) const SUPERUSER: &str = "postgres";

/// How long a foreign server may take to answer at the start.
const FOREIGN_LIMIT: Duration = Duration::from_secs(10);

/// What a server in a test is started with. What is set by the builder comes after it.
const SETTINGS: &[(&str, &str)] = &[
    ("listen_addresses", "127.0.0.1"),
    ("unix_socket_directories", ""),
    // A kill of the process loses nothing that the system's cache has.
    ("fsync", "off"),
    ("max_connections", "200"),
    // Files in the folder, which go with it; other kinds outlive a kill.
    ("dynamic_shared_memory_type", "mmap"),
];

/// How to start a Postgres server.
///
/// Unless told otherwise its commits survive a kill of the process, but not one of the machine
/// (`fsync=off`).
#[derive(Clone, Debug)]
#[must_use = "it does nothing until it is started"]
pub struct Postgres {
    settings: Vec<(String, String)>,
    finder: Finder,
    own: bool,
    /// The URL of the server that it is a standby of.
    primary: Option<String>,
}

impl Postgres {
    /// A server as tests want it: quick to start, on a free port of 127.0.0.1.
    pub fn new() -> Self {
        Self { settings: Vec::new(), finder: Finder::system(), own: false, primary: None }
    }

    /// Sets what postgresql.conf would set: `with_setting("fsync", "on")`. A foreign server takes
    /// none.
    pub fn with_setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// Looks for the binaries in the folders of `path` alone, which are separated as in PATH.
    pub fn with_path(mut self, path: impl Into<OsString>) -> Self {
        self.finder = Finder::only(path.into());
        self
    }

    /// Always starts a server, whatever the environment names: for tests that kill it.
    pub const fn own(mut self) -> Self {
        self.own = true;
        self
    }

    /// Makes it a standby, which follows `primary` by streaming and takes no writes until it is promoted
    /// (`SELECT pg_promote()`). It is always started, and has what the primary has by then.
    pub fn standby_of(mut self, primary: &PostgresServer) -> Self {
        self.primary = Some(primary.url());
        self.own()
    }

    /// Starts the server, or reaches the one that `IDEMPOTENCY_TEST_POSTGRES_URL` names.
    ///
    /// Returns when it has answered, usually within 2 s; it may take two minutes. As root, the server
    /// runs as user `postgres` or `nobody`.
    ///
    /// # Errors
    ///
    /// A binary or an unprivileged user is missing, or the server ended or was not ready in time, or
    /// the foreign one does not answer within 10 s.
    pub fn start(self) -> Result<PostgresServer, ServerError> {
        if !self.own
            && let Some(foreign) = Foreign::named_by(VARIABLE, FORM, PORT)?
        {
            return PostgresServer::reach(foreign, self.finder.find(PSQL)?);
        }
        let binary = self.finder.find(SERVER)?;
        // The companions of the same version.
        let beside = Finder::beside(&binary);
        let psql = beside.find(PSQL).or_else(|_| self.finder.find(PSQL))?;
        // On SIGQUIT it ends at once, and takes its shared memory along.
        let folder = Folder::new(User::instead_of_root(SERVER.name)?, "QUIT")?;
        match &self.primary {
            None => initdb(&beside.find(INITDB)?, &folder)?,
            Some(primary) => base_backup(&beside.find(BASEBACKUP)?, &folder, primary)?,
        }
        let command = |folder: &Path, port: u16| {
            let mut command = Command::new(&binary);
            command.arg("-D").arg(folder.join("data")).args(["-p", &port.to_string()]);
            let own = self.settings.iter().map(|(name, value)| (&**name, &**value));
            for (name, value) in SETTINGS.iter().copied().chain(own) {
                command.arg("-c").arg(format!("{name}={value}"));
            }
            Ok(command)
        };
        Server::start("Postgres", folder, command, ready).map(|server| PostgresServer::own_one(server, psql))
    }

    /// One server for the whole test process, started at first use and ended with the process. Give
    /// each test a [fresh database](PostgresServer::fresh_database), and leave it running.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start), the same for all who ask.
    pub fn shared() -> Result<&'static PostgresServer, &'static ServerError> {
        static SHARED: OnceLock<Result<PostgresServer, ServerError>> = OnceLock::new();
        SHARED.get_or_init(|| Self::new().start()).as_ref()
    }
}

impl Default for Postgres {
    fn default() -> Self {
        Self::new()
    }
}

fn initdb(binary: &Path, folder: &Folder) -> Result<(), ServerError> {
    let mut command = Command::new(binary);
    command.arg("-D").arg(folder.path().join("data")).args(["--username", SUPERUSER, "--auth", "trust"]);
    command.args(["--encoding", "UTF8", "--locale", "C", "--no-sync"]);
    run("initdb", &command, folder)
}

/// Copies the data of a server that runs.
fn base_backup(binary: &Path, folder: &Folder, primary: &str) -> Result<(), ServerError> {
    let mut command = Command::new(binary);
    command.arg("-D").arg(folder.path().join("data")).args(["--dbname", primary, "--no-password"]);
    command.args(["--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--no-sync"]);
    run("pg_basebackup", &command, folder)
}

/// Runs what sets a server up to its end.
fn run(name: &str, command: &Command, folder: &Folder) -> Result<(), ServerError> {
    let mut process = Process::start(command, folder)?;
    let pid = process.pid();
    let status = process.wait(LIMIT);
    let (server, log) = (format!("{name} in {}", folder.path().display()), folder.log_tail());
    match status {
        None => Err(ServerError::NotReady { server, lacking: "it still runs".to_owned(), limit: LIMIT, log }),
        Some(status) if status.success() => {
            folder.watchdog.forget(pid).map_err(ServerError::io("the watchdog is gone"))
        }
        Some(status) => Err(ServerError::NotStarted { server, ended: status.to_string(), log }),
    }
}

/// Another may have taken the port and answer instead, so its own word must be there, too.
fn ready(address: &str, process: Pid, folder: &Path) -> Result<(), String> {
    let file = std::fs::read_to_string(folder.join("data/postmaster.pid")).unwrap_or_default();
    let lines: Vec<&str> = file.lines().map(str::trim).collect();
    if lines.first() != Some(&&*process.to_string()) || !matches!(lines.get(7), Some(&"ready" | &"standby")) {
        return Err(format!("postmaster.pid says {lines:?}"));
    }
    shake_hands(address, SUPERUSER, Duration::from_secs(2)).map_err(|error| error.to_string())?
}
