//! A test that runs itself again, as a process of its own.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const ROLE: &str = "SERVERS_TEST_ROLE";

/// The part that this process plays in the test that started it, if it is not the test itself.
pub(crate) fn role() -> Option<String> {
    std::env::var(ROLE).ok()
}

/// The test of this name again, in a role.
pub(crate) fn again(test: &str, role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads", "1"]).env(ROLE, role);
    command
}

/// Another process in a role, that says words on lines and goes on when it is told to.
pub(crate) struct Other {
    child: Child,
    said: BufReader<std::process::ChildStdout>,
}

impl Other {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        Self { child, said }
    }

    /// Waits until it has said `word`.
    pub(crate) fn hear(&mut self, word: &str) {
        let mut line = String::new();
        loop {
            line.clear();
            assert_ne!(self.said.read_line(&mut line).unwrap(), 0, "it ended without saying {word}");
            if line.trim_end().ends_with(word) {
                return;
            }
        }
    }

    pub(crate) fn go_on(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"go on\n").unwrap();
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

/// Says a word to who started this role.
pub(crate) fn say(word: &str) {
    println!("\n{word}");
}

/// Waits until who started this role tells it to go on.
pub(crate) fn wait_to_go_on() {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
}

/// Waits until `holds`, for as long as a loaded machine may need.
pub(crate) fn eventually(what: &str, holds: impl FnMut() -> bool) {
    within(Duration::from_secs(60), what, holds);
}

fn within(limit: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < limit, "not within {limit:?}: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}
