//! `cargo xtask mutants-caught`: which rule catches which broken store or
//! executor, in how many schedules and steps.

use crate::args::Args;
use crate::failure::{Failure, Outcome};
use crate::metadata::Workspace;
use crate::shell;

/// The variable by which the test is told where to write the table and the
/// pictures.
const WRITE_TO: &str = "IDEMPOTENCY_MUTANTS_TO";

/// Runs the mutants and prints the table. `--write` keeps it, and a picture of
/// each, in `docs/mutants-caught`.
pub(crate) fn run(mut args: Args) -> Outcome {
    let write = args.switch("--write");
    args.finish_alone()?;
    let workspace = Workspace::members()?;
    let mut command = shell::cargo();
    command.current_dir(&workspace.root);
    command.args(["test", "--quiet", "--package", &workspace.member("idempotency-testkit")?.name, "--test", "mutants"]);
    command.args(["--", "--nocapture", "--exact", "every_mutant_is_caught_by_the_rule_it_breaks"]);
    if write {
        command.env(WRITE_TO, workspace.root.join("docs").join("mutants-caught"));
    }
    let line = shell::shown(&command);
    eprintln!("+ {line}\nbuilding it may take some minutes");
    let output = command.output().map_err(|error| {
        Failure::new(format!("`{line}` could not be started: {error}")).advise("check that cargo is on the PATH")
    })?;
    let told = String::from_utf8_lossy(&output.stdout);
    told.lines().filter_map(|line| line.find('|').map(|at| &line[at..])).for_each(|row| println!("{row}"));
    if output.status.success() {
        return Ok(());
    }
    eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    Err(Failure::new("a mutant is not caught, or not as it should be").advise("the messages above say which, and how"))
}
