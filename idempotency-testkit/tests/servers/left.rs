//! What is left behind: nothing, however the owner of a server ends.

use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use idempotency_testkit::servers::{Postgres, PostgresServer, Redis, RedisServer};
use tempfile::TempDir;

use crate::again::{Other, again, eventually, role, say, wait_to_go_on};

/// Servers in every state that they can be in.
fn servers() -> (Vec<RedisServer>, Vec<PostgresServer>) {
    let redis: Vec<_> = (0..3).map(|_| Redis::new().own().start().unwrap()).collect();
    let postgres: Vec<_> = (0..3).map(|_| Postgres::new().own().start().unwrap()).collect();
    redis[1].pause().unwrap();
    redis[2].kill().unwrap();
    postgres[1].pause().unwrap();
    postgres[2].kill().unwrap();
    (redis, postgres)
}

/// Plays the owner of servers. What it starts is found by the folder, which is all it may write to.
fn own(role: &str) {
    match role {
        "drop" => {
            let servers = servers();
            say("ready");
            wait_to_go_on();
            drop(servers);
            say("dropped");
            wait_to_go_on();
        }
        "panic" => {
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                let _servers = servers();
                say("ready");
                wait_to_go_on();
                panic!("on purpose");
            }));
            assert!(outcome.is_err());
            say("dropped");
            wait_to_go_on();
        }
        "shared" => {
            Redis::shared().unwrap();
            Postgres::shared().unwrap();
            say("ready");
            wait_to_go_on();
        }
        _ => {
            let _servers = servers();
            say("ready");
            loop {
                wait_to_go_on();
            }
        }
    }
}

/// An owner, and the folder in which its servers live.
fn owner(test: &str, role: &str) -> (Other, TempDir, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    // For the user that Postgres runs as.
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o711)).unwrap();
    let mut owner = Other::start({
        let mut command = again(test, role);
        command.env("TMPDIR", folder.path());
        command
    });
    owner.hear("ready");
    let memory = shared_memory(folder.path());
    assert!(!processes(folder.path()).is_empty(), "they run");
    assert!(!memory.is_empty(), "they have shared memory");
    assert!(cfg!(not(target_os = "linux")) || memory.iter().all(|segment| exists(segment)));
    (owner, folder, memory)
}

fn nothing_is_left(folder: &Path, memory: &[String]) -> bool {
    std::fs::read_dir(folder).unwrap().next().is_none()
        && processes(folder).is_empty()
        && !memory.iter().any(|segment| exists(segment))
}

/// The processes that work in the folder or have it in their arguments.
fn processes(folder: &Path) -> Vec<String> {
    let folder = folder.to_str().unwrap();
    if cfg!(target_os = "linux") {
        let all = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
        let text =
            |path: std::path::PathBuf| String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned();
        return all
            .filter_map(|process| {
                let works_in = std::fs::read_link(process.join("cwd")).unwrap_or_default();
                let line = format!("{} {}", text(process.join("cmdline")).replace('\0', " "), works_in.display());
                line.contains(folder).then_some(line)
            })
            .collect();
    }
    let output = std::process::Command::new("ps").args(["-A", "-o", "args="]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().filter(|line| line.contains(folder)).map(str::to_owned).collect()
}

/// The segments of shared memory that the Postgres servers in the folder have.
fn shared_memory(folder: &Path) -> Vec<String> {
    let servers = std::fs::read_dir(folder).unwrap().flatten();
    servers
        .filter_map(|server| {
            let file = std::fs::read_to_string(server.path().join("data/postmaster.pid")).ok()?;
            Some(file.lines().nth(6)?.split_whitespace().nth(1)?.to_owned())
        })
        .collect()
}

fn exists(segment: &str) -> bool {
    let all = std::fs::read_to_string("/proc/sysvipc/shm").unwrap_or_default();
    all.lines().any(|line| line.split_whitespace().nth(1) == Some(segment))
}

#[test]
fn nothing_is_left_of_servers_that_are_dropped() {
    if let Some(role) = role() {
        return own(&role);
    }
    for how in ["drop", "panic"] {
        let (mut owner, folder, memory) = owner("left::nothing_is_left_of_servers_that_are_dropped", how);
        owner.go_on();
        owner.hear("dropped");
        // At once, not a moment later.
        assert!(nothing_is_left(folder.path(), &memory), "{how}: {:?}", processes(folder.path()));
        owner.go_on();
        assert!(owner.wait().success());
    }
}

#[test]
fn nothing_is_left_of_servers_whose_owner_is_killed() {
    if let Some(role) = role() {
        return own(&role);
    }
    let (mut owner, folder, memory) = owner("left::nothing_is_left_of_servers_whose_owner_is_killed", "kill");
    owner.kill();
    eventually("nothing is left", || nothing_is_left(folder.path(), &memory));
}

#[test]
fn nothing_is_left_of_shared_servers_when_the_process_ends() {
    if let Some(role) = role() {
        return own(&role);
    }
    let (mut owner, folder, memory) = owner("left::nothing_is_left_of_shared_servers_when_the_process_ends", "shared");
    owner.go_on();
    assert!(owner.wait().success());
    eventually("nothing is left", || nothing_is_left(folder.path(), &memory));
}

#[test]
fn nothing_is_left_of_a_start_that_was_killed_in_its_midst() {
    if role().is_some() {
        say("ready");
        let _postgres = Postgres::new().own().start();
        return;
    }
    for delay in [1, 20, 100, 300, 600] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o711)).unwrap();
        let mut command = again("left::nothing_is_left_of_a_start_that_was_killed_in_its_midst", "start");
        command.env("TMPDIR", folder.path());
        let mut owner = Other::start(command);
        owner.hear("ready");
        // Any moment will do.
        std::thread::sleep(std::time::Duration::from_millis(delay));
        owner.kill();
        eventually("nothing is left", || nothing_is_left(folder.path(), &[]));
    }
}
