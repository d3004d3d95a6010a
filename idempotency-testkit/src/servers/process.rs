//! One server's process.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::error::{ServerError, Tried};

/// How long a server may take to be ready.
pub(super) const READY_WITHIN: Duration = Duration::from_secs(30);
/// How often a condition is looked at.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A server's process, in a folder of its own, on a port that stays the same.
#[derive(Debug)]
pub(super) struct Process {
    what: String,
    port: u16,
    make: MakeCommand,
    running: Mutex<Option<Running>>,
    // Removed after the server has ended, as fields are dropped in order.
    folder: TempDir,
}

/// Makes the command that starts the server in its folder, on its port.
pub(super) type Make = Box<dyn Fn(&Path, u16) -> Command + Send + Sync>;

struct MakeCommand(Make);

impl std::fmt::Debug for MakeCommand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MakeCommand")
    }
}

#[derive(Debug)]
struct Running {
    server: Child,
    watchdog: Child,
}

impl Process {
    /// Starts a server, and waits until `ready` says so, or what is missing.
    pub(super) fn start(
        what: &str,
        folder: TempDir,
        make: Make,
        ready: &dyn Fn(SocketAddr) -> Result<(), String>,
    ) -> Result<Self, ServerError> {
        let mut process =
            Self { what: what.into(), port: free_port()?, make: MakeCommand(make), running: Mutex::new(None), folder };
        // Between finding a port free and using it, another may have taken it.
        for _ in 0..5 {
            match process.start_again(ready) {
                Err(ServerError::Ended { log, .. }) if log.to_lowercase().contains("address already in use") => {
                    process.port = free_port()?;
                }
                started => return started.map(|()| process),
            }
        }
        process.start_again(ready).map(|()| process)
    }

    /// Starts it, on the same port, over what it had kept.
    pub(super) fn start_again(&self, ready: &dyn Fn(SocketAddr) -> Result<(), String>) -> Result<(), ServerError> {
        let mut running = self.running();
        if running.is_some() {
            return Ok(());
        }
        let log = self.folder.path().join("log");
        let file =
            File::options().create(true).append(true).open(&log).tried(|| format!("opening {}", log.display()))?;
        let errors = file.try_clone().tried(|| format!("opening {}", log.display()))?;
        let mut command = (self.make.0)(self.folder.path(), self.port);
        command.stdin(Stdio::null()).stdout(file).stderr(errors);
        let server = command.spawn().tried(|| format!("starting {command:?}"))?;
        let watchdog = match watchdog(&server, self.folder.path()) {
            Ok(watchdog) => watchdog,
            Err(error) => {
                end(server);
                return Err(error);
            }
        };
        *running = Some(Running { server, watchdog });
        drop(running);
        self.wait_until(&|| ready(self.address()))
    }

    /// Waits until a condition holds; it says what is missing. Fails when the server ends before.
    pub(super) fn wait_until(&self, condition: &dyn Fn() -> Result<(), String>) -> Result<(), ServerError> {
        let begun = Instant::now();
        loop {
            let Err(why) = condition() else { return Ok(()) };
            if let Some(running) = &mut *self.running()
                && let Ok(Some(status)) = running.server.try_wait()
            {
                let (what, log) = (self.what.clone(), self.log_tail());
                running.end();
                return Err(ServerError::Ended { what, status: status.to_string(), log });
            }
            if begun.elapsed() > READY_WITHIN {
                let (what, log) = (self.what.clone(), self.log_tail());
                return Err(ServerError::NotReady { what, waited: READY_WITHIN, why, log });
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The server's process, while it runs.
    pub(super) fn id(&self) -> Option<u32> {
        self.running().as_ref().map(|running| running.server.id())
    }

    /// Sends a signal to the server, and to the processes that it has started.
    pub(super) fn signal(&self, signal: Signal) -> Result<(), ServerError> {
        let Some(id) = self.id() else { return Ok(()) };
        for id in std::iter::once(id).chain(descendants(id)?) {
            send(id, signal).tried(|| format!("sending a signal to {} (process {id})", self.what))?;
        }
        Ok(())
    }

    /// Kills it at once, as a power cut would; its folder and its port stay.
    pub(super) fn kill(&self) -> Result<(), ServerError> {
        let id = self.id();
        let others = id.map(descendants).transpose()?.unwrap_or_default();
        if let Some(mut running) = self.running().take() {
            running.end();
        }
        // Most end with it; one that was stopped does not notice.
        for other in others {
            drop(send(other, Signal::KILL));
        }
        Ok(())
    }

    /// The last lines of its log.
    pub(super) fn log_tail(&self) -> String {
        const MOST: u64 = 2000;
        let read = || -> std::io::Result<String> {
            let mut file = File::open(self.folder.path().join("log"))?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(MOST)))?;
            let mut tail = Vec::new();
            file.read_to_end(&mut tail)?;
            Ok(String::from_utf8_lossy(&tail).into_owned())
        };
        read().unwrap_or_else(|error| format!("(it cannot be read: {error})"))
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.kill());
        forget_shared_memory(self.folder.path());
    }
}

/// A Postgres that was killed leaves a segment of shared memory, which it would take up again when it is
/// started. Its number is in the seventh line of a file (Postgres's sources, `miscadmin.h`).
fn forget_shared_memory(folder: &Path) {
    let Ok(text) = std::fs::read_to_string(folder.join("data").join("postmaster.pid")) else { return };
    if let Some(segment) = text.lines().nth(6).and_then(|line| line.split_whitespace().nth(1)) {
        let mut remove = Command::new("ipcrm");
        remove.args(["-m", segment]).stdout(Stdio::null()).stderr(Stdio::null());
        // At worst, 56 bytes stay until the machine goes down.
        drop(remove.status());
    }
}

impl Running {
    fn end(&mut self) {
        // The watchdog first, so that it does not look for a number that is another's by then.
        drop(self.watchdog.kill());
        drop(self.watchdog.wait());
        drop(self.server.kill());
        drop(self.server.wait());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

fn end(mut server: Child) {
    drop(server.kill());
    drop(server.wait());
}

/// Ends a server whose owner was killed, and so cannot: it waits for the end of a pipe that the owner
/// holds open, which the system closes however the owner ends.
fn watchdog(server: &Child, folder: &Path) -> Result<Child, ServerError> {
    const SCRIPT: &str = r#"
        cat >/dev/null
        kill -KILL "$1"
        while kill -0 "$1" 2>/dev/null; do sleep 0.05; done
        pid="$2/data/postmaster.pid"
        [ -f "$pid" ] && set -- "$1" "$2" $(sed -n 7p "$pid") && ipcrm -m "$4"
        sleep 0.5
        rm -rf "$2""#;
    let mut command = Command::new("sh");
    command.args(["-c", SCRIPT, "watchdog", &server.id().to_string()]).arg(folder);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().tried(|| "starting a watchdog by `sh`".into())
}

fn send(id: u32, signal: Signal) -> std::io::Result<()> {
    let pid = i32::try_from(id).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| std::io::Error::other(format!("{id} is no process")))?;
    Ok(kill_process(pid, signal)?)
}

/// The processes that a process has started, and those that they have.
fn descendants(id: u32) -> Result<Vec<u32>, ServerError> {
    let output =
        Command::new("ps").args(["-A", "-o", "pid=,ppid="]).output().tried(|| "listing processes by `ps`".into())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let pairs: Vec<(u32, u32)> = text
        .lines()
        .filter_map(|line| {
            let mut numbers = line.split_whitespace().map(str::parse);
            Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
        })
        .collect();
    let mut all = Vec::new();
    let mut next = vec![id];
    while let Some(parent) = next.pop() {
        let children = pairs.iter().filter(|(_, of)| *of == parent).map(|(child, _)| *child);
        let children: Vec<u32> = children.collect();
        all.extend(&children);
        next.extend(children);
    }
    Ok(all)
}

fn free_port() -> Result<u16, ServerError> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).tried(|| "looking for a free port of 127.0.0.1".into())?;
    Ok(listener.local_addr().tried(|| "asking for the number of a free port".into())?.port())
}

/// A new folder, to be removed with its server.
pub(super) fn new_folder(of: &str) -> Result<TempDir, ServerError> {
    let name = format!("idempotency-{of}-");
    tempfile::Builder::new().prefix(&name).tempdir().tried(|| format!("making a temporary folder for {of}"))
}

/// The path of a binary as it is shown in errors.
pub(super) fn command(binary: &PathBuf) -> Command {
    Command::new(binary)
}
