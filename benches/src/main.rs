//! Whole runs of `execute_once` against the fewest bare calls on the same library that could do the
//! job, as alternating pairs in one process.
//!
//! `cargo xtask bench [--json FILE] [-- FILTER]`

mod http;
mod measure;
mod memory;
mod ours;
mod postgres;
mod postgres_table;
mod redis;
mod served;
mod sled;
mod value;
mod webhooks;

use std::fs::File;
use std::io::Write;
use std::process::ExitCode;

use measure::Report;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("benches: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let (mut json, mut filter) = (None, String::new());
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--json" => json = Some(File::create(args.next().ok_or("--json needs a file")?)?),
            other if other.starts_with('-') => return Err(format!("no option {other}; there is --json FILE").into()),
            other => other.clone_into(&mut filter),
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    println!("{}", Report::HEAD);
    let server = redis::Server::default();
    let database = postgres::Server::default();
    for tasks in [1, 64, 256] {
        let mut tell = |report: Report| -> std::io::Result<()> {
            println!("{report}");
            json.as_mut().map_or(Ok(()), |file| writeln!(file, "{}", report.to_json()))
        };
        // More tasks than cores are news only where something is waited for.
        if tasks <= 64 {
            memory::run(&runtime, tasks, &filter, &mut tell)?;
            sled::run(&runtime, tasks, &filter, &mut tell)?;
            http::run(&runtime, tasks, &filter, &mut tell)?;
        }
        server.run(&runtime, tasks, &filter, &mut tell)?;
        database.run(&runtime, tasks, &filter, &mut tell)?;
    }
    redis::memory(&runtime, &filter)?;
    if filter.starts_with("postgres/table") {
        database.table(&runtime, &mut |report| {
            println!("{report}");
            Ok(())
        })?;
    }
    if filter.starts_with("webhooks") {
        database.webhooks(&runtime)?;
    }
    Ok(())
}
