//! `cargo xtask mutants`: whether the tests of the core notice when it is changed.
//!
//! cargo-mutants changes one thing at a time and runs the tests; a change that none of them notices
//! is a gap, or cannot matter. docs/mutants.md says which are known not to.

use std::process::Command;

use crate::args::Args;
use crate::failure::Outcome;
use crate::metadata::Workspace;
use crate::shell;
use crate::tools::Tool;

const CARGO_MUTANTS: Tool =
    Tool { name: "cargo-mutants", version: "27.1.0", options: &[], takes: "one to two minutes, once" };

/// The package whose code is changed, and whose tests are to notice.
const PACKAGE: &str = "idempotency-core";

/// Runs cargo-mutants over the core, as .cargo/mutants.toml says; what stands after `--` is passed on
/// to it.
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
    shell::run(
        &mut command,
        "for each mutant that was missed, add a test that notices it, or say in docs/mutants.md why it cannot matter",
    )
}
