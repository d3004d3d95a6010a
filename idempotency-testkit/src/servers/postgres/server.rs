//! A Postgres server that runs.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::super::ServerError;
use super::super::foreign::Foreign;
use super::super::handshake::shake_hands;
use super::super::server::Server;
use super::super::wait::until;
use super::{FOREIGN_LIMIT, SUPERUSER};
use crate::proxy::Proxy;

/// A Postgres server that answers. Dropping it ends it, if it is not foreign, and forgets its data.
#[derive(Debug)]
pub struct PostgresServer {
    psql: PathBuf,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Own(Box<Server>),
    Foreign(Foreign),
}

impl PostgresServer {
    /// `postgres://postgres@127.0.0.1:PORT/postgres`, or what the environment says, with its
    /// password.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_at(self.address(), self.database())
    }

    /// The same, but through a proxy to this server.
    #[must_use]
    pub fn url_through(&self, proxy: &Proxy) -> String {
        self.url_at(&proxy.address().to_string(), self.database())
    }

    /// The URL with another host and port, and another database.
    #[must_use]
    pub fn url_at(&self, address: &str, database: &str) -> String {
        match &self.place {
            Place::Own(_) => format!("postgres://{SUPERUSER}@{address}/{database}"),
            Place::Foreign(foreign) => foreign.at(address, database),
        }
    }

    /// Its host and port: what a [`Proxy`] is started with.
    #[must_use]
    pub fn address(&self) -> &str {
        match &self.place {
            Place::Own(server) => server.address(),
            // There is at least one.
            Place::Foreign(foreign) => &foreign.hosts()[0],
        }
    }

    /// Makes an empty database, and gives its URL, so that tests can share a server.
    ///
    /// It goes with the server. In a foreign one it stays: its name begins with `idempotency_test_`.
    ///
    /// # Errors
    ///
    /// The server refuses, or does not answer within 10 s.
    pub fn fresh_database(&self) -> Result<String, ServerError> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        // Of all processes that ever share a foreign server.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let name = format!("idempotency_test_{now}_{}_{}", std::process::id(), NUMBER.fetch_add(1, Relaxed));
        self.query(&format!("CREATE DATABASE {name}"))?;
        Ok(self.url_at(self.address(), &name))
    }

    /// Runs SQL by `psql` as the user of [`url`](Self::url), and gives what it prints: a line for a
    /// row, with `|` between columns.
    ///
    /// # Errors
    ///
    /// The server refuses, or no connection can be had within 10 s.
    pub fn query(&self, sql: &str) -> Result<String, ServerError> {
        let mut command = Command::new(&self.psql);
        command.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--no-password"]);
        command.args(["--set", "ON_ERROR_STOP=1", "--command", sql, "--dbname"]);
        match &self.place {
            Place::Own(_) => command.arg(self.url()),
            // Arguments can be seen by everybody, the environment cannot.
            Place::Foreign(foreign) => {
                if let Some(password) = foreign.password() {
                    command.env("PGPASSWORD", password);
                }
                command.arg(foreign.without_password(self.database()))
            }
        };
        command.env("PGCONNECT_TIMEOUT", "10");
        let output = command.output().map_err(ServerError::io(format!("cannot start {}", self.psql.display())))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned());
        }
        let answer = String::from_utf8_lossy(&output.stderr).trim_end().to_owned();
        Err(ServerError::Refused { server: self.name(), asked: sql.to_owned(), answer })
    }

    /// Whether it greets a newcomer within `limit`.
    ///
    /// # Errors
    ///
    /// It does not, or by an error.
    pub fn ping(&self, limit: Duration) -> Result<(), ServerError> {
        let said = shake_hands(self.address(), &self.login().0, limit)
            .map_err(ServerError::io(format!("{} did not greet within {limit:?}", self.name())))?;
        said.map_err(|answer| ServerError::Refused { server: self.name(), asked: "a greeting".to_owned(), answer })
    }

    /// Stops all of its processes (SIGSTOP): connections stay open, new ones are accepted by the
    /// system, and nothing is answered.
    ///
    /// # Errors
    ///
    /// It is foreign, or was killed.
    pub fn pause(&self) -> Result<(), ServerError> {
        self.own("paused")?.pause()
    }

    /// Lets paused processes go on (SIGCONT).
    ///
    /// # Errors
    ///
    /// It is foreign, or was killed.
    pub fn resume(&self) -> Result<(), ServerError> {
        self.own("resumed")?.resume()
    }

    /// Kills all of its processes (SIGKILL), paused or not, and waits until they are gone. Its data
    /// stay.
    ///
    /// # Errors
    ///
    /// It is foreign, or was killed already.
    pub fn kill(&self) -> Result<(), ServerError> {
        self.own("killed")?.kill()
    }

    /// Shuts it down at once (SIGQUIT, *immediate shutdown*): it tells its clients so, cuts them off, and
    /// has to recover when it is started again.
    ///
    /// # Errors
    ///
    /// It is foreign, or was killed.
    pub fn shut_down(&self) -> Result<(), ServerError> {
        self.own("shut down")?.quit()
    }

    /// Starts it again on the same port with the same data, and waits until it has recovered. One
    /// that runs is killed first.
    ///
    /// # Errors
    ///
    /// It is foreign, or it did not start.
    pub fn restart(&self) -> Result<(), ServerError> {
        self.own("restarted")?.restart()
    }

    /// The last lines of its log since it was last started; of a foreign server, none.
    #[must_use]
    pub fn log_tail(&self) -> String {
        match &self.place {
            Place::Own(server) => server.log_tail(),
            Place::Foreign(_) => String::new(),
        }
    }

    pub(super) fn own_one(server: Server, psql: PathBuf) -> Self {
        Self { psql, place: Place::Own(Box::new(server)) }
    }

    /// Reaches a foreign server.
    pub(super) fn reach(foreign: Foreign, psql: PathBuf) -> Result<Self, ServerError> {
        let server = Self { psql, place: Place::Foreign(foreign) };
        until(FOREIGN_LIMIT, || server.query("SELECT 1")).map(|_| server)
    }

    /// Whom it knows us as, and by which password.
    pub(in crate::servers) fn login(&self) -> (String, Option<String>) {
        match &self.place {
            Place::Own(_) => (SUPERUSER.to_owned(), None),
            Place::Foreign(foreign) => (foreign.user().unwrap_or_else(|| SUPERUSER.to_owned()), foreign.password()),
        }
    }

    fn database(&self) -> &str {
        match &self.place {
            Place::Own(_) => "postgres",
            Place::Foreign(foreign) => foreign.path(),
        }
    }

    fn own(&self, action: &'static str) -> Result<&Server, ServerError> {
        match &self.place {
            Place::Own(server) => Ok(server),
            Place::Foreign(foreign) => Err(foreign.refuses(action)),
        }
    }

    fn name(&self) -> String {
        match &self.place {
            Place::Own(server) => server.name(),
            Place::Foreign(foreign) => format!("Postgres at {}, named by {}", self.address(), foreign.variable),
        }
    }
}
