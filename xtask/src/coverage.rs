//! `cargo xtask coverage`: how much of the core its tests run.
//!
//! The measure is that of cargo-tarpaulin with its `llvm` engine: the compiler
//! puts counters into the program, and tarpaulin reads them itself, so that no
//! tool of LLVM is needed. It counts lines that hold a statement, outside of
//! tests. Two other ways are there to compare, and give other figures:
//! `--ptrace` counts by breakpoints and misses some lines of generic and async
//! code; `--llvm-cov` counts all lines between braces, test modules too, and
//! needs LLVM's tools.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::args::Args;
use crate::failure::{Failure, Outcome};
use crate::metadata::{Package, Workspace};
use crate::shell;
use crate::tools::Tool;

/// The package that is measured.
const PACKAGE: &str = "idempotency-core";

/// The share of lines, in percent, that is asked for if `--min` is not given.
const MIN: f64 = 95.0;

const TARPAULIN: Tool = Tool {
    name: "cargo-tarpaulin",
    version: "0.37.5",
    // Without the upload of reports, which would need OpenSSL.
    options: &["--no-default-features"],
    takes: "one to two minutes, once",
};

const LLVM_COV: Tool = Tool { name: "cargo-llvm-cov", version: "0.9.1", options: &[], takes: "about a minute, once" };

/// Measures, shows the lines that are not run, and compares with the minimum.
pub(crate) fn run(mut args: Args) -> Outcome {
    let min = match args.value("--min")? {
        None => MIN,
        Some(text) => percent(&text)?,
    };
    let html = args.switch("--html");
    let ptrace = args.switch("--ptrace");
    let llvm_cov = args.switch("--llvm-cov");
    args.finish_alone()?;

    let workspace = Workspace::members()?;
    let package = workspace.member(PACKAGE)?;
    if llvm_cov {
        return with_llvm_cov(&workspace, package, min, html);
    }
    let engine = if ptrace { "ptrace" } else { "llvm" };
    with_tarpaulin(&workspace, package, engine, min, html)
}

fn with_tarpaulin(workspace: &Workspace, package: &Package, engine: &str, min: f64, html: bool) -> Outcome {
    let program = TARPAULIN.find_or_install(workspace)?;
    let reports = workspace.target.join("coverage");
    std::fs::create_dir_all(&reports).map_err(|error| {
        Failure::new(format!("cannot make {}: {error}", reports.display())).advise("check who may write there")
    })?;
    let report = reports.join("tarpaulin-report.json");
    // So that an old report is never taken for a new one.
    let _ = std::fs::remove_file(&report);

    let directory = package.directory.strip_prefix(&workspace.root).unwrap_or(&package.directory);
    let mut command = Command::new(program);
    command
        .current_dir(&workspace.root)
        .args(["tarpaulin", "--engine", engine])
        .args(["--packages", &package.name, "--all-features"])
        // Other members of the workspace would be counted as never run.
        .arg("--include-files")
        .arg(directory.join("src").join("*"))
        // Its flags differ: a directory of its own spares rebuilding later.
        .arg("--target-dir")
        .arg(reports.join(engine))
        .args(["--skip-clean", "--timeout", "600"])
        .args(["--out", "Stdout", "--out", "Json"])
        .arg("--output-dir")
        .arg(&reports);
    if html {
        command.args(["--out", "Html"]);
    }
    shell::run(&mut command, "if a test failed, mend it: `cargo xtask test -p idempotency-core`")?;

    let share = share(&report).ok_or_else(|| {
        Failure::new(format!("cannot read the share of lines in {}", report.display()))
            .advise("has the report's format changed? See xtask/src/coverage.rs")
    })?;
    if html {
        let page = reports.join("tarpaulin-report.html");
        println!("lines by colour: {}", page.display());
    }
    compare(&package.name, share, min)
}

fn with_llvm_cov(workspace: &Workspace, package: &Package, min: f64, html: bool) -> Outcome {
    // Where LLVM's tools are missing, cargo-llvm-cov adds them to the toolchain
    // of the user, without asking if nobody is there to answer.
    if !has_llvm_tools()? {
        return Err(Failure::new("LLVM's tools are not installed").advise(
            "`rustup component add llvm-tools`, or name others of the compiler's own version \
             by LLVM_COV and LLVM_PROFDATA, or leave out `--llvm-cov`",
        ));
    }
    let program = LLVM_COV.find_or_install(workspace)?;
    let mut command = Command::new(program);
    command
        .current_dir(&workspace.root)
        .args(["llvm-cov", "--package", &package.name, "--all-features"])
        .args(["--fail-under-lines", &min.to_string()]);
    if html {
        command.arg("--html");
    }
    shell::run(&mut command, "if a test failed, mend it; if it measured, test the lines that `--html` shows")
}

/// Whether cargo-llvm-cov will find llvm-profdata and llvm-cov.
fn has_llvm_tools() -> Outcome<bool> {
    let named = |name| std::env::var_os(name).is_some();
    if named("LLVM_COV") && named("LLVM_PROFDATA") {
        return Ok(true);
    }
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let libraries = shell::output(Command::new(rustc).args(["--print", "target-libdir"]))?;
    let libraries = String::from_utf8_lossy(&libraries).trim().to_owned();
    let tools = Path::new(&libraries).with_file_name("bin");
    Ok(["llvm-cov", "llvm-profdata"]
        .iter()
        .all(|name| tools.join(format!("{name}{}", std::env::consts::EXE_SUFFIX)).is_file()))
}

/// The share of lines that tarpaulin reports, in percent.
fn share(report: &Path) -> Option<f64> {
    let text = std::fs::read_to_string(report).ok()?;
    let report: Value = serde_json::from_str(&text).ok()?;
    report["coverage"].as_f64()
}

fn compare(name: &str, share: f64, min: f64) -> Outcome {
    if share >= min {
        println!("{name}: its tests run {share:.2} % of its lines; {min} % are asked for");
        return Ok(());
    }
    Err(Failure::new(format!("the tests of {name} run {share:.2} % of its lines, less than the {min} % asked for"))
        .advise("test the lines listed above; `cargo xtask coverage --html` shows them in colour"))
}

fn percent(text: &str) -> Outcome<f64> {
    text.parse()
        .ok()
        .filter(|value| (0.0..=100.0).contains(value))
        .ok_or_else(|| Failure::new(format!("`--min {text}` is no share")).advise("give percents, 0 to 100"))
}

#[cfg(test)]
mod tests {
    use super::{compare, percent};

    #[test]
    fn the_minimum_is_enough_and_less_is_not() {
        assert!(compare("some", 95.0, 95.0).is_ok());
        assert!(compare("some", 94.99, 95.0).is_err());
    }

    #[test]
    fn a_minimum_is_a_share() {
        assert_eq!(percent("97.5").ok(), Some(97.5));
        assert!(percent("101").is_err());
        assert!(percent("NaN").is_err());
        assert!(percent("all").is_err());
    }
}
