//! Running other programs.

use std::ffi::OsString;
use std::process::{Command, Stdio};

use crate::failure::{Failure, Outcome};

/// The cargo that started this program, or the one on the path.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")))
}

/// `command` as a user would type it, without the path of the program.
pub(crate) fn shown(command: &Command) -> String {
    let name = std::path::Path::new(command.get_program()).file_stem().unwrap_or(command.get_program());
    let mut line = name.to_string_lossy().into_owned();
    for arg in command.get_args() {
        let arg = arg.to_string_lossy();
        line.push(' ');
        if arg.is_empty() || arg.contains([' ', '"', '$', '*', '(', '|']) {
            line.push_str(&format!("'{arg}'"));
        } else {
            line.push_str(&arg);
        }
    }
    line
}

/// Shows the command, runs it, and fails if it does. `advice` is what the user
/// is told to do then.
pub(crate) fn run(command: &mut Command, advice: &str) -> Outcome {
    run_to(command, &[], advice)
}

/// As [`run`], where these statuses too are no failure.
pub(crate) fn run_to(command: &mut Command, also: &[i32], advice: &str) -> Outcome {
    let line = shown(command);
    eprintln!("+ {line}");
    let status = command.status().map_err(|error| not_started(&line, &error))?;
    if status.success() || status.code().is_some_and(|code| also.contains(&code)) {
        return Ok(());
    }
    Err(Failure::new(format!("`{line}` failed ({status})")).advise(advice))
}

/// Runs the command and gives what it writes on its standard output.
pub(crate) fn output(command: &mut Command) -> Outcome<Vec<u8>> {
    let line = shown(command);
    let output = command.stderr(Stdio::inherit()).output().map_err(|error| not_started(&line, &error))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(Failure::new(format!("`{line}` failed ({})", output.status)).advise("its own message above says why"))
}

fn not_started(line: &str, error: &std::io::Error) -> Failure {
    Failure::new(format!("`{line}` could not be started: {error}"))
        .advise("check that the program is installed and on the PATH")
}
