//! The sled store in processes that are killed, traced, short of room or in each other's way.
//!
//! This program is its own harness: run with `--role NAME` it plays another process's part. There
//! are no ignored tests, and none that passes where it could not do its work.

#![allow(clippy::unwrap_used, clippy::expect_used)] // in what the tests share, too

mod common;
mod folder;
mod history;
mod jobs;
mod kill;
#[cfg(target_os = "linux")]
mod order;
#[cfg(unix)]
mod shortage;
#[cfg(target_os = "linux")]
mod trace;

use std::process::ExitCode;

use idempotency_testkit::processes::Program;

fn main() -> ExitCode {
    let mut program = Program::default();
    folder::add_to(&mut program);
    history::add_to(&mut program);
    kill::add_to(&mut program);
    jobs::add_to(&mut program);
    #[cfg(unix)]
    shortage::add_to(&mut program);
    #[cfg(target_os = "linux")]
    order::add_to(&mut program);
    program.run()
}
