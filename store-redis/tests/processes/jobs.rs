//! Processes that want to run one job's slots, some of them killed in the midst of one: never two at once,
//! and each slot done once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use idempotency_core::{Attempt, Error, Exclusively, Idempotency};
use idempotency_testkit::processes::{Program, role};
use idempotency_testkit::servers::Redis;

use crate::common::{open, runtime};

/// Short, as the next run waits for it after each kill; long enough for a busy machine.
const LEASE: Duration = Duration::from_secs(3);
const PROCESSES: usize = 6;
const SLOTS: u64 = 30;
/// Whose first run never ends by itself: its process is killed.
const HANGING: [u64; 3] = [3, 11, 20];
/// Whose first run fails.
const FAILING: [u64; 3] = [5, 11, 29];
/// How long all of it may take, on a busy machine.
const SURELY: Duration = Duration::from_secs(180);

#[derive(Debug)]
enum Failed {
    AsTold,
    Core,
}

impl From<Error> for Failed {
    fn from(_: Error) -> Self {
        Self::Core
    }
}

pub(crate) fn add_to(program: &mut Program) {
    program.role("jobs", |arguments| {
        let [url, log, from] = arguments else { panic!("{arguments:?}") };
        runtime().block_on(work(url, Arc::new(Log::open(Path::new(log))), from.parse().unwrap()));
    });
    program.test("jobs::never_two_at_once_and_each_slot_once", never_two_at_once_and_each_slot_once);
}

/// What all processes say, in the order in which it happened.
struct Log(File);

impl Log {
    fn open(path: &Path) -> Self {
        Self(OpenOptions::new().create(true).append(true).open(path).unwrap())
    }

    /// By one system call, so that lines of several processes do not mix.
    fn say(&self, line: &str) {
        let line = format!("{line}\n");
        assert_eq!((&self.0).write(line.as_bytes()).unwrap(), line.len());
    }
}

/// Says how a run's job ended, by being dropped too.
struct Running {
    log: Arc<Log>,
    fence: u64,
    ended: &'static str,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.log.say(&format!("{} {}", self.ended, self.fence));
    }
}

async fn job(attempt: Attempt, slot: u64, log: Arc<Log>) -> Result<u64, Failed> {
    let (fence, of_slot) = (attempt.fence().get(), attempt.slot().unwrap());
    let prior = attempt.prior().map_or(0, |prior| prior.fence.get());
    let slots_prior = of_slot.prior().map_or(0, |prior| prior.attempt);
    log.say(&format!("begin {fence} {slot} {} {prior} {slots_prior}", std::process::id()));
    let mut running = Running { log: log.clone(), fence, ended: "stopped" };
    tokio::time::sleep(Duration::from_millis(3)).await;
    if of_slot.number() == 1 && HANGING.contains(&slot) {
        log.say(&format!("hangs {fence}"));
        std::future::pending::<()>().await;
    }
    if FAILING.contains(&slot) && of_slot.number() == 1 + u32::from(HANGING.contains(&slot)) {
        running.ended = "failed";
        return Err(Failed::AsTold);
    }
    running.ended = "end";
    Ok(fence)
}

/// Role: goes through all slots, round from this one, whoever else does.
async fn work(url: &str, log: Arc<Log>, from: u64) {
    let handle = Idempotency::new(open(url, "jobs:", 0).await).with_lease(LEASE).unwrap();
    for slot in (from..from + SLOTS).map(|slot| slot % SLOTS) {
        let report = loop {
            let run = handle.exclusive("bill").slot(slot.to_string());
            match run.run(|attempt| job(attempt, slot, log.clone())).await {
                Ok(Exclusively::Ran(report) | Exclusively::Overtaken(report)) => {
                    if let Ok(report) = report.recorded() {
                        break report;
                    }
                }
                Ok(Exclusively::AlreadyDone { report, .. }) => break report,
                Ok(Exclusively::Busy { .. }) | Err(Failed::AsTold | Failed::Core) => {}
                Ok(other @ Exclusively::TooSoon { .. }) => panic!("{other:?}"),
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        };
        log.say(&format!("told {slot} {report}"));
    }
}

/// A process; killed with this, if not before.
struct Worker(Child);

impl Worker {
    fn start(url: &str, log: &Path, from: usize) -> Self {
        Self(role("jobs").arg(url).arg(log).arg(from.to_string()).stdin(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn never_two_at_once_and_each_slot_once() {
    let server = Redis::new().start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    File::create(&log).unwrap();
    let read = || std::fs::read_to_string(&log).unwrap();
    let (url, begun) = (server.url(), Instant::now());
    // Each begins with another slot, so that only the job's lock keeps them from running at once.
    let start = |nth: usize| Worker::start(&url, &log, nth * 5);
    let mut workers: Vec<Worker> = (0..PROCESSES).map(start).collect();
    let mut killed = BTreeSet::new();
    while !workers.is_empty() {
        assert!(begun.elapsed() < SURELY, "it does not come to an end:\n{}", read());
        if let Some((fence, id)) = hanging(&read(), &killed) {
            let at = workers.iter().position(|worker| worker.0.id() == id).expect("a process of this test");
            drop(workers.swap_remove(at));
            killed.insert(fence);
            assert!(killed.len() <= HANGING.len(), "a slot was begun anew:\n{}", read());
            workers.push(start(killed.len()));
        }
        workers.retain_mut(|worker| match worker.0.try_wait().unwrap() {
            Some(status) => {
                assert!(status.success(), "{status}:\n{}", read());
                false
            }
            None => true,
        });
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(killed.len(), HANGING.len());
    let said = read();
    let runs = check(&said, &killed).unwrap_or_else(|why| panic!("{why}, in:\n{said}"));
    println!("{PROCESSES} processes, {SLOTS} slots, {runs} runs, 3 kills in {:?}", begun.elapsed());
}

/// A run that hangs and was not killed: its fence, and its process.
fn hanging(said: &str, killed: &BTreeSet<u64>) -> Option<(u64, u32)> {
    // The last line may be on its way.
    let whole = said.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let hangs = whole.lines().filter_map(|line| line.strip_prefix("hangs ")).map(|fence| fence.parse::<u64>().unwrap());
    let fence = hangs.into_iter().find(|fence| !killed.contains(fence))?;
    let begin = whole.lines().find(|line| line.starts_with(&format!("begin {fence} "))).unwrap();
    Some((fence, begin.split(' ').nth(3).unwrap().parse().unwrap()))
}

#[derive(Debug, PartialEq, Clone, Copy)]
enum How {
    Open,
    Ended,
    Failed,
    /// Killed, or stopped when its lease was lost.
    CutOff,
}

/// Holds what was said to what is promised. How many runs there were.
fn check(said: &str, killed: &BTreeSet<u64>) -> Result<usize, String> {
    let mut runs: BTreeMap<u64, How> = BTreeMap::new();
    let mut of_slot: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    let mut reports: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    // Some had not said so yet when the next began.
    let stopped = |fence: &u64| said.lines().any(|line| line == format!("stopped {fence}"));
    for line in said.lines() {
        let (word, numbers) = line.split_once(' ').ok_or(line)?;
        let numbers: Vec<u64> = numbers.split(' ').map(|number| number.parse().unwrap()).collect();
        match (word, &numbers[..]) {
            ("begin", &[fence, slot, _, prior, slots_prior]) => {
                let mut killed_before = None;
                for (open, how) in runs.iter_mut().filter(|(_, how)| **how == How::Open) {
                    match killed.contains(open) {
                        true => killed_before = Some(*open),
                        false if stopped(open) => {}
                        false => return Err(format!("{fence} ran beside {open}")),
                    }
                    *how = How::CutOff;
                }
                if runs.keys().next_back().is_some_and(|last| *last >= fence) {
                    return Err(format!("fence {fence} is no larger than those before it"));
                }
                if let Some(killed) = killed_before
                    && prior != killed
                {
                    return Err(format!("{fence} is not told that {killed} did not end"));
                }
                let before = of_slot.entry(slot).or_default();
                let unknown = before.iter().any(|before| runs[before] == How::CutOff);
                if unknown != (slots_prior != 0) {
                    return Err(format!("{fence}: slot {slot} was cut off: {unknown}; told: {}", !unknown));
                }
                if before.iter().any(|before| runs[before] == How::Ended) {
                    return Err(format!("{fence}: slot {slot} is done, and run again"));
                }
                before.push(fence);
                runs.insert(fence, How::Open);
            }
            ("end", &[fence]) => drop(runs.insert(fence, How::Ended)),
            ("failed", &[fence]) => drop(runs.insert(fence, How::Failed)),
            ("stopped", &[fence]) => drop(runs.insert(fence, How::CutOff)),
            ("hangs", &[_]) => {}
            ("told", &[slot, report]) => drop(reports.entry(slot).or_default().insert(report)),
            _ => return Err(format!("not understood: {line}")),
        }
    }
    for slot in 0..SLOTS {
        let ended = of_slot[&slot].iter().filter(|fence| runs[fence] == How::Ended);
        let ended: BTreeSet<u64> = ended.copied().collect();
        if ended.len() != 1 || reports.get(&slot) != Some(&ended) {
            return Err(format!("slot {slot} was done by {ended:?}, and reported as {:?}", reports.get(&slot)));
        }
    }
    let hung = killed.iter().all(|fence| HANGING.iter().any(|slot| of_slot[slot].first() == Some(fence)));
    if !hung { Err("others were killed than those that hung".into()) } else { Ok(runs.len()) }
}
