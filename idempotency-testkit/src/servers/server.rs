//! What all servers that we start have in common.

use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::Pid;

use super::ServerError;
use super::folder::Folder;
use super::process::{Process, free_port};
use super::wait::{LIMIT, until};

/// How often another port is tried where one was taken by somebody else meanwhile.
const PORTS: u32 = 20;

/// The ports that are used: a Redis Cluster's nodes also listen 10,000 above theirs.
const LAST_PORT: u16 = u16::MAX - 10_000;

/// How long a server may take to end when it is dropped.
const ENDING: Duration = Duration::from_secs(10);

/// Says whether the server is ready that has this address and process, and if not, what it lacks.
pub(super) type Ready = fn(address: &str, process: Pid, folder: &Path) -> Result<(), String>;

/// A server in a folder of its own.
#[derive(Debug)]
pub(super) struct Server {
    kind: &'static str,
    address: String,
    command: Command,
    ready: Ready,
    /// None while it is killed.
    process: Mutex<Option<Process>>,
    folder: Folder,
}

impl Server {
    /// Starts a server by the command made for a folder and a port, and waits until it is ready.
    pub(super) fn start(
        kind: &'static str,
        folder: Folder,
        command: impl Fn(&Path, u16) -> Result<Command, ServerError>,
        ready: Ready,
    ) -> Result<Self, ServerError> {
        let mut tried = 0;
        let mut server =
            Self { kind, address: String::new(), command: Command::new(""), ready, process: Mutex::new(None), folder };
        loop {
            tried += 1;
            let port = port()?;
            server.address = format!("127.0.0.1:{port}");
            server.command = command(server.folder.path(), port)?;
            match server.run() {
                Err(ServerError::NotStarted { log, .. }) if was_taken(&log) && tried < PORTS => {}
                outcome => return outcome.map(|()| server),
            }
        }
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn log_tail(&self) -> String {
        self.folder.log_tail()
    }

    /// What it is called in errors.
    pub(super) fn name(&self) -> String {
        format!("{} at {}", self.kind, self.address)
    }

    pub(super) fn pause(&self) -> Result<(), ServerError> {
        self.running(|process, folder| process.pause(folder).map_err(ServerError::io("cannot pause the server")))
    }

    pub(super) fn resume(&self) -> Result<(), ServerError> {
        self.running(|process, folder| process.resume(folder).map_err(ServerError::io("cannot resume the server")))
    }

    pub(super) fn kill(&self) -> Result<(), ServerError> {
        let process = self.process().take().ok_or_else(|| self.not_running())?;
        process.kill(&self.folder).map_err(ServerError::io(format!("cannot kill {}", self.name())))
    }

    /// Ends it by SIGQUIT.
    pub(super) fn quit(&self) -> Result<(), ServerError> {
        let process = self.process().take().ok_or_else(|| self.not_running())?;
        process.quit(&self.folder).map_err(ServerError::io(format!("cannot shut down {}", self.name())))
    }

    /// Starts it again, with its port and its data; kills it first, if it runs.
    pub(super) fn restart(&self) -> Result<(), ServerError> {
        if self.process().is_some() {
            self.kill()?;
        }
        // Another may have its port for a moment, as the near end of a connection.
        until(LIMIT, || match self.run() {
            Err(ServerError::NotStarted { log, .. }) if was_taken(&log) => {
                Err(self.not_ready("another has its port".to_owned()))
            }
            outcome => Ok(outcome),
        })?
    }

    /// Waits until a condition holds that `lacking` does not name.
    pub(super) fn wait_for(&self, mut lacking: impl FnMut() -> Result<(), String>) -> Result<(), ServerError> {
        until(LIMIT, &mut lacking).map_err(|lacking| self.not_ready(lacking))
    }

    /// Runs the command, and waits until the server is ready or has ended.
    fn run(&self) -> Result<(), ServerError> {
        // So that what is found in the log was said by this process.
        let _ = std::fs::remove_file(self.folder.log());
        let mut process = Process::start(&self.command, &self.folder)?;
        let pid = process.pid();
        let outcome = until(LIMIT, || match process.ended() {
            Some(status) => Ok(Err(status)),
            None => (self.ready)(&self.address, pid, self.folder.path()).map(Ok),
        });
        match outcome {
            Ok(Ok(())) => {
                *self.process() = Some(process);
                Ok(())
            }
            Ok(Err(status)) => {
                let forgotten = self.folder.watchdog.forget(pid);
                forgotten.map_err(ServerError::io("the watchdog is gone"))?;
                let log = self.log_tail();
                Err(ServerError::NotStarted { server: self.name(), ended: status.to_string(), log })
            }
            Err(lacking) => {
                let error = self.not_ready(lacking);
                let _ = process.kill(&self.folder);
                Err(error)
            }
        }
    }

    fn running<T>(&self, act: impl FnOnce(&mut Process, &Folder) -> Result<T, ServerError>) -> Result<T, ServerError> {
        let mut process = self.process();
        act(process.as_mut().ok_or_else(|| self.not_running())?, &self.folder)
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn not_running(&self) -> ServerError {
        ServerError::NotRunning { server: self.name() }
    }

    fn not_ready(&self, lacking: String) -> ServerError {
        ServerError::NotReady { server: self.name(), lacking, limit: LIMIT, log: self.log_tail() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.folder.watchdog.release();
        if let Some(mut process) = self.process().take()
            && process.wait(ENDING).is_none()
        {
            // The watchdog was killed by somebody.
            let _ = process.kill(&self.folder);
        }
    }
}

fn port() -> Result<u16, ServerError> {
    loop {
        let port = free_port().map_err(ServerError::io("127.0.0.1 has no free port"))?;
        if port <= LAST_PORT {
            return Ok(port);
        }
    }
}

/// Whether a log tells that somebody else has the port.
fn was_taken(log: &str) -> bool {
    log.contains("ddress already in use")
}
