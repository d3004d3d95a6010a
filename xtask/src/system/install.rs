//! Installing a program by the system's package manager, without starting the
//! services that come with it.

use std::path::Path;
use std::process::{Command, Stdio};

use super::SystemTool;
use crate::failure::{Failure, Outcome};
use crate::shell;
use crate::tools::on_path;

/// Installs `tool` by apt or Homebrew, whichever the system has.
pub(super) fn install(tool: &SystemTool) -> Outcome {
    if on_path("apt-get").is_some() {
        return by_apt(tool);
    }
    if !tool.brew.is_empty() && on_path("brew").is_some() {
        // Homebrew starts a service only where it is told to.
        return shell::run(Command::new("brew").args(["install", tool.brew]), &tool.by_hand());
    }
    Err(Failure::new(format!("{} is not installed, and there is neither apt-get nor brew", tool.program))
        .advise(tool.by_hand()))
}

fn by_apt(tool: &SystemTool) -> Outcome {
    let services = Kept::down(tool.services);
    let install = || apt_get(&["install", "--yes", "--no-install-recommends", tool.apt]);
    // A list of packages may be missing or old, so a first failure is no end.
    let outcome = shell::run(&mut install(), &tool.by_hand()).or_else(|_| {
        shell::run(&mut apt_get(&["update"]), &tool.by_hand())?;
        shell::run(&mut install(), &tool.by_hand())
    });
    services.settle();
    outcome
}

/// Services that a package would start, kept from it while it is installed.
///
/// Debian's packages start their service on installation and at every boot. Of
/// the ways to prevent it, a `policy-rc.d` would hold for every package and
/// outlive a kill of this program; this holds for the services alone, and under
/// systemd only until the next boot.
struct Kept {
    services: &'static [&'static str],
    systemd: bool,
}

impl Kept {
    fn down(services: &'static [&'static str]) -> Self {
        let systemd = Path::new("/run/systemd/system").is_dir();
        if systemd && !services.is_empty() {
            quietly(as_root("systemctl").args(["mask", "--runtime"]).args(services));
        }
        Self { services, systemd }
    }

    fn settle(&self) {
        for service in self.services {
            let script = format!("/etc/init.d/{service}");
            if on_path("systemctl").is_some() {
                quietly(as_root("systemctl").args(["disable", service]));
            }
            if self.systemd {
                quietly(as_root("systemctl").args(["unmask", "--runtime", service]));
            } else if Path::new(&script).is_file() {
                // Without systemd `RUNLEVEL` (below) is enough, but only where
                // `runlevel` is installed. The server was not there before, so
                // whatever runs now came with it.
                quietly(as_root(&script).arg("stop"));
            }
        }
    }
}

/// Runs what may fail: the system may not have the service after all.
fn quietly(command: &mut Command) {
    eprintln!("+ {}", shell::shown(command));
    let _ = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
}

fn apt_get(args: &[&str]) -> Command {
    let mut command = as_root("env");
    // In runlevel 1 no service is started; `invoke-rc.d` believes the variable.
    command.args(["DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1", "apt-get"]).args(args);
    command
}

/// The program as root: as one is, or by sudo where it asks nothing.
fn as_root(program: &str) -> Command {
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout.trim_ascii() == b"0");
    let mut command = Command::new(if is_root { program } else { "sudo" });
    if !is_root {
        command.args(["-n", program]);
    }
    command.stdin(Stdio::null());
    command
}
