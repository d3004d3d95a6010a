//! Where installed servers are.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::ServerError;

/// A program, and how to get it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Program {
    pub(super) name: &'static str,
    pub(super) apt: &'static str,
    pub(super) brew: &'static str,
    pub(super) variable: Option<&'static str>,
}

/// The folders to look in.
#[derive(Clone, Debug)]
pub(super) struct Finder {
    path: OsString,
    /// Whether to look where packages put what they keep off the PATH.
    elsewhere: bool,
}

impl Finder {
    /// Looks on the PATH, and where packages put their programs beside it.
    pub(super) fn system() -> Self {
        Self { path: std::env::var_os("PATH").unwrap_or_default(), elsewhere: true }
    }

    /// Looks on `path` alone, folders separated as in PATH.
    pub(super) const fn only(path: OsString) -> Self {
        Self { path, elsewhere: false }
    }

    /// Looks in the folder of `file`, and in that of what it is a link to: /usr/local/bin/postgres may
    /// lead to where its companions are.
    pub(super) fn beside(file: &Path) -> Self {
        let target = file.canonicalize().unwrap_or_default();
        let folders = [file, &target].into_iter().filter_map(Path::parent);
        Self::only(std::env::join_paths(folders).unwrap_or_default())
    }

    /// The program's file. A link is not followed: some programs do what their name says.
    pub(super) fn find(&self, program: Program) -> Result<PathBuf, ServerError> {
        let mut looked_in: Vec<PathBuf> = std::env::split_paths(&self.path).collect();
        if self.elsewhere {
            looked_in.extend(elsewhere());
        }
        let found = looked_in.iter().map(|folder| folder.join(program.name)).find(|file| file.is_file());
        found.ok_or(ServerError::NotFound {
            program: program.name,
            apt: program.apt,
            brew: program.brew,
            variable: program.variable,
            looked_in,
        })
    }
}

/// Where programs are beside the PATH: Debian keeps those of Postgres in a folder for each version,
/// and a shell without Homebrew's setup lacks its folders. xtask (`system.rs`) knows the same places.
fn elsewhere() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    if let Ok(output) = Command::new("pg_config").arg("--bindir").stderr(Stdio::null()).output()
        && output.status.success()
    {
        folders.push(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    }
    folders.extend(newest_first("/usr/lib/postgresql", ""));
    // Debian keeps pgbouncer where the PATH of most users does not lead.
    folders.extend(["/opt/homebrew/bin", "/usr/local/bin", "/usr/sbin"].map(PathBuf::from));
    folders.extend(newest_first("/opt/homebrew/opt", "postgresql@"));
    folders.extend(newest_first("/usr/local/opt", "postgresql@"));
    folders
}

/// The `bin` of each folder in `parent` that is named `prefix` and a version.
fn newest_first(parent: impl AsRef<Path>, prefix: &str) -> Vec<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    versions.sort_by(|(one, _), (other, _)| other.cmp(one));
    versions.into_iter().map(|(_, folder)| folder).collect()
}

#[cfg(test)]
mod tests {
    use super::{Finder, Program, newest_first};
    use crate::servers::ServerError;

    const PROGRAM: Program =
        Program { name: "redis-server", apt: "redis-server", brew: "redis", variable: Some("SOME_URL") };

    #[test]
    fn a_missing_program_is_named_with_what_to_do() {
        let nowhere = tempfile::tempdir().unwrap();
        let error = Finder::only(nowhere.path().into()).find(PROGRAM).unwrap_err();
        assert!(matches!(error, ServerError::NotFound { .. }));
        let said = error.to_string();
        let folder = nowhere.path().to_str().unwrap();
        for word in ["redis-server", "apt-get install", "brew install redis", "cargo xtask test", "SOME_URL", folder] {
            assert!(said.contains(word), "{said}");
        }
    }

    #[test]
    fn companions_are_found_where_a_link_leads_to() {
        let (own, linked) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let file = own.path().join(PROGRAM.name);
        std::fs::write(&file, "").unwrap();
        std::fs::write(own.path().join("companion"), "").unwrap();
        let link = linked.path().join(PROGRAM.name);
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert_eq!(Finder::only(linked.path().into()).find(PROGRAM).unwrap(), link, "its name is kept");
        let companion = Program { name: "companion", ..PROGRAM };
        assert!(Finder::only(linked.path().into()).find(companion).is_err());
        assert!(Finder::beside(&link).find(companion).is_ok());
    }

    #[test]
    fn the_newest_version_comes_first() {
        let parent = tempfile::tempdir().unwrap();
        for name in ["pg@9", "pg@16", "pg@15", "pg@beta", "other"] {
            std::fs::create_dir(parent.path().join(name)).unwrap();
        }
        let found = newest_first(parent.path(), "pg@");
        let expected = ["pg@16", "pg@15", "pg@9"].map(|name| parent.path().join(name).join("bin"));
        assert_eq!(found, expected);
    }
}
