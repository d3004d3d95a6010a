//! The Redis store, called by many processes at once, some of them killed, and by servers that fail
//! over.
//!
//! This program is its own harness: run with `--role NAME` it plays another process's part. There
//! are no ignored tests, and none that passes where it could not do its work.

#![allow(clippy::unwrap_used, clippy::expect_used)] // in what the tests share, too

mod client;
mod common;
mod crowd;
mod failover;
mod fleet;
mod history;
mod jobs;
mod losses;
mod paused;

use std::process::ExitCode;

use idempotency_testkit::processes::Program;

fn main() -> ExitCode {
    let mut program = Program::default();
    client::add_to(&mut program);
    losses::add_to(&mut program);
    history::add_to(&mut program);
    failover::add_to(&mut program);
    paused::add_to(&mut program);
    jobs::add_to(&mut program);
    program.run()
}
