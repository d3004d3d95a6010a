//! `cargo xtask flakes`: every test that depends on time or on real servers,
//! again and again, on a machine that has no time for them.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use serde_json::Value;

use crate::args::Args;
use crate::failure::{Failure, Outcome};
use crate::metadata::Workspace;
use crate::shell;
use crate::system::NEEDED;

/// The test programs in which something waits in real time, runs in threads or
/// processes, or talks to a server: package, program, and what to leave out.
const TIMED: &[(&str, &str, &[&str])] = &[
    ("idempotency-core", "it", &[]),
    ("idempotency-store-memory", "it", &[]),
    ("idempotency-store-sled", "it", &[]),
    ("idempotency-store-sled", "processes", &[]),
    ("idempotency-testkit", "it", &[]),
    ("idempotency-testkit", "history", &[]),
    ("idempotency-testkit", "faults", &[]),
    ("idempotency-testkit", "processes", &[]),
    ("idempotency-testkit", "servers", &[]),
    ("idempotency-examples", "payments_story", &[]),
];

/// How often, unless told otherwise.
const ROUNDS: u32 = 20;

/// Threads that do nothing but run, for each processor.
const LOAD: usize = 2;

/// Runs the programs in rounds, and tells of each failure.
pub(crate) fn run(mut args: Args) -> Outcome {
    let rounds = match args.value("--rounds")? {
        Some(text) => text.parse().map_err(|_| {
            Failure::new(format!("`--rounds {text}` is no number")).advise("write a whole number, as in `--rounds 20`")
        })?,
        None => ROUNDS,
    };
    let idle = args.switch("--idle");
    let only = args.value("-p")?;
    let passed = args.finish()?;
    for tool in NEEDED {
        tool.find_or_install()?;
    }
    let programs = build(only.as_deref())?;
    let load = (!idle).then(Load::start);
    let begun = Instant::now();
    let mut failures = Vec::new();
    for round in 1..=rounds {
        for program in &programs {
            let output = Command::new(&program.file)
                .current_dir(&program.directory)
                .args(program.left_out.iter().flat_map(|name| ["--skip", name]))
                .args(&passed)
                .stdin(Stdio::null())
                .output()
                .map_err(|error| {
                    Failure::new(format!("{} could not be started: {error}", program.name)).advise("build it again")
                })?;
            if !output.status.success() {
                let told = String::from_utf8_lossy(&output.stdout);
                eprintln!(
                    "round {round}: {} FAILED\n{told}\n{}",
                    program.name,
                    String::from_utf8_lossy(&output.stderr)
                );
                failures.push(format!("{} in round {round}", program.name));
            }
        }
        eprintln!(
            "round {round} of {rounds} is over, {} failures so far ({} s)",
            failures.len(),
            begun.elapsed().as_secs()
        );
    }
    drop(load);
    if failures.is_empty() {
        eprintln!("{} programs, {rounds} times each, without a failure", programs.len());
        return Ok(());
    }
    Err(Failure::new(format!("tests that do not always pass: {}", failures.join(", ")))
        .advise("their output is above; one that fails once in twenty is a defect, in the test or in what it tests"))
}

struct Program {
    name: String,
    file: String,
    directory: std::path::PathBuf,
    left_out: &'static [&'static str],
}

/// Builds the programs, and finds them in what cargo tells of them.
fn build(only: Option<&str>) -> Outcome<Vec<Program>> {
    let workspace = Workspace::members()?;
    let mut programs = Vec::new();
    for (package, test, left_out) in TIMED {
        if only.is_some_and(|only| only != *package) {
            continue;
        }
        let member = workspace.member(package)?;
        let mut command = shell::cargo();
        command.current_dir(&workspace.root);
        command.args(["test", "--no-run", "--all-features", "--message-format", "json-render-diagnostics"]);
        command.args(["--package", package, "--test", test]);
        eprintln!("+ {}", shell::shown(&command));
        let told = shell::output(&mut command)?;
        let messages = told.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Value>(line).ok());
        let file = messages
            .filter(|message| message["target"]["name"] == *test && message["profile"]["test"] == true)
            .find_map(|message| message["executable"].as_str().map(str::to_owned));
        let Some(file) = file else {
            return Err(Failure::new(format!("cargo did not say where it built {package}'s tests {test}"))
                .advise("has the format of its messages changed? See xtask/src/flakes.rs"));
        };
        programs.push(Program {
            name: format!("{package} {test}"),
            file,
            directory: member.directory.clone(),
            left_out,
        });
    }
    Ok(programs)
}

/// Keeps every processor busy until it is dropped.
struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let threads = (0..processors * LOAD).map(|_| {
            let stop = stop.clone();
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            })
        });
        Self { threads: threads.collect(), stop }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A thread that only spins cannot panic.
            let _ = thread.join();
        }
    }
}
