//! What a process asked of the system, by `strace`.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use idempotency_testkit::processes::role;

/// A completed system call: its first and its last line in the trace, and all its text.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) begin: usize,
    pub(crate) end: usize,
    pub(crate) text: String,
}

/// Runs a role under `strace` with these options. Needs no rights: a process may trace its children.
pub(crate) fn run(options: &[&str], name: &str, arguments: &[&Path], safety: &str) -> Output {
    let role = role(name);
    let output = Command::new("strace")
        .args(["-f", "-q"])
        .args(options)
        .arg(role.get_program())
        .args(role.get_args())
        .args(arguments)
        .arg(safety)
        .stdin(Stdio::null())
        .output();
    let output = match output {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            panic!(
                "strace is not installed, and what is promised of a power cut is only shown by it: apt-get install strace"
            )
        }
        other => other.unwrap(),
    };
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    output
}

/// The calls of these names that a role makes.
pub(crate) fn calls(names: &str, role: &str, folder: &Path, safety: &str) -> Vec<Call> {
    let log = folder.join("trace");
    let options = ["-s", "600000", "-e", &format!("trace={names}"), "-o", log.to_str().unwrap()];
    run(&options, role, &[&folder.join("db")], safety);
    let calls = read(&String::from_utf8_lossy(&std::fs::read(&log).unwrap()));
    assert!(!calls.is_empty(), "nothing was traced");
    calls
}

fn read(trace: &str) -> Vec<Call> {
    let mut open: HashMap<&str, (usize, &str)> = HashMap::new();
    let mut calls = Vec::new();
    for (at, line) in trace.lines().enumerate() {
        let Some((thread, text)) = line.split_once(' ') else { continue };
        let text = text.trim_start();
        if let Some(begun) = text.strip_suffix("<unfinished ...>") {
            open.insert(thread, (at, begun));
        } else if let Some((_, rest)) = text.strip_prefix("<... ").and_then(|text| text.split_once(" resumed>")) {
            let Some((begin, begun)) = open.remove(thread) else { continue };
            calls.push(Call { begin, end: at, text: format!("{begun}{rest}") });
        } else {
            calls.push(Call { begin: at, end: at, text: text.to_owned() });
        }
    }
    calls.sort_by_key(|call| call.begin);
    calls
}

impl Call {
    pub(crate) fn is(&self, name: &str) -> bool {
        self.text.strip_prefix(name).is_some_and(|rest| rest.starts_with('('))
    }

    /// What is written between pointed brackets: strace shows a file's bytes, so these read as written.
    pub(crate) fn marks(&self) -> impl Iterator<Item = &str> {
        self.text.match_indices('<').filter_map(|(at, _)| {
            let mark = &self.text[at + 1..at + self.text[at..].find('>')?];
            let (task, step) = mark.strip_prefix(['L', 'R'])?.split_once('.')?;
            (task.parse::<u32>().is_ok() && step.parse::<u32>().is_ok()).then_some(mark)
        })
    }
}
