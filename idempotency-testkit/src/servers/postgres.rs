//! One Postgres server.

use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::Signal;

use super::error::{ServerError, Tried};
use super::find::{Binary, postgres_folders};
use super::process::{Make, Process, command, new_folder};
use super::wire::Url;
use crate::proxy::Proxy;

const VARIABLE: &str = "IDEMPOTENCY_TEST_POSTGRES_URL";
const USER: &str = "postgres";

/// A Postgres server: this test's own, or the one that `IDEMPOTENCY_TEST_POSTGRES_URL` names.
#[derive(Debug)]
pub struct Postgres {
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
pub struct StartingPostgres {
    settings: Vec<(String, String)>,
}

impl StartingPostgres {
    /// Sets one of its parameters, such as `fsync` to `off`.
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// Makes its files, starts it, and waits until it takes connections.
    ///
    /// # Errors
    /// [`ServerError`]
    pub fn start(self) -> Result<Postgres, ServerError> {
        if let Some(url) = Url::from_environment(VARIABLE)? {
            return Ok(Postgres { place: Place::Foreign(url) });
        }
        let binary = |name| Binary { name, apt: "postgresql", brew: "postgresql@16", variable: VARIABLE };
        let initdb = binary("initdb").find(postgres_folders())?;
        let postgres = binary("postgres").find(postgres_folders())?;
        let folder = new_folder("postgres")?;
        let account = Account::unprivileged()?;
        if let Some(Account { user, group }) = account {
            chown(folder.path(), Some(user), Some(group))
                .tried(|| format!("giving {} to user {user}", folder.path().display()))?;
        }
        let mut making = command(&initdb);
        making.args(["--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync", "--username", USER, "--pgdata"]);
        making.arg(folder.path().join("data")).stdin(Stdio::null()).current_dir(folder.path());
        Account::become_of(account, &mut making);
        let made = making.output().tried(|| format!("running {}", initdb.display()))?;
        if !made.status.success() {
            let log = String::from_utf8_lossy(&made.stderr).into_owned();
            return Err(ServerError::Ended { what: "initdb".into(), status: made.status.to_string(), log });
        }
        let settings = self.settings;
        let make: Make = Box::new(move |folder, port| {
            let mut command = command(&postgres);
            command.arg("-D").arg(folder.join("data")).arg("-k").arg(folder);
            command.args(["-h", "127.0.0.1", "-p", &port.to_string()]);
            // Shared memory that is a file in the folder goes with it.
            command.args(["-c", "dynamic_shared_memory_type=mmap"]);
            for (name, value) in &settings {
                command.arg("-c").arg(format!("{name}={value}"));
            }
            command.current_dir(folder);
            Account::become_of(account, &mut command);
            command
        });
        let process = Process::start("postgres", folder, make, &is_ready)?;
        let url = format!("postgres://{USER}@{}/postgres", process.address());
        Ok(Postgres { place: Place::Own { process: Box::new(process), url } })
    }
}

impl Postgres {
    /// A server to be started.
    #[expect(clippy::new_ret_no_self, reason = "it is one when it was started")]
    pub fn new() -> StartingPostgres {
        StartingPostgres::default()
    }

    /// One server for all tests of this program, started when it is first asked for and ended with the
    /// program. Give each test a [database of its own](Self::fresh_database).
    ///
    /// # Errors
    /// [`ServerError`], once and for all.
    pub fn shared() -> Result<&'static Self, &'static ServerError> {
        static SHARED: OnceLock<Result<Postgres, ServerError>> = OnceLock::new();
        SHARED.get_or_init(|| Self::new().start()).as_ref()
    }

    /// Its URL, `postgres://postgres@127.0.0.1:PORT/postgres` for one of this test's own.
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

    /// Makes a new, empty database, and gives its URL. It goes with the server.
    ///
    /// # Errors
    /// [`ServerError`]; [`ServerError::Foreign`], as for a server of somebody else's the kit has no password.
    pub fn fresh_database(&self) -> Result<String, ServerError> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let address = self.own()?.address();
        let name = format!("test_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        query(address, "postgres", &format!("CREATE DATABASE {name}"))
            .tried(|| format!("making the database {name}"))?;
        Ok(format!("postgres://{USER}@{address}/{name}"))
    }

    /// Runs one statement in a database of this test's own server and gives its first column, a text a row.
    ///
    /// # Errors
    /// [`ServerError::Foreign`]; [`ServerError::Io`], with the server's message.
    pub fn query(&self, database: &str, statement: &str) -> Result<Vec<String>, ServerError> {
        query(self.own()?.address(), database, statement).tried(|| format!("running `{statement}`"))
    }

    /// Stops its processes where they are: connections stay open, and nothing is answered.
    ///
    /// # Errors
    /// [`ServerError::Foreign`]; [`ServerError::Io`]
    pub fn pause(&self) -> Result<(), ServerError> {
        self.own()?.signal(Signal::STOP)
    }

    /// Lets them go on.
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

    fn own(&self) -> Result<&Process, ServerError> {
        match &self.place {
            Place::Own { process, .. } => Ok(process),
            Place::Foreign(_) => Err(ServerError::Foreign { variable: VARIABLE }),
        }
    }
}

/// Who runs the server, where we are root.
#[derive(Clone, Copy)]
struct Account {
    user: u32,
    group: u32,
}

impl Account {
    /// `None` where we are not root; else Postgres's own user, or whoever has no rights.
    fn unprivileged() -> Result<Option<Self>, ServerError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let text = std::fs::read_to_string("/etc/passwd").tried(|| "reading /etc/passwd".into())?;
        let named = |name: &str| {
            let line = text.lines().find(|line| line.split(':').next() == Some(name))?;
            let mut numbers = line.split(':').skip(2).map(str::parse);
            Some(Self { user: numbers.next()?.ok()?, group: numbers.next()?.ok()? })
        };
        let found = named("postgres").or_else(|| named("nobody")).map(Some);
        found
            .ok_or_else(|| io::Error::other("it has neither `postgres` nor `nobody`"))
            .tried(|| "Postgres will not run as root, and no other user is in /etc/passwd".into())
    }

    fn become_of(account: Option<Self>, command: &mut Command) {
        if let Some(Self { user, group }) = account {
            command.uid(user).gid(group);
        }
    }
}

/// Whether it lets a client in.
fn is_ready(address: SocketAddr) -> Result<(), String> {
    query(address, "postgres", "SELECT 1").map(drop).map_err(|error| error.to_string())
}

/// Runs one statement, by the simple query protocol (Postgres's documentation, *Frontend/Backend
/// Protocol*, version 3.0).
fn query(address: SocketAddr, database: &str, statement: &str) -> io::Result<Vec<String>> {
    const LIMIT: Duration = Duration::from_secs(20);
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    let startup = format!("\0\u{3}\0\0user\0{USER}\0database\0{database}\0\0");
    stream.write_all(&length_of(startup.len()).to_be_bytes())?;
    stream.write_all(startup.as_bytes())?;
    let mut answers = BufReader::new(stream.try_clone()?);
    let (mut rows, mut asked, mut failed) = (Vec::new(), false, None);
    loop {
        let mut head = [0; 5];
        answers.read_exact(&mut head)?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]).saturating_sub(4);
        let mut body = vec![0; usize::try_from(length).unwrap_or(0)];
        answers.read_exact(&mut body)?;
        match head[0] {
            b'E' if asked => failed = Some(io::Error::other(readable(&body))),
            b'E' => return Err(io::Error::other(readable(&body))),
            b'D' => rows.push(first_column(&body)),
            b'Z' if asked => return failed.map_or(Ok(rows), Err),
            b'Z' => {
                stream.write_all(b"Q")?;
                stream.write_all(&length_of(statement.len() + 1).to_be_bytes())?;
                stream.write_all(statement.as_bytes())?;
                stream.write_all(b"\0")?;
                asked = true;
            }
            _ => {}
        }
    }
}

/// The length of a message, its own four bytes included.
fn length_of(bytes: usize) -> u32 {
    u32::try_from(bytes + 4).unwrap_or(u32::MAX)
}

fn readable(error: &[u8]) -> String {
    let fields = error.split(|byte| *byte == 0).filter(|field| matches!(field.first(), Some(b'M' | b'S' | b'C')));
    fields.map(|field| String::from_utf8_lossy(&field[1..]).into_owned()).collect::<Vec<_>>().join(" ")
}

fn first_column(row: &[u8]) -> String {
    let length = row.get(2..6).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_be_bytes);
    let end = usize::try_from(length).unwrap_or(0).saturating_add(6).min(row.len());
    String::from_utf8_lossy(row.get(6..end).unwrap_or_default()).into_owned()
}
