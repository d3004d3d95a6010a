//! `cargo xtask bench`: the benchmarks of the workspace.

use crate::args::Args;
use crate::failure::Outcome;
use crate::metadata::Workspace;
use crate::shell;

/// The package whose program is the benchmarks.
const PACKAGE: &str = "idempotency-benches";

/// Other libraries beside ours, apart from the workspace: one of them states a newer Rust than it
/// needs.
const PEERS: &str = "benches/peers/Cargo.toml";

/// Builds the benchmarks optimised and runs them, then those beside other
/// libraries. `--json FILE` and what stands after `--` are passed to both.
pub(crate) fn run(mut args: Args) -> Outcome {
    let json = args.value("--json")?;
    let passed = args.finish()?;
    let workspace = Workspace::members()?;
    // The programs run where the user stands, so that FILE means what they wrote.
    let package = workspace.member(PACKAGE)?;
    let peers = workspace.root.join(PEERS);
    let target = workspace.target.join("peers");
    let mut peers_command = shell::cargo();
    peers_command.args(["run", "--release", "--ignore-rust-version", "--manifest-path"]).arg(peers);
    peers_command.env("CARGO_TARGET_DIR", target);
    let mut command = shell::cargo();
    command.args(["run", "--release"]).args(["--package", &package.name]);
    for command in [&mut command, &mut peers_command] {
        command.arg("--");
        if let Some(file) = &json {
            command.args(["--json", file]);
        }
        command.args(&passed);
        shell::run(command, "the benchmark's own message above says why")?;
    }
    Ok(())
}
