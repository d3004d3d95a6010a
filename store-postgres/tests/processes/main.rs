//! The Postgres store, called by many processes at once, some of them killed, and on servers that are.
//!
//! This program is its own harness: run with `--role NAME` it plays another process's part. There
//! are no ignored tests, and none that passes where it could not do its work.

#![allow(clippy::unwrap_used, clippy::expect_used)] // in what the tests share, too

mod client;
mod common;
mod crowd;
mod history;
mod kills;

use std::process::ExitCode;

use idempotency_testkit::processes::Program;

fn main() -> ExitCode {
    let mut program = Program::default();
    client::add_to(&mut program);
    history::add_to(&mut program);
    kills::add_to(&mut program);
    program.run()
}
