//! Programs that the tests need and that come from the system's package
//! manager: found, or installed, or named in the failure.

use std::process::{Command, Stdio};

use crate::failure::{Failure, Outcome};
use crate::shell;
use crate::tools::on_path;

/// A program that the system's packages have.
pub(crate) struct SystemTool {
    /// The program.
    pub program: &'static str,
    /// The package that it is in, for apt.
    pub package: &'static str,
    /// What the tests need it for.
    pub needed_for: &'static str,
}

/// What the tests need beside Rust, here and now.
pub(crate) const NEEDED: &[SystemTool] = if cfg!(target_os = "linux") {
    &[SystemTool {
        program: "strace",
        package: "strace",
        needed_for: "the test that the sync comes before the answer watches system calls",
    }]
} else {
    &[]
};

impl SystemTool {
    /// Sees to it that the program is there.
    pub(crate) fn find_or_install(&self) -> Outcome {
        if on_path(self.program).is_some() {
            return Ok(());
        }
        let by_hand = format!("install it yourself, as by `apt-get install {}`: {}", self.package, self.needed_for);
        if on_path("apt-get").is_none() {
            return Err(
                Failure::new(format!("{} is not installed, and there is no apt-get", self.program)).advise(by_hand)
            );
        }
        eprintln!("{} is not installed; installing it: {}", self.program, self.needed_for);
        // A list of packages may be missing or old, so a first failure is no end.
        if shell::run(&mut self.install(), &by_hand).is_err() {
            shell::run(&mut apt_get(&["update"]), &by_hand)?;
            shell::run(&mut self.install(), &by_hand)?;
        }
        match on_path(self.program) {
            Some(_) => Ok(()),
            None => Err(Failure::new(format!("{} is installed but not on the PATH", self.program)).advise(by_hand)),
        }
    }

    fn install(&self) -> Command {
        apt_get(&["install", "--yes", "--no-install-recommends", self.package])
    }
}

/// apt-get as root: as one is, or by sudo where it asks nothing.
fn apt_get(args: &[&str]) -> Command {
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout.trim_ascii() == b"0");
    let mut command = Command::new(if is_root { "apt-get" } else { "sudo" });
    if !is_root {
        command.args(["-n", "apt-get"]);
    }
    command.args(args).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    command
}
