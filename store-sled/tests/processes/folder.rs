//! Folders that cannot be opened, each with its own clear error.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Stdio};

use idempotency_core::{Error, Idempotency, StoreError, StoreErrorKind};
use idempotency_store_sled::{Durability, SledStore, SledStoreConfig};

use crate::common::{key, open, runtime, say, whole};
use idempotency_testkit::processes::{Program, role};

pub(crate) fn add_to(program: &mut Program) {
    program.role("hold", hold);
    program.test("folder::another_process_that_holds_it_is_told", another_process_that_holds_it_is_told);
    program.test("folder::another_handle_that_holds_it_is_told", another_handle_that_holds_it_is_told);
    program.test("folder::what_is_no_folder_is_told", what_is_no_folder_is_told);
    #[cfg(unix)]
    read_only::add_to(program);
}

fn try_open(folder: &Path) -> Result<SledStore, StoreError> {
    runtime().block_on(SledStore::open(SledStoreConfig::new(folder)))
}

#[track_caller]
fn refused(folder: &Path, says: &[&str]) {
    let error = try_open(folder).expect_err("opened");
    assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{error}");
    let text = error.to_string();
    for part in says.iter().copied().chain([folder.to_str().unwrap()]) {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
}

/// Role: opens the folder, says so, and holds it until killed.
fn hold(arguments: &[String]) {
    runtime().block_on(async {
        let handle = Idempotency::new(open(&arguments[0], Durability::Power).await);
        let ran = handle.execute_once(&key("held"), async { Ok::<_, Error>(7) }).await.unwrap();
        say(&format!("holds {}", ran.is_replay()));
        let _until_it_ends = std::io::stdin().read(&mut [0]);
    });
}

fn held(folder: &Path) -> Child {
    let mut process = role("hold").arg(folder).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(whole(line.trim_end()), Some("holds false"));
    process
}

fn another_process_that_holds_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut holder = held(folder.path());
    refused(folder.path(), &["held by another process", "end that process"]);
    assert_eq!(holder.try_wait().unwrap(), None, "the holder was harmed");
    holder.kill().unwrap();
    holder.wait().unwrap();
    // Free at once, and what the holder acknowledged is there.
    runtime().block_on(async {
        let handle = Idempotency::new(open(folder.path(), Durability::Power).await);
        let ran = handle.execute_once(&key("held"), async { Ok::<_, Error>(8) }).await.unwrap();
        assert!(ran.is_replay() && *ran == 7);
    });
}

fn another_handle_that_holds_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let first = try_open(folder.path()).unwrap();
    let second = first.clone();
    refused(folder.path(), &["still open in this one"]);
    drop(first);
    refused(folder.path(), &["still open in this one"]);
    drop(second);
    for _ in 0..20 {
        drop(try_open(folder.path()).unwrap());
    }
}

fn what_is_no_folder_is_told() {
    let folder = tempfile::tempdir().unwrap();
    refused(&folder.path().join("no/such"), &["parent", "does not exist", "create it"]);
    assert!(!folder.path().join("no").exists(), "a mistyped path was created");
    std::fs::write(folder.path().join("file"), "kept").unwrap();
    refused(&folder.path().join("file"), &["is not a folder"]);
    refused(&folder.path().join("file/below"), &["is not a folder"]);
    assert_eq!(std::fs::read(folder.path().join("file")).unwrap(), b"kept");
    // A new folder in one that is there is made.
    drop(try_open(&folder.path().join("new")).unwrap());
}

#[cfg(unix)]
mod read_only {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;

    use super::*;

    /// Nobody's.
    const USER: u32 = 65_534;

    pub(super) fn add_to(program: &mut Program) {
        program.role("try read-only", try_read_only);
        program.test("folder::one_that_cannot_be_written_is_told", one_that_cannot_be_written_is_told);
    }

    fn may(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    /// Role: as a user without rights.
    fn try_read_only(arguments: &[String]) {
        let [empty, kept] = arguments else { panic!("{arguments:?}") };
        let (empty, kept) = (Path::new(empty), Path::new(kept));
        fs::write(empty.join("probe"), "").expect_err("the folder can be written, so this tests nothing");
        for folder in [empty, &empty.join("new"), kept] {
            refused(folder, &["is not writable", "change its rights or its mount"]);
        }
        say("told");
    }

    fn one_that_cannot_be_written_is_told() {
        let place = tempfile::tempdir().unwrap();
        let (empty, kept) = (place.path().join("empty"), place.path().join("kept"));
        fs::create_dir(&empty).unwrap();
        runtime().block_on(async {
            let handle = Idempotency::new(open(&kept, Durability::Power).await);
            handle.execute_once(&key("kept"), async { Ok::<_, Error>(7) }).await.unwrap().recorded().unwrap();
        });
        let files = |folder: &Path| -> Vec<_> {
            let found = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
            let mut found: Vec<_> = found.filter(|path| path.is_file()).collect();
            found.sort();
            found.into_iter().map(|path| (fs::read(&path).unwrap(), path)).collect()
        };
        let before = files(&kept);
        for (_, file) in &before {
            may(file, 0o444);
        }
        let folders = [empty.clone(), kept.clone(), kept.join("blobs")];
        folders.iter().for_each(|folder| may(folder, 0o555));

        // Root may write all the same: then another user tries, by a copy of this program that it may run.
        let mut command = role("try read-only");
        if rustix::process::geteuid().is_root() {
            may(place.path(), 0o755);
            let program = place.path().join("program");
            fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
            may(&program, 0o755);
            let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
            command = std::process::Command::new(program);
            command.args(arguments).uid(USER).gid(USER).current_dir("/");
        }
        let output = command.args([&empty, &kept]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(whole(said.trim_end()), Some("told"));
        assert!(files(&kept) == before, "something was changed");
        folders.iter().for_each(|folder| may(folder, 0o755));
        assert_eq!(fs::read_dir(&empty).unwrap().count(), 0);
        for (_, file) in &before {
            may(file, 0o644);
        }
        runtime().block_on(async {
            let handle = Idempotency::new(open(&kept, Durability::Power).await);
            let ran = handle.execute_once(&key("kept"), async { Ok::<_, Error>(8) }).await.unwrap();
            assert!(ran.is_replay() && *ran == 7);
        });
    }
}
