//! `cargo xtask deny`: bans, licences and sources of what we depend on.
//!
//! Advisories are left to a job of their own in CI: they need a database from
//! the network, and they change without a change of ours.

use std::process::Command;

use crate::args::Args;
use crate::failure::Outcome;
use crate::metadata::Workspace;
use crate::shell;
use crate::tools::Tool;

const CARGO_DENY: Tool =
    Tool { name: "cargo-deny", version: "0.20.2", options: &[], takes: "one to two minutes, once" };

/// Runs cargo-deny over the checks named, or over bans, licences and sources.
pub(crate) fn run(mut args: Args) -> Outcome {
    let mut checks = args.names();
    args.finish_alone()?;
    if checks.is_empty() {
        checks = ["bans", "licenses", "sources"].map(str::to_owned).into();
    }
    let workspace = Workspace::members()?;
    let program = CARGO_DENY.find_or_install(&workspace)?;
    let mut command = Command::new(program);
    command.current_dir(&workspace.root).args(["--all-features", "check"]).args(checks);
    shell::run(
        &mut command,
        "deny.toml says what is allowed: choose another dependency, or add an entry there with its reason",
    )
}
