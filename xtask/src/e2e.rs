//! `cargo xtask e2e`: the examples' pages in a real browser.

use crate::args::Args;
use crate::failure::Outcome;
use crate::metadata::Workspace;
use crate::shell;
use crate::system::{CHROMEDRIVER, CHROMIUM};
use crate::tools::on_path;

/// Browsers that the driver finds by itself.
const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

/// Finds or installs the browser, and runs the tests that use it.
pub(crate) fn run(args: Args) -> Outcome {
    let passed = args.finish()?;
    // A driver that is there has a browser of its own version; the system's packages bring both.
    if !BROWSERS.iter().any(|browser| on_path(browser).is_some()) {
        CHROMIUM.find_or_install()?;
    }
    CHROMEDRIVER.find_or_install()?;
    let mut command = shell::cargo();
    command.current_dir(Workspace::members()?.root);
    // As `cargo xtask test` does: the same features for all, so that what it has built is built.
    command.args(["test", "--workspace", "--all-features", "--test", "e2e", "--"]).args(passed);
    shell::run(&mut command, "mend the test named above; alone it runs by `cargo xtask e2e -- NAME`")
}
