//! Ends a server and removes its folder, also when the process that started it was killed.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use rustix::process::Pid;

/// Waits for the end of its standard input, which comes when it is closed or when the process at its
/// other end is gone, however that ended. Then it ends what it was told of and removes the folder.
///
/// `$1` is the folder, `$2` the signal that ends a server.
const SCRIPT: &str = r#"
trap '' HUP INT QUIT TERM
pids=
while read -r word pid; do
    case $word in
    add) pids="$pids $pid" ;;
    forget)
        others=
        for other in $pids; do
            [ "$other" = "$pid" ] || others="$others $other"
        done
        pids=$others
        ;;
    esac
done
if [ -n "$pids" ]; then
    kill -"$2" $pids
    # What is paused takes no signal but KILL.
    kill -CONT $pids
    turns=0
    while [ "$2" != KILL ] && kill -0 $pids && [ $turns -lt 100 ]; do
        turns=$((turns + 1))
        sleep 0.05
    done
    kill -KILL $pids
fi
# A Postgres that was killed leaves a segment of shared memory, which is named here.
if [ -f "$1/data/postmaster.pid" ]; then
    set -- "$1" $(sed -n 7p "$1/data/postmaster.pid")
    ipcrm -m "$3"
fi
# What dies may still write.
turns=0
while rm -rf "$1"; [ -e "$1" ] && [ $turns -lt 100 ]; do
    turns=$((turns + 1))
    sleep 0.05
done
"#;

/// A watchdog over one folder and the processes that live in it.
#[derive(Debug)]
pub(super) struct Watchdog {
    child: Child,
    /// Its end is the signal.
    orders: Mutex<Option<ChildStdin>>,
}

impl Watchdog {
    /// Watches over `folder`; `signal` is what ends its processes, without the `SIG`.
    pub(super) fn over(folder: &Path, signal: &str) -> io::Result<Self> {
        let mut child = Command::new("sh")
            .args(["-c", SCRIPT, "watchdog"])
            .arg(folder)
            .arg(signal)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // What a terminal or a test runner sends to the whole group must not end it.
            .process_group(0)
            .current_dir("/")
            .spawn()?;
        let orders = Mutex::new(child.stdin.take());
        Ok(Self { child, orders })
    }

    /// Takes a process into its care.
    pub(super) fn add(&self, pid: Pid) -> io::Result<()> {
        self.tell("add", pid)
    }

    /// Takes a process out of its care. This comes before its number is free for another.
    pub(super) fn forget(&self, pid: Pid) -> io::Result<()> {
        self.tell("forget", pid)
    }

    /// Ends everything, without waiting for it.
    pub(super) fn release(&self) {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Waits until it has ended everything.
    pub(super) fn finish(&mut self) {
        self.release();
        let _ = self.child.wait();
    }

    fn tell(&self, word: &str, pid: Pid) -> io::Result<()> {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        // One write, so that it is told whole or not at all.
        orders.as_mut().map_or(Ok(()), |orders| orders.write_all(format!("{word} {pid}\n").as_bytes()))
    }
}
