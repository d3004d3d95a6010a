//! Programs that the chores need and that come from crates.io: found, or
//! installed into the `target` directory so that nothing else is touched.

use std::path::PathBuf;

use crate::failure::Outcome;
use crate::metadata::Workspace;
use crate::shell;

/// A program that crates.io has.
pub(crate) struct Tool {
    /// The crate, and its program.
    pub name: &'static str,
    /// The version installed if none is found.
    pub version: &'static str,
    /// Further options for its installation.
    pub options: &'static [&'static str],
    /// About how long the installation takes, for the user's patience.
    pub takes: &'static str,
}

impl Tool {
    /// Where the program is: on the PATH, or in `target/tools`.
    pub(crate) fn find(&self, workspace: &Workspace) -> Option<PathBuf> {
        let file = format!("{}{}", self.name, std::env::consts::EXE_SUFFIX);
        let own = directory(workspace).join("bin").join(&file);
        if own.is_file() {
            return Some(own);
        }
        on_path(&file)
    }

    /// Finds the program, or installs it into `target/tools`.
    pub(crate) fn find_or_install(&self, workspace: &Workspace) -> Outcome<PathBuf> {
        if let Some(found) = self.find(workspace) {
            return Ok(found);
        }
        let root = directory(workspace);
        eprintln!(
            "{} is not installed; installing {} into {} (takes {})",
            self.name,
            self.version,
            root.display(),
            self.takes
        );
        let mut command = shell::cargo();
        command
            .current_dir(&workspace.root)
            .args(["install", "--quiet", "--locked", self.name])
            .args(["--version", self.version])
            .args(self.options)
            .arg("--root")
            .arg(&root)
            .arg("--target-dir")
            .arg(root.join("build"))
            // A tool that runs for a second is not worth minutes of link-time
            // optimisation.
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
            .env_remove("RUSTFLAGS");
        shell::run(
            &mut command,
            &format!("it needs the network; or install it yourself: `cargo install {} --locked`", self.name),
        )?;
        // What is left of the build is not needed again, and is large.
        let _ = std::fs::remove_dir_all(root.join("build"));
        Ok(root.join("bin").join(format!("{}{}", self.name, std::env::consts::EXE_SUFFIX)))
    }
}

/// The first file of that name in the directories of the PATH.
pub(crate) fn on_path(file: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(file)).find(|candidate| candidate.is_file())
}

fn directory(workspace: &Workspace) -> PathBuf {
    workspace.target.join("tools")
}
