//! `cargo xtask bench`: the benchmarks of the workspace.

use crate::args::Args;
use crate::failure::Outcome;
use crate::metadata::Workspace;
use crate::shell;

/// The package whose program is the benchmarks.
const PACKAGE: &str = "idempotency-benches";

/// Builds the benchmarks optimised and runs them. `--json FILE` and what
/// stands after `--` are passed to them.
pub(crate) fn run(mut args: Args) -> Outcome {
    let json = args.value("--json")?;
    let passed = args.finish()?;
    let workspace = Workspace::members()?;
    // The program runs where the user stands, so that FILE means what they wrote.
    let mut command = shell::cargo();
    command.args(["run", "--release", "--package"]);
    command.args([&workspace.member(PACKAGE)?.name, "--"]);
    if let Some(file) = json {
        command.args(["--json", &file]);
    }
    command.args(passed);
    shell::run(&mut command, "the benchmark's own message above says why")
}
