//! A Redis server that runs.

use std::time::Duration;

use super::super::ServerError;
use super::super::foreign::Foreign;
use super::super::resp::{Connection, Reply, info};
use super::super::server::Server;
use super::super::wait::until;
use super::{ANSWER, FOREIGN_LIMIT};
use crate::proxy::Proxy;

/// A Redis server that answers. Dropping it ends it, if it is not foreign, and forgets its data.
#[derive(Debug)]
pub struct RedisServer {
    place: Place,
}

#[derive(Debug)]
enum Place {
    Own(Box<Server>),
    Foreign(Foreign),
}

impl RedisServer {
    /// `redis://127.0.0.1:PORT`, or what the environment says, with its password.
    #[must_use]
    pub fn url(&self) -> String {
        match &self.place {
            Place::Own(server) => format!("redis://{}", server.address()),
            Place::Foreign(foreign) => foreign.url(),
        }
    }

    /// The same, but through a proxy to this server.
    #[must_use]
    pub fn url_through(&self, proxy: &Proxy) -> String {
        match &self.place {
            Place::Own(_) => format!("redis://{}", proxy.address()),
            Place::Foreign(foreign) => foreign.at(&proxy.address().to_string(), foreign.path()),
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

    /// Whether it answers PING within `limit`.
    ///
    /// # Errors
    ///
    /// It does not, or by something else than PONG.
    pub fn ping(&self, limit: Duration) -> Result<(), ServerError> {
        match self.ask(limit, &["PING"])? {
            Reply::Text(pong) if pong == "PONG" => Ok(()),
            other => Err(self.refused("PING", &other)),
        }
    }

    /// Sends a command on a connection of its own, and waits up to 10 s for the answer.
    ///
    /// # Errors
    ///
    /// The server cannot be reached, does not answer, or answers by an error.
    pub fn command(&self, parts: &[&str]) -> Result<Reply, ServerError> {
        match self.ask(ANSWER, parts)? {
            error @ Reply::Error(_) => Err(self.refused(parts.first().unwrap_or(&""), &error)),
            reply => Ok(reply),
        }
    }

    /// Stops the process (SIGSTOP): connections stay open, new ones are accepted by the system, and
    /// nothing is answered.
    ///
    /// # Errors
    ///
    /// It is foreign, or was killed.
    pub fn pause(&self) -> Result<(), ServerError> {
        self.own("paused")?.pause()
    }

    /// Lets a paused process go on (SIGCONT).
    ///
    /// # Errors
    ///
    /// It is foreign, or was killed.
    pub fn resume(&self) -> Result<(), ServerError> {
        self.own("resumed")?.resume()
    }

    /// Kills the process (SIGKILL), paused or not, and waits until it is gone. Its data stay.
    ///
    /// # Errors
    ///
    /// It is foreign, or was killed already.
    pub fn kill(&self) -> Result<(), ServerError> {
        self.own("killed")?.kill()
    }

    /// Starts it again on the same port with the data that it had on disk, and waits until it is
    /// ready. One that runs is killed first.
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

    pub(super) fn own_one(server: Server) -> Self {
        Self { place: Place::Own(Box::new(server)) }
    }

    /// Waits until `lacking` has nothing to say.
    pub(in super::super) fn wait_for(&self, lacking: impl FnMut() -> Result<(), String>) -> Result<(), ServerError> {
        self.own("waited for")?.wait_for(lacking)
    }

    /// Whether INFO has a line.
    pub(in super::super) fn says(&self, section: &str, line: &str) -> Result<(), String> {
        let info = info(self.address(), ANSWER, section).map_err(|error| error.to_string())?;
        let name = line.split(':').next().unwrap_or(line);
        let said = info.lines().find(|said| said.split(':').next() == Some(name));
        if said == Some(line) { Ok(()) } else { Err(format!("INFO says {said:?}, not {line}")) }
    }

    /// Reaches a foreign server.
    pub(super) fn reach(foreign: Foreign) -> Result<Self, ServerError> {
        let server = Self { place: Place::Foreign(foreign) };
        let Place::Foreign(foreign) = &server.place else { return Ok(server) };
        if foreign.is_encrypted() {
            // We speak no TLS, so that there is somebody must do.
            until(FOREIGN_LIMIT, || Connection::open(server.address(), ANSWER).map(drop))
                .map_err(ServerError::io(server.name()))?;
        } else {
            until(FOREIGN_LIMIT, || server.ping(ANSWER))?;
        }
        Ok(server)
    }

    fn ask(&self, limit: Duration, parts: &[&str]) -> Result<Reply, ServerError> {
        let asked = || {
            let mut connection = Connection::open(self.address(), limit)?;
            if let Place::Foreign(foreign) = &self.place {
                let (user, password) = (foreign.user(), foreign.password());
                if let Some(password) = &password {
                    let refused = match &user {
                        Some(user) => connection.ask(&["AUTH", user, password])?,
                        None => connection.ask(&["AUTH", password])?,
                    };
                    if let Reply::Error(_) = refused {
                        return Ok(refused);
                    }
                }
                if !foreign.path().is_empty() {
                    connection.ask(&["SELECT", foreign.path()])?;
                }
            }
            connection.ask(parts)
        };
        let name = parts.first().unwrap_or(&"");
        asked().map_err(ServerError::io(format!("{} did not answer {name} within {limit:?}", self.name())))
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
            Place::Foreign(foreign) => format!("Redis at {}, named by {}", self.address(), foreign.variable),
        }
    }

    fn refused(&self, asked: &str, answer: &Reply) -> ServerError {
        ServerError::Refused { server: self.name(), asked: asked.to_owned(), answer: format!("{answer:?}") }
    }
}
