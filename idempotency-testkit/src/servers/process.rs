//! A server's process: started, paused, killed, started again.

use std::io::{self, Write};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::ServerError;
use super::folder::Folder;
use super::wait::until;

/// Becomes the server when it is told to; ends without doing anything if nobody tells it any more.
const ON_YOUR_MARKS: &str = r#"read -r go && [ "$go" = go ] && exec "$@" </dev/null"#;

/// How long the system may take to end what was killed.
const DYING: Duration = Duration::from_secs(10);

/// A running server. It ends with its [`Folder`].
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    pid: Pid,
    /// Processes that it started, while they are paused.
    paused: Vec<Pid>,
}

impl Process {
    /// Starts `server` in the folder. There is no moment in which it lives and the folder's watchdog
    /// does not know it.
    pub(super) fn start(server: &Command, folder: &Folder) -> Result<Self, ServerError> {
        let what = format!("cannot start {}", server.get_program().display());
        Self::try_start(server, folder, folder.open_log()?).map_err(ServerError::io(what))
    }

    fn try_start(server: &Command, folder: &Folder, log: std::fs::File) -> io::Result<Self> {
        let mut command = Command::new("sh");
        command
            .args(["-c", ON_YOUR_MARKS, "server"])
            .arg(server.get_program())
            .args(server.get_args())
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            // What a terminal sends to the whole group is not for it.
            .process_group(0);
        if let Some(user) = folder.user {
            command.uid(user.uid).gid(user.gid);
        }
        let mut child = command.spawn()?;
        let pid = Pid::from_child(&child);
        folder.watchdog.add(pid)?;
        if let Some(mut marks) = child.stdin.take() {
            // A failure shows as a server that has ended.
            let _ = marks.write_all(b"go\n");
        }
        Ok(Self { child, pid, paused: Vec::new() })
    }

    pub(super) const fn pid(&self) -> Pid {
        self.pid
    }

    /// How it ended, if it did.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits for its end.
    pub(super) fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        until(limit, || self.ended().ok_or(())).ok()
    }

    /// Stops it and all that it started (SIGSTOP).
    pub(super) fn pause(&mut self, folder: &Folder) -> io::Result<()> {
        // First the one that could start more.
        kill_process(self.pid, Signal::STOP)?;
        for child in children(self.pid) {
            if !self.paused.contains(&child) && kill_process(child, Signal::STOP).is_ok() {
                // When its parent dies, it would not notice.
                folder.watchdog.add(child)?;
                self.paused.push(child);
            }
        }
        Ok(())
    }

    /// Lets it go on (SIGCONT).
    pub(super) fn resume(&mut self, folder: &Folder) -> io::Result<()> {
        for child in self.paused.drain(..) {
            // What died meanwhile needs none.
            let _ = kill_process(child, Signal::CONT);
            folder.watchdog.forget(child)?;
        }
        Ok(kill_process(self.pid, Signal::CONT)?)
    }

    /// Tells it to end itself and all that it started (SIGQUIT), and waits until it has.
    pub(super) fn quit(mut self, folder: &Folder) -> io::Result<()> {
        kill_process(self.pid, Signal::QUIT)?;
        if self.wait(DYING).is_none() {
            self.kill(folder)?;
            return Err(io::Error::other("the process outlived SIGQUIT"));
        }
        folder.watchdog.forget(self.pid)
    }

    /// Kills it and all that it started (SIGKILL), and waits until they are gone.
    pub(super) fn kill(mut self, folder: &Folder) -> io::Result<()> {
        self.pause(folder)?;
        let mut all = std::mem::take(&mut self.paused);
        all.push(self.pid);
        for pid in &all {
            let _ = kill_process(*pid, Signal::KILL);
            folder.watchdog.forget(*pid)?;
        }
        self.child.wait()?;
        // Postgres does not start over data that another process has in use.
        until(DYING, || if all.iter().any(|pid| is_alive(*pid)) { Err(()) } else { Ok(()) })
            .map_err(|()| io::Error::other("a process outlived SIGKILL"))
    }
}

/// A port of 127.0.0.1 on which nobody listens now; another may take it the next moment.
pub(super) fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// The processes that `parent` started.
fn children(parent: Pid) -> Vec<Pid> {
    let all = processes();
    let its = all.into_iter().filter(|process| process.parent == parent.as_raw_pid());
    its.filter_map(|process| Pid::from_raw(process.pid)).collect()
}

/// Whether there is such a process, and it is more than an entry that waits for its parent to look.
fn is_alive(pid: Pid) -> bool {
    processes().iter().any(|process| process.pid == pid.as_raw_pid() && !process.is_zombie)
}

struct Listed {
    pid: i32,
    parent: i32,
    is_zombie: bool,
}

/// All processes: from Linux's own list, which is always there, or by `ps`.
fn processes() -> Vec<Listed> {
    let listed = |pid: &str, parent: &str, state: &str| {
        Some(Listed { pid: pid.parse().ok()?, parent: parent.parse().ok()?, is_zombie: state.starts_with('Z') })
    };
    if let Ok(entries) = std::fs::read_dir("/proc")
        && cfg!(target_os = "linux")
    {
        let stat = |entry: std::fs::DirEntry| std::fs::read_to_string(entry.path().join("stat")).ok();
        return entries
            .flatten()
            .filter_map(stat)
            .filter_map(|stat| {
                // The name, in brackets, may hold anything.
                let (pid, rest) = (stat.split_once(' ')?.0, stat.rsplit_once(") ")?.1);
                let mut rest = rest.split(' ');
                let (state, parent) = (rest.next()?, rest.next()?);
                listed(pid, parent, state)
            })
            .collect();
    }
    let output = Command::new("ps").args(["-A", "-o", "pid=,ppid=,state="]).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (pid, parent, state) = (words.next()?, words.next()?, words.next()?);
            listed(pid, parent, state)
        })
        .collect()
}
