//! One Redis server.

mod server;

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::Pid;

pub use self::server::RedisServer;
use super::ServerError;
use super::find::{Finder, Program};
use super::folder::Folder;
use super::foreign::Foreign;
use super::resp::{Reply, ask, info};
use super::server::Server;

const VARIABLE: &str = "IDEMPOTENCY_TEST_REDIS_URL";
const FORM: &str = "redis://[user:password@]host:port[/database]";
pub(super) const PORT: u16 = 6379;

const PROGRAM: Program = Program { name: "redis-server", apt: "redis-server", brew: "redis", variable: Some(VARIABLE) };

/// How long a foreign server may take to answer at the start.
const FOREIGN_LIMIT: Duration = Duration::from_secs(10);

/// How long an answer to [`RedisServer::command`] may take.
pub(super) const ANSWER: Duration = Duration::from_secs(10);

/// How to start a Redis server.
///
/// Unless told otherwise it keeps nothing on disk: a restart forgets all.
/// `with_arg("appendonly", "yes")` makes every write survive a kill of the process.
#[derive(Clone, Debug)]
#[must_use = "it does nothing until it is started"]
pub struct Redis {
    args: Vec<(String, String)>,
    finder: Finder,
    own: bool,
    sentinel_of: Option<String>,
}

impl Redis {
    /// A server as tests want it: in memory, on a free port of 127.0.0.1.
    pub fn new() -> Self {
        Self { args: Vec::new(), finder: Finder::system(), own: false, sentinel_of: None }
    }

    /// Sets what redis.conf would set: `with_arg("maxmemory", "10mb")`. A foreign server takes none.
    pub fn with_arg(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.args.push((name.into(), value.into()));
        self
    }

    /// Looks for the binary in the folders of `path` alone, which are separated as in PATH.
    pub fn with_path(mut self, path: impl Into<OsString>) -> Self {
        self.finder = Finder::only(path.into());
        self
    }

    /// Always starts a server, whatever the environment names: for tests that kill it.
    pub const fn own(mut self) -> Self {
        self.own = true;
        self
    }

    /// Starts the server, or reaches the one that `IDEMPOTENCY_TEST_REDIS_URL` names.
    ///
    /// Returns when it has answered, usually within 50 ms; it may take a minute.
    ///
    /// # Errors
    ///
    /// The binary is missing, or the server ended or was not ready in time, or the foreign one does
    /// not answer within 10 s.
    pub fn start(self) -> Result<RedisServer, ServerError> {
        if !self.own
            && let Some(foreign) = Foreign::named_by(VARIABLE, FORM, PORT)?
        {
            return RedisServer::reach(foreign);
        }
        let binary = self.finder.find(PROGRAM)?;
        let folder = Folder::new(None, "KILL")?;
        let command = |folder: &Path, port: u16| {
            let mut command = Command::new(&binary);
            if let Some(config) = &self.sentinel_of {
                let file = folder.join("sentinel.conf");
                std::fs::write(&file, config).map_err(ServerError::io(format!("cannot write {}", file.display())))?;
                command.arg(file).arg("--sentinel");
            } else {
                // An empty `save`: no snapshots.
                command.args(["--save", "", "--appendonly", "no"]);
            }
            command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--dir"]).arg(folder);
            for (name, value) in &self.args {
                command.arg(format!("--{name}")).arg(value);
            }
            Ok(command)
        };
        Server::start("Redis", folder, command, ready).map(RedisServer::own_one)
    }

    /// One server for the whole test process, started at first use and ended with the process. Give
    /// each test keys of its own, and leave it running.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start), the same for all who ask.
    pub fn shared() -> Result<&'static RedisServer, &'static ServerError> {
        static SHARED: OnceLock<Result<RedisServer, ServerError>> = OnceLock::new();
        SHARED.get_or_init(|| Self::new().start()).as_ref()
    }

    /// Makes it a sentinel with this configuration.
    pub(super) fn with_sentinel_config(mut self, config: String) -> Self {
        self.sentinel_of = Some(config);
        self
    }
}

impl Default for Redis {
    fn default() -> Self {
        Self::new()
    }
}

/// Another may have taken the port and answer instead, so it must be this process.
fn ready(address: &str, process: Pid, _: &Path) -> Result<(), String> {
    const LIMIT: Duration = Duration::from_secs(2);
    match ask(address, LIMIT, &["PING"]) {
        Ok(Reply::Text(pong)) if pong == "PONG" => {}
        Ok(other) => return Err(format!("PING was answered by {other:?}")),
        Err(error) => return Err(format!("PING was not answered: {error}")),
    }
    let server = info(address, LIMIT, "server").map_err(|error| error.to_string())?;
    match server.lines().any(|line| line == format!("process_id:{process}")) {
        true => Ok(()),
        false => Err("another server answers on its port".to_owned()),
    }
}
