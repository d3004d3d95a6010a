//! Whole runs beside those of the crate `idempotent` 2.0, each with its memory store and as its
//! documentation has it: the key and the request's fingerprint are made within the run. Then requests
//! through either's HTTP layer.
//!
//! `cargo xtask bench` runs this after the benchmarks of the workspace.

mod http;
#[path = "../../src/measure.rs"]
#[allow(dead_code, reason = "shared with the benchmarks of the workspace")]
mod measure;
#[path = "../../src/served.rs"]
mod served;
#[path = "../../src/value.rs"]
#[allow(dead_code, reason = "shared with the benchmarks of the workspace")]
mod value;

use std::fs::OpenOptions;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use idempotency::{Error, Idempotency, Json, Key};
use idempotency_store_memory::MemoryStore;
use idempotent::{ExecutionOutcome, IdempotencyKey, IdempotencyStore};
use measure::{Fresh, Replay, Report, Round, Sides, pairs, round};
use tokio::runtime::Runtime;
use value::{Payment, keys};

const PAIRS: usize = 21;
const RUNS: usize = 50_000;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let (mut json, mut filter) = (None, String::new());
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            // After the lines of the workspace's own benchmarks.
            "--json" => json = Some(OpenOptions::new().append(true).create(true).open(args.next().unwrap_or_default())?),
            other => other.clone_into(&mut filter),
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // The peer's store starts a task when it is made.
    let _entered = runtime.enter();
    println!("{}", Report::HEAD);
    for (tasks, kind) in [(1, "fresh"), (1, "replay"), (64, "fresh"), (64, "replay")] {
        let case = format!("memory/{kind}/{tasks}");
        if !case.contains(&filter) {
            continue;
        }
        let again = kind == "replay";
        for codec in ["bincode", "json"] {
            let ours = |n| {
                let idempotency = Idempotency::new(MemoryStore::new());
                let ours = if codec == "json" { Ours(idempotency.with_codec(Json)) } else { Ours(idempotency) };
                one(&runtime, ours, n, tasks, again)
            };
            let report = pairs(PAIRS, ours, |n| one(&runtime, Theirs::new(), n, tasks, again));
            let subject = if codec == "json" { "execute_once+json" } else { "execute_once" };
            let report = Report::of(case.clone(), subject, "idempotent-2.0", &report);
            println!("{report}");
            if let Some(file) = &mut json {
                writeln!(file, "{}", report.to_json())?;
            }
        }
    }
    for (tasks, kind) in [(1, "fresh"), (1, "replay"), (64, "fresh"), (64, "replay")] {
        let Some(report) = http::run(&runtime, kind, tasks, &filter)? else { continue };
        println!("{report}");
        if let Some(file) = &mut json {
            writeln!(file, "{}", report.to_json())?;
        }
    }
    Ok(())
}

fn one<S: Sides>(runtime: &Runtime, subject: S, n: usize, tasks: usize, again: bool) -> Round {
    let subject = Arc::new(subject);
    let keys = keys(n, RUNS);
    if again {
        drop(round(runtime, Arc::new(Fresh(subject.clone())), keys.clone(), tasks));
        round(runtime, Arc::new(Replay(subject)), keys, tasks)
    } else {
        round(runtime, Arc::new(Fresh(subject)), keys, tasks)
    }
}

struct Ours(Idempotency);

impl Sides for Ours {
    async fn fresh(&self, key: &Key) {
        let id = key.id_parts().next().unwrap_or_default();
        let key = Key::new("POST /payments", id).request_bytes(b"{}").build().expect("a key");
        let outcome = self.0.execute_once(&key, async { Ok::<_, Error>(Payment::sample()) }).await;
        assert!(outcome.is_ok_and(|outcome| outcome.amount == 1999));
    }

    async fn replay(&self, key: &Key) {
        self.fresh(key).await;
    }
}

struct Theirs(idempotent::memory::MemoryStore);

impl Theirs {
    fn new() -> Self {
        Self(idempotent::memory::MemoryStore::builder().try_build().expect("a store"))
    }
}

impl Sides for Theirs {
    async fn fresh(&self, key: &Key) {
        const LEASE: Duration = Duration::from_secs(30);
        const RETENTION: Duration = Duration::from_secs(24 * 60 * 60);
        let id = key.id_parts().next().unwrap_or_default();
        let key = IdempotencyKey::new(id).expect("a key");
        let claim = self.0.claim(&key, LEASE).fingerprint("POST /payments", b"{}").json();
        let run = claim.execute_or_replay(RETENTION, |_| async {
            Ok::<Payment, Box<dyn std::error::Error + Send + Sync>>(Payment::sample())
        });
        match run.await.expect("a run") {
            ExecutionOutcome::Executed(payment) | ExecutionOutcome::Replayed(payment) => {
                assert!(payment.amount == 1999);
            }
            _ => panic!("neither ran nor replayed"),
        }
    }

    async fn replay(&self, key: &Key) {
        self.fresh(key).await;
    }
}
