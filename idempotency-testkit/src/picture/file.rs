//! Where pictures are written.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::{env, fs, process};

/// The folder in the target folder.
const FOLDER: &str = "idempotency";
/// What cargo puts into every target folder.
const TAG: &str = "CACHEDIR.TAG";
/// File systems take 255 bytes; a name is for people.
const LONGEST: usize = 120;

static WRITTEN: AtomicU64 = AtomicU64::new(0);

pub(super) fn write(content: &str, name: &str) -> io::Result<PathBuf> {
    let exe = env::current_exe().ok();
    let folder = target(env::var_os("CARGO_TARGET_DIR").as_deref(), exe.as_deref()).join(FOLDER);
    fs::create_dir_all(&folder)?;
    let name = file_name(name);
    let file = folder.join(format!("{name}.svg"));
    // Tests that fail at the same time may have one name: whoever looks sees a whole picture of one of them.
    let number = WRITTEN.fetch_add(1, Ordering::Relaxed);
    let draft = folder.join(format!(".{name}.{}.{number}", process::id()));
    let written = fs::write(&draft, content).and_then(|()| fs::rename(&draft, &file));
    if written.is_err() {
        let _ = fs::remove_file(&draft);
    }
    written.map(|()| file)
}

/// Where cargo builds: as it was told, or else where this program was built.
fn target(told: Option<&OsStr>, exe: Option<&Path>) -> PathBuf {
    // A relative folder was meant from where cargo was started, which nobody tells a test.
    if let Some(told) = told.map(Path::new).filter(|told| told.is_absolute()) {
        return told.to_owned();
    }
    let above = || exe.into_iter().flat_map(|exe| exe.ancestors().skip(1));
    let tagged = above().find(|folder| folder.join(TAG).is_file());
    let named = || above().find(|folder| folder.file_name() == Some(OsStr::new("target")));
    tagged.or_else(named).map_or_else(env::temp_dir, Path::to_owned)
}

/// A name that any file system takes: `tests::a_retry` is `tests-a_retry`.
fn file_name(name: &str) -> String {
    let mut safe = String::new();
    for letter in name.chars() {
        match letter {
            letter if letter.is_ascii_alphanumeric() || letter == '_' => safe.push(letter),
            _ if safe.is_empty() || safe.ends_with('-') => {}
            _ => safe.push('-'),
        }
    }
    safe.truncate(LONGEST);
    let safe = safe.trim_end_matches('-');
    if safe.is_empty() { "schedule".into() } else { safe.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_folder_is_where_cargo_was_told_to_build() {
        let told = env::temp_dir().join("built");
        assert_eq!(target(Some(told.as_os_str()), Some(Path::new("/w/target/debug/deps/t"))), told);
    }

    #[test]
    fn a_relative_target_folder_is_found_from_where_the_program_lies() {
        let exe = Path::new("/nowhere/target/x86_64-unknown-linux-gnu/debug/deps/t-1");
        assert_eq!(target(Some(OsStr::new("../target")), Some(exe)), Path::new("/nowhere/target"));
        assert_eq!(target(None, Some(exe)), Path::new("/nowhere/target"));
    }

    #[test]
    fn a_target_folder_of_any_name_is_known_by_its_tag() {
        let own = env::current_exe().unwrap();
        let found = target(None, Some(&own));
        assert!(found.join(TAG).is_file(), "{found:?}");
        assert!(own.starts_with(&found));
    }

    #[test]
    fn without_a_target_folder_there_is_the_temporary_one() {
        assert_eq!(target(None, Some(Path::new("/nowhere/bin/t"))), env::temp_dir());
        assert_eq!(target(None, None), env::temp_dir());
    }

    #[test]
    fn a_name_stays_in_its_folder() {
        assert_eq!(file_name("tests::a_retry"), "tests-a_retry");
        assert_eq!(file_name("../../etc/passwd"), "etc-passwd");
        assert_eq!(file_name("schön & gut\0"), "sch-n-gut");
        assert_eq!(file_name("…/"), "schedule");
        assert_eq!(file_name(&"a".repeat(500)).len(), LONGEST);
    }
}
