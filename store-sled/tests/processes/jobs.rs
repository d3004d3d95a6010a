//! A job's slots, run by a process that is killed in the midst of one and started again.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use idempotency_core::{Attempt, Exclusively, Idempotency};
use idempotency_store_sled::Durability;
use idempotency_testkit::processes::{Program, role};

use crate::common::{Failed, open, runtime, say, whole};

const LEASE: Duration = Duration::from_secs(1);
const SLOTS: u32 = 6;
/// Whose first run never ends by itself.
const HANGING: [u32; 3] = [1, 2, 4];

pub(crate) fn add_to(program: &mut Program) {
    program.role("jobs", |arguments| runtime().block_on(work(&arguments[0])));
    program.test("jobs::each_slot_once_over_kills_and_restarts", each_slot_once_over_kills_and_restarts);
}

async fn job(attempt: Attempt, slot: u32) -> Result<u64, Failed> {
    let (fence, of_slot) = (attempt.fence().get(), attempt.slot().unwrap());
    let told = [attempt.prior(), of_slot.prior()].map(|prior| prior.is_some());
    say(&format!("begin {slot} {fence} {told:?}"));
    if of_slot.number() == 1 && HANGING.contains(&slot) {
        say("hangs");
        std::future::pending::<()>().await;
    }
    Ok(fence)
}

/// Role: goes through all slots.
async fn work(folder: &str) {
    let handle = Idempotency::new(open(folder, Durability::Process).await).with_lease(LEASE).unwrap();
    for slot in 0..SLOTS {
        loop {
            let run = handle.exclusive("bill").slot(slot.to_string());
            match run.run(|attempt| job(attempt, slot)).await.unwrap() {
                Exclusively::Ran(report) => break say(&format!("ran {slot} {}", *report)),
                Exclusively::AlreadyDone { report, .. } => break say(&format!("done {slot} {report}")),
                Exclusively::Busy { retry_after, .. } => tokio::time::sleep(retry_after).await,
                other => panic!("{other:?}"),
            }
        }
    }
}

/// What a process says until it ends by itself, or hangs and is killed.
fn said(folder: &Path) -> Vec<String> {
    let mut process = role("jobs").arg(folder).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let mut said = Vec::new();
    for line in lines.map_while(Result::ok) {
        let Some(line) = whole(&line) else { continue };
        if line == "hangs" {
            process.kill().unwrap();
        }
        said.push(line.to_owned());
    }
    let status = process.wait().unwrap();
    assert_eq!(status.success(), said.last().is_none_or(|last| last != "hangs"), "{status}: {said:?}");
    said
}

fn each_slot_once_over_kills_and_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let mut all = Vec::new();
    for _ in 0..=HANGING.len() {
        all.extend(said(folder.path()));
    }
    let begun: Vec<Vec<&str>> =
        all.iter().filter_map(|line| line.strip_prefix("begin ")).map(|line| line.splitn(3, ' ').collect()).collect();
    let runs: Vec<(&str, &str)> = begun.iter().map(|run| (run[0], run[2])).collect();
    let (fresh, again) = ("[false, false]", "[true, true]");
    let expected = [
        ("0", fresh),
        ("1", fresh),
        ("1", again),
        ("2", fresh),
        ("2", again),
        ("3", fresh),
        ("4", fresh),
        ("4", again),
        ("5", fresh),
    ];
    assert_eq!(runs, expected, "{all:#?}");
    let fences: Vec<u64> = begun.iter().map(|run| run[1].parse().unwrap()).collect();
    assert!(fences.is_sorted_by(|one, next| one < next), "{fences:?}");
    let ran: Vec<String> = all.iter().filter_map(|line| line.strip_prefix("ran ")).map(str::to_owned).collect();
    assert_eq!(ran.len(), SLOTS as usize, "{all:#?}");
    // Whoever comes after gets their reports, and runs nothing.
    let after: Vec<String> = said(folder.path());
    let reports: Vec<String> = ran.iter().map(|report| format!("done {report}")).collect();
    assert_eq!(after, reports);
}
