//! Where binaries are.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::error::ServerError;

/// A binary that a server needs.
pub(super) struct Binary {
    pub(super) name: &'static str,
    pub(super) apt: &'static str,
    pub(super) brew: &'static str,
    pub(super) variable: &'static str,
}

impl Binary {
    /// Where it is: on the PATH, or in one of `elsewhere`.
    pub(super) fn find(&self, elsewhere: Vec<PathBuf>) -> Result<PathBuf, ServerError> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        self.find_in(std::env::split_paths(&path).collect(), elsewhere)
    }

    pub(super) fn find_in(&self, path: Vec<PathBuf>, elsewhere: Vec<PathBuf>) -> Result<PathBuf, ServerError> {
        let all = path.iter().chain(&elsewhere);
        let found = all.map(|folder| folder.join(self.name)).find(|candidate| candidate.is_file());
        found.ok_or(ServerError::NotFound {
            binary: self.name,
            looked_in: elsewhere,
            apt: self.apt,
            brew: self.brew,
            variable: self.variable,
        })
    }
}

/// Where Homebrew puts what is not linked.
pub(super) fn homebrew() -> Vec<PathBuf> {
    ["/opt/homebrew/bin", "/usr/local/bin"].map(PathBuf::from).to_vec()
}

/// Where Postgres is, which packages keep off the PATH: as `pg_config` says, then in the folders of
/// versions, the newest first.
pub(super) fn postgres_folders() -> Vec<PathBuf> {
    let told = Command::new("pg_config").arg("--bindir").output().ok().filter(|output| output.status.success());
    let told = told.and_then(|output| String::from_utf8(output.stdout).ok()).map(|text| PathBuf::from(text.trim()));
    let mut folders: Vec<PathBuf> = told.into_iter().collect();
    for root in ["/usr/lib/postgresql", "/opt/homebrew/opt", "/usr/local/opt", "/usr/pgsql"] {
        let mut versions = children(Path::new(root));
        versions.sort_by_key(|folder| std::cmp::Reverse(version(folder)));
        folders
            .extend(versions.into_iter().filter(|folder| version(folder).is_some()).map(|folder| folder.join("bin")));
    }
    folders
}

fn children(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

/// The version in the name of a folder such as `15` or `postgresql@16`.
fn version(folder: &Path) -> Option<u32> {
    let name = folder.file_name()?.to_str()?;
    name.strip_prefix("postgresql@").unwrap_or(name).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binary_that_is_not_there_says_how_to_get_it() {
        let binary = Binary { name: "redis-server", apt: "redis-server", brew: "redis", variable: "SOME_URL" };
        let error = binary.find_in(Vec::new(), vec![PathBuf::from("/nowhere")]).unwrap_err().to_string();
        for told in [
            "`redis-server` is not installed",
            "cargo xtask test",
            "apt-get install redis-server",
            "brew install redis",
            "SOME_URL",
        ] {
            assert!(error.contains(told), "{told} is not in: {error}");
        }
    }

    #[test]
    fn versions_are_read_off_the_names_of_folders() {
        assert_eq!(version(Path::new("/usr/lib/postgresql/15")), Some(15));
        assert_eq!(version(Path::new("/opt/homebrew/opt/postgresql@16")), Some(16));
        assert_eq!(version(Path::new("/opt/homebrew/opt/redis")), None);
    }
}
