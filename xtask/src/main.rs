//! The chores of this workspace, as `cargo xtask COMMAND`.

mod args;
mod bench;
mod ci;
mod coverage;
mod deny;
mod e2e;
mod failure;
mod features;
mod flakes;
mod metadata;
mod msrv;
mod mutants;
mod mutants_caught;
mod shell;
mod system;
mod test;
mod tools;

use std::process::ExitCode;

use args::Args;
use failure::{Failure, Outcome};

/// A command of this program.
struct Command {
    name: &'static str,
    usage: &'static str,
    about: &'static str,
    run: fn(Args) -> Outcome,
}

/// All commands, in the order in which help shows them.
const COMMANDS: &[Command] = &[
    Command {
        name: "test",
        usage: "[-p PACKAGE] [-- ARGS]",
        about: "Run the tests of the workspace with all features.\n\
                ARGS go to the test programs: a name, `--nocapture`, ….",
        run: test::test,
    },
    Command {
        name: "e2e",
        usage: "[-- ARGS]",
        about: "Run the tests of the examples' pages in a real browser, which is found or installed;\n\
                ARGS go to the test program. They are no part of `test`.",
        run: e2e::run,
    },
    Command {
        name: "soak",
        usage: "[-p PACKAGE] [-- ARGS]",
        about: "Run the same tests optimised and with their long counts\n\
                (IDEMPOTENCY_SOAK=1, or the value that it has already), then `flakes`.",
        run: test::soak,
    },
    Command {
        name: "flakes",
        usage: "[--rounds N] [--idle] [-p PACKAGE] [-- ARGS]",
        about: "Run every test that depends on time or on real servers 20 times (N) in a row,\n\
                with the machine loaded (--idle leaves that out).",
        run: flakes::run,
    },
    Command {
        name: "coverage",
        usage: "[--min PERCENT] [--html] [--ptrace | --llvm-cov]",
        about: "Measure the share of the lines of idempotency-core that its tests run;\n\
                fail under PERCENT (95 if not given). --html writes a page to look at.\n\
                --ptrace and --llvm-cov measure in another way, to compare.",
        run: coverage::run,
    },
    Command {
        name: "mutants",
        usage: "[-- ARGS]",
        about: "Change idempotency-core in one place at a time and see that its tests notice;\n\
                ARGS go to cargo-mutants, such as `--file '*/moves.rs'`.",
        run: mutants::run,
    },
    Command {
        name: "bench",
        usage: "[--json FILE] [-- ARGS]",
        about: "Run the benchmarks optimised; ARGS go to them, such as a filter.",
        run: bench::run,
    },
    Command {
        name: "mutants-caught",
        usage: "[--write]",
        about: "Show by which rule each broken store and executor of the test kit's tests is caught.\n\
                --write keeps the table and a picture of each in docs/mutants-caught.",
        run: mutants_caught::run,
    },
    Command {
        name: "features",
        usage: "[PACKAGE…]",
        about: "Check each feature of each package alone, without warnings.",
        run: features::run,
    },
    Command {
        name: "msrv",
        usage: "",
        about: "Check that the stated Rust version is enough for what we depend on.",
        run: msrv::run,
    },
    Command {
        name: "deny",
        usage: "[CHECK…]",
        about: "Check bans, licences and sources of what we depend on, by deny.toml.",
        run: deny::run,
    },
    Command {
        name: "ci",
        usage: "[--fail-fast] [GATE…]",
        about: "Run the gates, each timed: fmt, clippy, docs, features, msrv, deny, test, e2e.",
        run: ci::run,
    },
];

fn main() -> ExitCode {
    match start(std::env::args().skip(1).collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn start(mut line: Vec<String>) -> Outcome {
    if line.is_empty() {
        help(COMMANDS);
        return Err(Failure::new("no command given").advise("choose one of those above"));
    }
    let name = line.remove(0);
    if matches!(name.as_str(), "help" | "--help" | "-h") {
        help(COMMANDS);
        return Ok(());
    }
    let command = COMMANDS.iter().find(|command| command.name == name).ok_or_else(|| {
        Failure::new(format!("there is no command `{name}`")).advise("see `cargo xtask help` for those there are")
    })?;
    let args = Args::new(line);
    if args.wants_help() {
        help(std::slice::from_ref(command));
        return Ok(());
    }
    (command.run)(args)
}

fn help(commands: &[Command]) {
    for command in commands {
        println!("cargo xtask {} {}", command.name, command.usage);
        for line in command.about.lines() {
            println!("    {line}");
        }
    }
}
