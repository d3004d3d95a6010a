//! Programs that the tests need and that come from the system's package
//! manager: found, or installed, or named in the failure.

mod install;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::failure::{Failure, Outcome};
use crate::tools::on_path;

/// A program that the system's packages have.
#[derive(Debug)]
pub(crate) struct SystemTool {
    /// The program.
    pub program: &'static str,
    /// The package that it is in, for apt.
    pub apt: &'static str,
    /// The package that it is in, for Homebrew.
    pub brew: &'static str,
    /// What the tests need it for.
    pub needed_for: &'static str,
    /// Where it may be beside the PATH.
    pub elsewhere: fn() -> Vec<PathBuf>,
    /// The system services that its package brings for apt, and that are not
    /// wanted here: the tests start servers of their own.
    pub services: &'static [&'static str],
    /// Variables of the environment that name a running server instead. If all
    /// are set, the program is not needed.
    pub instead: &'static [&'static str],
}

const STRACE: SystemTool = SystemTool {
    program: "strace",
    apt: "strace",
    brew: "",
    needed_for: "the test that the sync comes before the answer watches system calls",
    elsewhere: Vec::new,
    services: &[],
    instead: &[],
};

/// Its package also has what `redis-server --sentinel` needs.
const REDIS: SystemTool = SystemTool {
    program: "redis-server",
    apt: "redis-server",
    brew: "redis",
    needed_for: "tests start Redis servers of their own, alone, replicated, with Sentinel and as a cluster",
    elsewhere: homebrew,
    services: &["redis-server"],
    instead: &[
        "IDEMPOTENCY_TEST_REDIS_URL",
        "IDEMPOTENCY_TEST_REDIS_CLUSTER_URL",
        "IDEMPOTENCY_TEST_REDIS_SENTINEL_URL",
    ],
};

/// Its package also has `initdb` and `psql`, in the same folder.
const POSTGRES: SystemTool = SystemTool {
    program: "postgres",
    apt: "postgresql",
    brew: "postgresql@16",
    needed_for: "tests start Postgres servers of their own",
    elsewhere: postgres_folders,
    services: &["postgresql"],
    instead: &["IDEMPOTENCY_TEST_POSTGRES_URL"],
};

const PGBOUNCER: SystemTool = SystemTool {
    program: "pgbouncer",
    apt: "pgbouncer",
    brew: "pgbouncer",
    needed_for: "tests of the Postgres store start poolers of their own",
    elsewhere: homebrew_or_sbin,
    services: &["pgbouncer"],
    instead: &[],
};

/// With what makes virtual environments, which Debian packs apart.
const PYTHON: SystemTool = SystemTool {
    program: "python3",
    apt: "python3-venv",
    brew: "python3",
    needed_for: "tests drive SDKs for Python, which they install into the build's folder, and a client snippet",
    elsewhere: homebrew,
    services: &[],
    instead: &[],
};

/// With Node itself.
const NPM: SystemTool = SystemTool {
    program: "npm",
    apt: "npm",
    brew: "node",
    needed_for: "tests drive an SDK for Node, which they install into the build's folder, and a client snippet",
    elsewhere: homebrew,
    services: &[],
    instead: &[],
};

const CURL: SystemTool = SystemTool {
    program: "curl",
    apt: "curl",
    brew: "curl",
    needed_for: "tests send requests with it, and run a client snippet",
    elsewhere: homebrew,
    services: &[],
    instead: &[],
};

const OPENSSL: SystemTool = SystemTool {
    program: "openssl",
    apt: "openssl",
    brew: "openssl",
    needed_for: "tests sign webhooks with it, as an example's page says",
    elsewhere: homebrew,
    services: &[],
    instead: &[],
};

/// Needed by `cargo xtask e2e` alone, as is its driver.
pub(crate) const CHROMIUM: SystemTool = SystemTool {
    program: "chromium",
    apt: "chromium",
    brew: "chromium",
    needed_for: "tests use the examples' pages in a real browser",
    elsewhere: homebrew,
    services: &[],
    instead: &[],
};

/// Of the same version as the browser, which is why both come from the same packages.
pub(crate) const CHROMEDRIVER: SystemTool = SystemTool {
    program: "chromedriver",
    apt: "chromium-driver",
    brew: "chromedriver",
    needed_for: "tests drive a real browser by it",
    elsewhere: homebrew,
    services: &[],
    instead: &[],
};

/// What the tests need beside Rust, here and now.
pub(crate) const NEEDED: &[SystemTool] = if cfg!(target_os = "linux") {
    &[STRACE, REDIS, POSTGRES, PGBOUNCER, PYTHON, NPM, CURL, OPENSSL]
} else if cfg!(unix) {
    &[REDIS, POSTGRES, PGBOUNCER, PYTHON, NPM, CURL, OPENSSL]
} else {
    &[]
};

impl SystemTool {
    /// Sees to it that the program is there, where it is needed.
    pub(crate) fn find_or_install(&self) -> Outcome {
        if self.find().is_some() {
            return Ok(());
        }
        if self.named_instead(|variable| std::env::var_os(variable).is_some_and(|url| !url.is_empty())) {
            eprintln!("{} is not installed, and not needed: {} set", self.program, self.instead.join(", "));
            return Ok(());
        }
        eprintln!("{} is not installed; installing it: {}", self.program, self.needed_for);
        install::install(self)?;
        match self.find() {
            Some(found) => {
                eprintln!("{} is installed: {}", self.program, found.display());
                Ok(())
            }
            None => Err(Failure::new(format!("{} is installed but not found", self.program)).advise(self.by_hand())),
        }
    }

    /// Where the program is: on the PATH, or where its packages put it.
    pub(crate) fn find(&self) -> Option<PathBuf> {
        on_path(self.program).or_else(|| {
            (self.elsewhere)().iter().map(|folder| folder.join(self.program)).find(|candidate| candidate.is_file())
        })
    }

    /// Whether running servers are named for all that the program is for.
    fn named_instead(&self, is_set: impl Fn(&str) -> bool) -> bool {
        !self.instead.is_empty() && self.instead.iter().all(|variable| is_set(variable))
    }

    /// What the user can do where this program cannot.
    pub(crate) fn by_hand(&self) -> String {
        let mut advice = format!("install it yourself, as by `apt-get install {}`", self.apt);
        if !self.brew.is_empty() {
            advice.push_str(&format!(" or `brew install {}`", self.brew));
        }
        if !self.instead.is_empty() {
            advice.push_str(&format!(", or name a running server by {}", self.instead.join(", ")));
        }
        format!("{advice}: {}", self.needed_for)
    }
}

/// The folders of Homebrew on the two kinds of Mac, which a shell without its
/// setup does not have on the PATH.
fn homebrew() -> Vec<PathBuf> {
    vec!["/opt/homebrew/bin".into(), "/usr/local/bin".into()]
}

/// Debian keeps some servers where the PATH of most users does not lead.
fn homebrew_or_sbin() -> Vec<PathBuf> {
    let mut folders = homebrew();
    folders.push("/usr/sbin".into());
    folders
}

/// Postgres keeps its server's programs in a folder for each version, off the
/// PATH. The testkit's search (`servers/find.rs`) knows the same places.
fn postgres_folders() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    if let Ok(output) = Command::new("pg_config").arg("--bindir").stderr(Stdio::null()).output()
        && output.status.success()
    {
        folders.push(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    }
    folders.extend(children("/usr/lib/postgresql", ""));
    folders.extend(children("/opt/homebrew/opt", "postgresql"));
    folders.extend(children("/usr/local/opt", "postgresql"));
    folders
}

/// The `bin` of each folder in `parent` whose name begins with `prefix`.
fn children(parent: impl AsRef<Path>, prefix: &str) -> Vec<PathBuf> {
    std::fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path().join("bin"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{POSTGRES, REDIS, STRACE, SystemTool};

    #[test]
    fn a_program_is_spared_only_where_every_server_it_is_for_is_named() {
        assert!(POSTGRES.named_instead(|_| true));
        assert!(!POSTGRES.named_instead(|_| false));
        assert!(!REDIS.named_instead(|variable| variable == "IDEMPOTENCY_TEST_REDIS_URL"));
        assert!(!STRACE.named_instead(|_| true), "no variable stands for it");
    }

    #[test]
    fn advice_names_the_packages_and_the_variable() {
        let advice = POSTGRES.by_hand();
        for word in ["apt-get install postgresql", "brew install postgresql@16", "IDEMPOTENCY_TEST_POSTGRES_URL"] {
            assert!(advice.contains(word), "{advice}");
        }
        assert!(!STRACE.by_hand().contains("brew"), "{}", STRACE.by_hand());
    }

    #[test]
    fn a_program_is_found_off_the_path() {
        let folder = std::env::current_exe().unwrap().parent().unwrap().to_owned();
        let itself = std::env::current_exe().unwrap().file_name().unwrap().to_owned().into_string().unwrap().leak();
        let tool = SystemTool {
            program: itself,
            elsewhere: || vec![std::env::current_exe().unwrap().parent().unwrap().to_owned()],
            ..POSTGRES
        };
        assert_eq!(tool.find(), Some(folder.join(tool.program)));
        assert_eq!(SystemTool { elsewhere: Vec::new, ..tool }.find(), None);
    }
}
