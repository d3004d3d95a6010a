//! `cargo xtask mutants`: whether the tests of the core notice when it is changed.
//!
//! cargo-mutants changes one thing at a time and runs the tests; a change that none of them notices
//! is a gap, or cannot matter. `.cargo/mutants.toml` and docs/mutants.md say which are known not to.

use std::path::Path;
use std::process::Command;

use crate::args::Args;
use crate::failure::{Failure, Outcome};
use crate::metadata::Workspace;
use crate::shell;
use crate::tools::Tool;

const CARGO_MUTANTS: Tool =
    Tool { name: "cargo-mutants", version: "27.1.0", options: &[], takes: "one to two minutes, once" };

/// The package whose code is changed, and whose tests are to notice.
const PACKAGE: &str = "idempotency-core";

/// What cargo-mutants ends with where it ran to its end and not every mutant failed a test: 2 where
/// some were missed, 3 where some hung the tests, whether or not others were missed.
const RAN: [i32; 2] = [2, 3];

/// Runs cargo-mutants over the core; what stands after `--` is passed on to it. A mutant that hangs
/// the tests is caught; one that is missed fails.
pub(crate) fn run(args: Args) -> Outcome {
    let passed = args.finish()?;
    let workspace = Workspace::members()?;
    let package = workspace.member(PACKAGE)?;
    let program = CARGO_MUTANTS.find_or_install(&workspace)?;
    let mut command = Command::new(program);
    command
        .current_dir(&workspace.root)
        .args(["mutants", "--package", &package.name, "--all-features"])
        .arg("--output")
        .arg(&workspace.target)
        .args(passed)
        // The change is one line: what was built before serves again, and nobody looks with a debugger.
        .env("CARGO_INCREMENTAL", "1")
        .env("CARGO_PROFILE_DEV_DEBUG", "0");
    shell::run_to(&mut command, &RAN, "its own message above says why")?;
    none_missed(&workspace.target.join("mutants.out").join("missed.txt"))
}

/// Fails where the list that cargo-mutants left is not empty.
fn none_missed(list: &Path) -> Outcome {
    // None is written where no mutant was tested, as where a filter fits none.
    let missed = std::fs::read_to_string(list).unwrap_or_default();
    match missed.lines().count() {
        0 => Ok(()),
        count => Err(Failure::new(format!("no test noticed {count} mutants:\n{}", missed.trim_end()))
            .advise("add a test that does, or exclude it in .cargo/mutants.toml with the reason why it cannot matter")),
    }
}
