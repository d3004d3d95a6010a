//! A pooler before a Postgres server.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::Pid;

use super::ServerError;
use super::find::{Finder, Program};
use super::folder::Folder;
use super::handshake::shake_hands;
use super::postgres::{Postgres, PostgresServer, SUPERUSER};
use super::server::Server;
use super::user::User;
use crate::proxy::Proxy;

const PROGRAM: Program = Program { name: "pgbouncer", apt: "pgbouncer", brew: "pgbouncer", variable: None };

const CONFIG: &str = "pgbouncer.ini";
const PID: &str = "pgbouncer.pid";

/// A pgbouncer in transaction mode before a Postgres server: it gives a client one of the server's
/// connections for each transaction, and gives it to others after that. Dropping it ends it.
///
/// All who come are let in, and are the server's user. It asks a server that was away again at once, and
/// not after 15 s; what is not said here is as pgbouncer has it by default.
#[derive(Debug)]
pub struct PgBouncer {
    server: Server,
}

impl PgBouncer {
    /// Starts one before `postgres`, on a free port of 127.0.0.1, which has up to 20 connections to each of
    /// its databases. As root, it runs as user `postgres` or `nobody`.
    ///
    /// # Errors
    ///
    /// The binary or an unprivileged user is missing, or it ended or was not ready in time.
    pub fn start(postgres: &PostgresServer) -> Result<Self, ServerError> {
        let binary = Finder::system().find(PROGRAM)?;
        let user = User::instead_of_root(PROGRAM.name)?;
        // Nothing of it is to be kept.
        let folder = Folder::new(user, "KILL")?;
        let command = |folder: &Path, port: u16| {
            let file = folder.join(CONFIG);
            let failed = || ServerError::io(format!("cannot write {}", file.display()));
            std::fs::write(&file, config(postgres, folder, port)).map_err(failed())?;
            if let Some(user) = user {
                user.give(&file)?;
            }
            let mut command = Command::new(&binary);
            command.arg(file);
            Ok(command)
        };
        Server::start("pgbouncer", folder, command, ready).map(|server| Self { server })
    }

    /// One for the whole test process, before [`Postgres::shared`], started at first use and ended with the
    /// process. Leave it running.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start) and [`Postgres::shared`], the same for all who ask.
    pub fn shared() -> Result<&'static Self, &'static ServerError> {
        static SHARED: OnceLock<Result<PgBouncer, ServerError>> = OnceLock::new();
        let postgres = Postgres::shared()?;
        SHARED.get_or_init(|| Self::start(postgres)).as_ref()
    }

    /// The URL of a database through this pooler, from its URL at the server.
    #[must_use]
    pub fn url(&self, url: &str) -> String {
        through(url, self.address())
    }

    /// The same, but through a proxy to this pooler.
    #[must_use]
    pub fn url_through(&self, proxy: &Proxy, url: &str) -> String {
        through(url, &proxy.address().to_string())
    }

    /// Its host and port: what a [`Proxy`] is started with.
    #[must_use]
    pub fn address(&self) -> &str {
        self.server.address()
    }

    /// Whether it greets a newcomer within `limit`, for whom it has to have reached its server.
    ///
    /// # Errors
    ///
    /// It does not, or by an error.
    pub fn ping(&self, limit: Duration) -> Result<(), ServerError> {
        let said = shake_hands(self.address(), SUPERUSER, limit)
            .map_err(ServerError::io(format!("{} did not greet within {limit:?}", self.server.name())))?;
        said.map_err(|answer| ServerError::Refused { server: self.server.name(), asked: "a greeting".into(), answer })
    }

    /// Stops it (SIGSTOP): connections stay open, and nothing is answered.
    ///
    /// # Errors
    ///
    /// It was killed.
    pub fn pause(&self) -> Result<(), ServerError> {
        self.server.pause()
    }

    /// Lets it go on (SIGCONT).
    ///
    /// # Errors
    ///
    /// It was killed.
    pub fn resume(&self) -> Result<(), ServerError> {
        self.server.resume()
    }

    /// Kills it (SIGKILL), paused or not.
    ///
    /// # Errors
    ///
    /// It was killed already.
    pub fn kill(&self) -> Result<(), ServerError> {
        self.server.kill()
    }

    /// Starts it again on the same port. One that runs is killed first.
    ///
    /// # Errors
    ///
    /// It did not start.
    pub fn restart(&self) -> Result<(), ServerError> {
        self.server.restart()
    }

    /// The last lines of its log since it was last started.
    #[must_use]
    pub fn log_tail(&self) -> String {
        self.server.log_tail()
    }
}

fn config(postgres: &PostgresServer, folder: &Path, port: u16) -> String {
    let (host, its_port) = postgres.address().rsplit_once(':').unwrap_or((postgres.address(), "5432"));
    let (user, password) = postgres.login();
    let password = password.map(|password| format!(" password='{}'", password.replace('\'', "''")));
    format!(
        "[databases]\n\
         * = host={host} port={its_port} user={user}{}\n\
         [pgbouncer]\n\
         listen_addr = 127.0.0.1\n\
         listen_port = {port}\n\
         unix_socket_dir =\n\
         auth_type = any\n\
         pool_mode = transaction\n\
         server_login_retry = 0.1\n\
         pidfile = {}\n",
        password.unwrap_or_default(),
        folder.join(PID).display()
    )
}

/// Another may have taken the port and answer instead, so its own word must be there, too.
fn ready(address: &str, process: Pid, folder: &Path) -> Result<(), String> {
    let file = std::fs::read_to_string(folder.join(PID)).unwrap_or_default();
    if file.trim() != process.to_string() {
        return Err(format!("{PID} says {file:?}"));
    }
    shake_hands(address, SUPERUSER, Duration::from_secs(2)).map_err(|error| error.to_string())?
}

/// A URL with another host and port.
fn through(url: &str, address: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("postgres", url));
    let (place, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let user = place.rsplit_once('@').map_or_else(String::new, |(user, _)| format!("{user}@"));
    format!("{scheme}://{user}{address}{rest}")
}

#[cfg(test)]
mod tests {
    use super::through;

    #[test]
    fn a_url_leads_through_it() {
        for (url, expected) in [
            ("postgres://postgres@127.0.0.1:5432/shop?a=b", "postgres://postgres@[::1]:9/shop?a=b"),
            ("postgres://user:p%40ss@db:5432/shop", "postgres://user:p%40ss@[::1]:9/shop"),
            ("postgres://db", "postgres://[::1]:9"),
        ] {
            assert_eq!(through(url, "[::1]:9"), expected);
        }
    }
}
