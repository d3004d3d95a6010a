//! One Redis server.

use std::fmt;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::Signal;

use super::error::{ServerError, Tried};
use super::find::{Binary, homebrew};
use super::process::{Make, Process, new_folder};
use super::resp::{self, Reply};
use super::wire::Url;
use crate::proxy::Proxy;

const VARIABLE: &str = "IDEMPOTENCY_TEST_REDIS_URL";

/// A Redis server: this test's own, or the one that `IDEMPOTENCY_TEST_REDIS_URL` names.
#[derive(Debug)]
pub struct Redis {
    place: Place,
}

#[derive(Debug)]
enum Place {
    Own { process: Box<Process>, url: String },
    Foreign(Url),
}

/// How a server is to be started.
#[derive(Clone, Debug, Default)]
#[must_use = "nothing runs before `start`"]
pub struct StartingRedis {
    settings: Vec<(String, String)>,
}

impl StartingRedis {
    /// Sets a line of its configuration, such as `appendonly` to `yes`. Without any, nothing is written
    /// to disk.
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// Starts it, and waits until it answers.
    ///
    /// # Errors
    /// [`ServerError`]
    pub fn start(self) -> Result<Redis, ServerError> {
        match Url::from_environment(VARIABLE)? {
            Some(url) => Ok(Redis { place: Place::Foreign(url) }),
            None => self.start_own(),
        }
    }

    /// As [`StartingRedis::start`], whatever the environment names.
    pub(super) fn start_own(self) -> Result<Redis, ServerError> {
        let process = start("redis-server", self.settings, &[])?;
        let url = format!("redis://{}", process.address());
        Ok(Redis { place: Place::Own { process: Box::new(process), url } })
    }
}

impl Redis {
    /// A server to be started.
    #[expect(clippy::new_ret_no_self, reason = "it is one when it was started")]
    pub fn new() -> StartingRedis {
        StartingRedis::default()
    }

    /// One server for all tests of this program, started when it is first asked for and ended with the
    /// program. Whoever uses it must not mind what others keep in it.
    ///
    /// # Errors
    /// [`ServerError`], once and for all.
    pub fn shared() -> Result<&'static Self, &'static ServerError> {
        static SHARED: OnceLock<Result<Redis, ServerError>> = OnceLock::new();
        SHARED.get_or_init(|| Self::new().start()).as_ref()
    }

    /// Its URL, `redis://127.0.0.1:PORT` for one of this test's own.
    #[must_use]
    pub fn url(&self) -> &str {
        match &self.place {
            Place::Own { url, .. } => url,
            Place::Foreign(url) => url.as_str(),
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        match &self.place {
            Place::Own { process, .. } => process.address(),
            Place::Foreign(url) => url.address(),
        }
    }

    /// Stops its process where it is: connections stay open, and nothing is answered.
    ///
    /// # Errors
    /// [`ServerError::Foreign`]; [`ServerError::Io`]
    pub fn pause(&self) -> Result<(), ServerError> {
        self.own()?.signal(Signal::STOP)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// [`ServerError::Foreign`]; [`ServerError::Io`]
    pub fn resume(&self) -> Result<(), ServerError> {
        self.own()?.signal(Signal::CONT)
    }

    /// Kills it (SIGKILL). What it had written is there when it is [started again](Self::restart).
    ///
    /// # Errors
    /// [`ServerError::Foreign`]; [`ServerError::Io`]
    pub fn kill(&self) -> Result<(), ServerError> {
        self.own()?.kill()
    }

    /// Kills it if it still runs, and starts it again, on the same port, over what it had written.
    ///
    /// # Errors
    /// [`ServerError`]
    pub fn restart(&self) -> Result<(), ServerError> {
        let process = self.own()?;
        process.kill()?;
        process.start_again(&is_ready)
    }

    /// A proxy in front of it, which can be told to disturb.
    ///
    /// # Errors
    /// [`ServerError::Io`]
    pub fn cut_off(&self) -> Result<Proxy, ServerError> {
        Proxy::start(self.address()).tried(|| format!("starting a proxy before {}", self.address()))
    }

    /// The end of its log; empty for somebody else's.
    #[must_use]
    pub fn log_tail(&self) -> String {
        self.own().map_or_else(|_| String::new(), Process::log_tail)
    }

    /// Its process, while it runs; `None` for somebody else's.
    #[must_use]
    pub fn process_id(&self) -> Option<u32> {
        self.own().ok()?.id()
    }

    pub(super) fn own(&self) -> Result<&Process, ServerError> {
        match &self.place {
            Place::Own { process, .. } => Ok(process),
            Place::Foreign(_) => Err(ServerError::Foreign { variable: VARIABLE }),
        }
    }

    /// Asks it something, for at most two seconds.
    pub(super) fn ask(&self, words: &[&str]) -> Result<Reply, String> {
        resp::ask(self.address(), words).map_err(|error| format!("{words:?} failed: {error}"))
    }
}

/// For messages: the URL without its password.
impl fmt::Display for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Own { url, .. } => f.write_str(url),
            Place::Foreign(url) => fmt::Debug::fmt(url, f),
        }
    }
}

/// Starts `redis-server` with these settings, and further arguments.
pub(super) fn start(
    what: &'static str,
    settings: Vec<(String, String)>,
    arguments: &[&str],
) -> Result<Process, ServerError> {
    const BINARY: Binary = Binary { name: "redis-server", apt: "redis-server", brew: "redis", variable: VARIABLE };
    let binary = BINARY.find(homebrew())?;
    let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    let folder = new_folder("redis")?;
    // A file, as Sentinel writes its own; it is the first argument.
    let make: Make = Box::new(move |folder, port| {
        let file = folder.join("redis.conf");
        let mut text = format!("port {port}\nbind 127.0.0.1\ndir {}\nprotected-mode no\n", folder.display());
        if what == "redis-server" {
            text += "save \"\"\nappendonly no\n";
        }
        settings.iter().for_each(|(name, value)| text += &format!("{name} {value}\n"));
        let mut command = Command::new(&binary);
        // A file that was written before is Sentinel's by now.
        if !file.exists()
            && let Err(error) = std::fs::write(&file, text)
        {
            // The server says that it cannot read it.
            eprintln!("{} cannot be written: {error}", file.display());
        }
        command.arg(&file).args(&arguments).current_dir(folder);
        command
    });
    Process::start(what, folder, make, &is_ready)
}

/// Whether a server answers a PING.
pub(super) fn is_ready(address: SocketAddr) -> Result<(), String> {
    match resp::ask_within(address, &["PING"], Duration::from_millis(500)) {
        Ok(Reply::Text(pong)) if pong == "PONG" => Ok(()),
        Ok(other) => Err(format!("PING is answered {other:?}")),
        Err(error) => Err(format!("PING is not answered: {error}")),
    }
}
