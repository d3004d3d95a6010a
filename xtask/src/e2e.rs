//! `cargo xtask e2e`: the examples' pages in a real browser.

use crate::args::Args;
use crate::failure::Outcome;
use crate::metadata::Workspace;
use crate::shell;
use crate::system::BROWSER;

/// Finds or installs the browser, and runs the tests that use it.
pub(crate) fn run(args: Args) -> Outcome {
    let passed = args.finish()?;
    for tool in BROWSER {
        tool.find_or_install()?;
    }
    let mut command = shell::cargo();
    command.current_dir(Workspace::members()?.root);
    // As `cargo xtask test` does: the same features for all, so that what it has built is built.
    command.args(["test", "--workspace", "--all-features", "--test", "e2e", "--"]).args(passed);
    shell::run(&mut command, "mend the test named above; alone it runs by `cargo xtask e2e -- NAME`")
}
