//! `cargo xtask ci`: the gates that a change must pass, in order, each timed.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::args::Args;
use crate::failure::{Failure, Outcome};
use crate::metadata::Workspace;
use crate::{deny, e2e, features, msrv, shell, test};

/// A gate and its name.
type Gate = (&'static str, fn() -> Outcome);

/// All gates, the quick ones first.
const GATES: &[Gate] = &[
    ("fmt", fmt),
    ("clippy", clippy),
    ("docs", docs),
    ("features", || features::run(Args::default())),
    ("msrv", || msrv::run(Args::default())),
    ("deny", || deny::run(Args::default())),
    ("test", || test::test(Args::default())),
    ("e2e", || e2e::run(Args::default())),
];

/// Runs the gates named, or all. Goes on after a failure, so that one run
/// tells all there is to mend, unless `--fail-fast` is given.
pub(crate) fn run(mut args: Args) -> Outcome {
    let fail_fast = args.switch("--fail-fast");
    let gates = choose(&args.names())?;
    args.finish_alone()?;
    // A single gate needs no summary.
    if let [(_, gate)] = gates[..] {
        return gate();
    }

    let mut times = Vec::new();
    let mut failures = Vec::new();
    let start = Instant::now();
    for (name, gate) in gates {
        eprintln!("\n== {name}");
        let start = Instant::now();
        let outcome = gate();
        times.push((name, start.elapsed(), outcome.is_ok()));
        if let Err(failure) = outcome {
            eprintln!("error: {failure}");
            failures.push(name);
            if fail_fast {
                break;
            }
        }
    }

    eprintln!();
    for (name, time, passed) in times {
        let word = if passed { "passed" } else { "FAILED" };
        eprintln!("{name:<10} {word} {}", seconds(time));
    }
    eprintln!("{:<10}        {}", "all", seconds(start.elapsed()));
    if failures.is_empty() {
        return Ok(());
    }
    let names = failures.join(" ");
    Err(Failure::new(format!("these gates failed: {names}"))
        .advise(format!("each said above what to do; run them alone by `cargo xtask ci {names}`")))
}

fn choose(names: &[String]) -> Outcome<Vec<Gate>> {
    if names.is_empty() {
        return Ok(GATES.to_vec());
    }
    let all: Vec<&str> = GATES.iter().map(|(name, _)| *name).collect();
    names
        .iter()
        .map(|wanted| {
            GATES.iter().find(|(name, _)| name == wanted).copied().ok_or_else(|| {
                Failure::new(format!("there is no gate `{wanted}`")).advise(format!("the gates are {}", all.join(", ")))
            })
        })
        .collect()
}

fn fmt() -> Outcome {
    shell::run(in_workspace()?.args(["fmt", "--all", "--check"]), "run `cargo fmt --all`")
}

fn clippy() -> Outcome {
    // What is no part of `cargo test` is not among all targets either.
    for targets in [&["--all-targets"][..], &["--test", "e2e"]] {
        shell::run(
            in_workspace()?
                .args(["clippy", "--workspace", "--all-features"])
                .args(targets)
                .args(["--", "--deny", "warnings"]),
            "mend what clippy names above",
        )?;
    }
    Ok(())
}

fn docs() -> Outcome {
    shell::run(
        in_workspace()?.args(["doc", "--no-deps", "--workspace", "--all-features"]).env("RUSTDOCFLAGS", "-Dwarnings"),
        "mend the documentation that rustdoc names above",
    )
}

fn in_workspace() -> Outcome<Command> {
    let mut command = shell::cargo();
    command.current_dir(Workspace::members()?.root);
    Ok(command)
}

fn seconds(time: Duration) -> String {
    format!("{:7.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::{GATES, choose};

    #[test]
    fn gates_are_chosen_by_name() {
        assert_eq!(choose(&[]).map(|all| all.len()).ok(), Some(GATES.len()));
        assert!(choose(&["no such gate".to_owned()]).is_err());
    }
}
