//! Nothing is left behind; and servers of somebody else's are left alone.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use idempotency_testkit::servers::{Postgres, Redis, ServerError};

use crate::support::{runs, told, until};

const PART: &str = "IDEMPOTENCY_TEST_PART";

/// This program again, to play a part in this test.
fn again(part: &str, change: impl FnOnce(&mut Command)) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "left_behind::a_part_in_another_test", "--nocapture", "--test-threads", "1"]);
    command.env(PART, part).stdin(Stdio::piped()).stdout(Stdio::piped());
    change(&mut command);
    command.spawn().unwrap()
}

/// What the part says, after `said `.
fn said(child: &mut Child) -> impl Iterator<Item = String> + '_ {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    lines.filter_map(|line| line.split_once("said ").map(|(_, rest)| rest.to_owned()))
}

/// Passes by itself; run by one of the tests below, it plays the part that this names.
#[test]
fn a_part_in_another_test() {
    match std::env::var(PART).as_deref() {
        Ok("owner") => {
            let (redis, postgres) = (Redis::new().start().unwrap(), Postgres::new().start().unwrap());
            println!("\nsaid {} {}", redis.process_id().unwrap(), folder(redis.process_id().unwrap()));
            println!("\nsaid {} {}", postgres.process_id().unwrap(), folder(postgres.process_id().unwrap()));
            // Until it is killed, or its test has gone.
            let mut line = String::new();
            std::io::stdin().read_line(&mut line).unwrap();
        }
        Ok("guest") => {
            let redis = Redis::new().start().unwrap();
            println!("\nsaid {}", redis.url());
            println!("\nsaid {}", told(redis.address(), "PING"));
            println!("\nsaid {}", matches!(redis.pause(), Err(ServerError::Foreign { .. })));
            println!("\nsaid {}", matches!(redis.kill(), Err(ServerError::Foreign { .. })));
            println!("\nsaid {redis:?}");
        }
        Ok(other) => panic!("there is no part {other}"),
        Err(_) => {}
    }
}

/// Where a server runs.
fn folder(process: u32) -> String {
    let link = std::fs::read_link(format!("/proc/{process}/cwd"));
    link.map_or_else(|_| "-".into(), |folder| folder.display().to_string())
}

#[test]
fn a_dropped_server_and_its_folder_are_gone() {
    let redis = Redis::new().start().unwrap();
    let postgres = Postgres::new().start().unwrap();
    for (process, server) in [
        (redis.process_id().unwrap(), Box::new(redis) as Box<dyn std::any::Any>),
        (postgres.process_id().unwrap(), Box::new(postgres)),
    ] {
        let folder = folder(process);
        assert!(runs(process) && (folder == "-" || Path::new(&folder).exists()));
        drop(server);
        assert!(!runs(process) && !Path::new(&folder).exists(), "{folder}");
    }
}

#[test]
fn servers_whose_owner_is_killed_go_and_take_their_folders_along() {
    let mut owner = again("owner", |_| {});
    let told: Vec<(u32, String)> = said(&mut owner)
        .take(2)
        .map(|line| {
            line.split_once(' ').map(|(process, folder)| (process.parse().unwrap(), folder.to_owned())).unwrap()
        })
        .collect();
    assert!(told.iter().all(|(process, _)| runs(*process)), "{told:?}");
    owner.kill().unwrap();
    owner.wait().unwrap();
    for (process, folder) in told {
        until("the server ends", || !runs(process));
        until("its folder goes", || !Path::new(&folder).exists());
    }
}

/// The segments of shared memory that there are, by number.
#[cfg(target_os = "linux")]
fn segments() -> Vec<String> {
    let output = Command::new("ipcs").arg("-m").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(|line| line.split_whitespace().nth(1).map(str::to_owned)).collect()
}

#[cfg(target_os = "linux")]
#[test]
fn a_killed_postgres_leaves_no_shared_memory() {
    let postgres = Postgres::new().start().unwrap();
    let data = Path::new(&folder(postgres.process_id().unwrap())).to_owned();
    // It works in its data.
    let pid = std::fs::read_to_string(data.join("postmaster.pid")).unwrap();
    let segment = pid.lines().nth(6).unwrap().split_whitespace().nth(1).unwrap().to_owned();
    assert!(segments().contains(&segment), "{segment}");
    postgres.kill().unwrap();
    drop(postgres);
    assert!(!segments().contains(&segment), "{segment}");
}

#[test]
fn a_server_named_in_the_environment_is_used_and_left_alone() {
    let redis = Redis::new().start().unwrap();
    let url = redis.url().replace("redis://", "redis://user:secret@");
    let mut guest = again("guest", |command| {
        command.env("IDEMPOTENCY_TEST_REDIS_URL", &url);
    });
    let answers: Vec<String> = said(&mut guest).collect();
    assert!(guest.wait().unwrap().success());
    assert_eq!(answers[..4], [url.as_str(), "+PONG", "true", "true"]);
    assert!(!answers[4].contains("secret") && answers[4].contains(&redis.address().to_string()), "{}", answers[4]);
    assert!(runs(redis.process_id().unwrap()));
}
