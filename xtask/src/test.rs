//! `cargo xtask test` and `cargo xtask soak`: the tests of the workspace.

use std::process::Command;

use crate::args::Args;
use crate::failure::Outcome;
use crate::metadata::Workspace;
use crate::system::NEEDED;
use crate::{flakes, shell};

/// The variable by which tests know that their long counts are wanted. Unset
/// means the short ones.
const SOAK: &str = "IDEMPOTENCY_SOAK";

/// The variable that says how many tests run at once. Most of them wait for a server, or for a lease to
/// lapse: with one a core, the cores are idle most of the time.
const THREADS: &str = "RUST_TEST_THREADS";
const AT_ONCE: usize = 2;

/// Runs every test with all features, documentation tests too.
pub(crate) fn test(args: Args) -> Outcome {
    let workspace = Workspace::members()?;
    let mut command = cargo_test(&workspace, args, &[])?;
    shell::run(&mut command, "mend the test named above; alone it runs by `cargo xtask test -- NAME`")
}

/// Runs the same tests optimised and with their long counts. A value of the
/// variable that the caller has set is kept. Then comes what must pass every time.
pub(crate) fn soak(args: Args) -> Outcome {
    let whole = args.is_empty();
    let workspace = Workspace::members()?;
    let mut command = cargo_test(&workspace, args, &["--release"])?;
    let level = std::env::var(SOAK).unwrap_or_else(|_| "1".to_owned());
    eprintln!("{SOAK}={level}");
    command.env(SOAK, level);
    shell::run(&mut command, "mend the test named above; alone it runs by `cargo xtask soak -- NAME --nocapture`")?;
    // With a package or a test named, only that is wanted.
    if whole { flakes::run(Args::default()) } else { Ok(()) }
}

/// `cargo test` over the workspace or over the one package named by `-p`.
fn cargo_test(workspace: &Workspace, mut args: Args, options: &[&str]) -> Outcome<Command> {
    let package = match args.value("-p")? {
        Some(name) => Some(name),
        None => args.value("--package")?,
    };
    let passed = args.finish()?;
    for tool in NEEDED {
        tool.find_or_install()?;
    }
    let mut command = shell::cargo();
    command.current_dir(&workspace.root).arg("test");
    match package {
        Some(name) => command.args(["--package", &workspace.member(&name)?.name]),
        None => command.arg("--workspace"),
    };
    command.arg("--all-features").args(options);
    if std::env::var_os(THREADS).is_none() {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        command.env(THREADS, (AT_ONCE * cores).to_string());
    }
    if !passed.is_empty() {
        command.arg("--").args(passed);
    }
    Ok(command)
}
