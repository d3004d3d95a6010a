//! Many callers of one store, which go on through whatever happens to its server.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use idempotency_core::{Acquired, Claim, Effect, IdempotencyStore, StoreError};
use idempotency_store_postgres::{PostgresStore, PostgresStoreConfig};
use idempotency_testkit::history::{Checked, Offset, Recorder, Recording, Timing};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::support::{MARGIN, claim, key, runtime, until, value};

const TASKS: u64 = 16;
/// How many runs ask for each new key.
const CLAIMANTS: u64 = 4;
/// Shorter than the longest faults, so that locks lapse in them.
const LEASE: Duration = Duration::from_secs(2);
/// How many runs there are before a fault, and after it.
const RUNS: u64 = 400;
/// How many runs there are at the most.
const MOST: u64 = 40_000;
/// How soon the store must serve again after its server does.
const RESUMES_WITHIN: Duration = Duration::from_secs(2);
/// The recorder and the server read one machine's clock.
const TIMING: Timing =
    Timing { offset: Offset::Known(0), skew: Duration::from_millis(50), resolution: Duration::from_millis(1) };

/// Callers that acquire, extend, store and release.
pub(crate) struct Load {
    runtime: Runtime,
    recording: Recording,
    store: Recorder<PostgresStore>,
    seen: Arc<Seen>,
    tasks: Vec<JoinHandle<()>>,
}

/// What the callers see.
struct Seen {
    limit: Duration,
    runs: AtomicU64,
    stopped: AtomicBool,
    /// Errors after which the same call was made again.
    passing: AtomicU64,
    /// How long the slowest call took, in µs.
    slowest: AtomicU64,
    trouble: Mutex<Vec<String>>,
}

impl Load {
    /// Starts the callers, and comes back once they are well under way.
    pub(crate) fn start(config: PostgresStoreConfig, limit: Duration) -> Self {
        let runtime = runtime();
        let store = runtime.block_on(PostgresStore::open(config.with_limit(limit))).unwrap();
        let recording = Recording::in_memory();
        let seen = Arc::new(Seen {
            limit,
            runs: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
            passing: AtomicU64::new(0),
            slowest: AtomicU64::new(0),
            trouble: Mutex::default(),
        });
        let tasks = (0..TASKS).map(|task| {
            let client = recording.client(format!("task {task}"), store.clone());
            runtime.spawn(work(seen.clone(), client, task))
        });
        let tasks = tasks.collect();
        let load = Self { store: recording.client("looking", store), runtime, recording, seen, tasks };
        load.go_on(RUNS);
        load
    }

    /// Waits until there were so many more runs.
    pub(crate) fn go_on(&self, runs: u64) {
        let wanted = self.seen.runs.load(Relaxed) + runs;
        until("the callers go on", || self.seen.runs.load(Relaxed) >= wanted);
    }

    /// How often a call failed in passing so far.
    pub(crate) fn passing(&self) -> u64 {
        self.seen.passing.load(Relaxed)
    }

    /// Waits until calls succeed again, which must be soon. How long that took.
    pub(crate) fn resumes(&self, since: Instant) -> Duration {
        loop {
            match self.runtime.block_on(self.store.get(&key("k0"))) {
                Ok(_) => break,
                Err(error) => assert!(since.elapsed() < 5 * RESUMES_WITHIN, "still: {error}"),
            }
        }
        let took = since.elapsed();
        assert!(took <= RESUMES_WITHIN, "it served again after {took:?}");
        took
    }

    /// Ends the callers after some more runs, looks at all keys, and holds what was seen against the
    /// contract.
    pub(crate) fn end(mut self, fault: &str, resumed: Option<Duration>) -> Checked {
        self.go_on(RUNS);
        assert!(self.seen.runs.load(Relaxed) < MOST, "the callers may have ended before the fault did");
        self.seen.stopped.store(true, Relaxed);
        for task in self.tasks.drain(..) {
            self.runtime.block_on(task).unwrap();
        }
        let keys = self.recording.history().keys().to_vec();
        self.runtime.block_on(async {
            for key in &keys {
                self.seen.ask(|| self.store.get(key)).await;
            }
        });
        let trouble = self.seen.trouble.lock().unwrap();
        assert!(trouble.is_empty(), "{} calls went wrong, first: {}", trouble.len(), trouble[0]);
        let slowest = Duration::from_micros(self.seen.slowest.load(Relaxed));
        let checked = match self.recording.history().with_timing(TIMING).check() {
            Ok(checked) => checked,
            Err(verdict) => panic!("{verdict}"),
        };
        println!(
            "{fault}: {} runs, {checked:?}, {} errors in passing; the slowest call took {slowest:?}; served again \
             after {resumed:?}",
            self.seen.runs.load(Relaxed),
            self.passing(),
        );
        checked
    }
}

async fn work(seen: Arc<Seen>, store: Recorder<PostgresStore>, task: u64) {
    let mut turn = task;
    while !seen.stopped.load(Relaxed) {
        let run = seen.runs.load(Relaxed);
        if run >= MOST {
            return;
        }
        turn = turn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let random = turn >> 33;
        // One in four comes back to a key that is some time old.
        let back = if random.is_multiple_of(4) { random / 4 % 40 } else { 0 };
        run_once(&seen, &store, (run / CLAIMANTS).saturating_sub(back), random / 160).await;
        seen.runs.fetch_add(1, Relaxed);
    }
}

/// One run as `execute_once` makes it, with an end that `random` chooses.
async fn run_once(seen: &Seen, store: &Recorder<PostgresStore>, number: u64, random: u64) -> Option<()> {
    let key = key(format!("k{number}"));
    let claim = Claim { lease: LEASE, ..claim() };
    let lock = match seen.ask(|| store.acquire_lock(&key, &claim)).await? {
        Acquired::Acquired(grant) => grant.lock,
        _ => return seen.ask(|| store.get(&key)).await.map(drop),
    };
    tokio::time::sleep(Duration::from_millis(random % 4)).await;
    if random.is_multiple_of(5) {
        seen.ask(|| store.extend_lock(&key, &lock, LEASE)).await?;
    }
    match random % 10 {
        0 => seen.ask(|| store.release_lock(&key, &lock, Effect::None)).await.map(drop),
        1 => seen.ask(|| store.release_lock(&key, &lock, Effect::Unknown)).await.map(drop),
        _ => {
            let result = value(&claim.owner.as_u128().to_be_bytes());
            seen.ask(|| store.store_result(&key, &lock, &result, claim.retention)).await.map(drop)
        }
    }
}

impl Seen {
    /// Makes a call, and the same again for as long as it fails in passing.
    async fn ask<T, F>(&self, call: impl Fn() -> F) -> Option<T>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        loop {
            let begun = Instant::now();
            let answer = tokio::time::timeout(self.limit + MARGIN, call()).await;
            self.slowest.fetch_max(begun.elapsed().as_micros() as u64, Relaxed);
            match answer {
                Ok(Ok(answer)) => return Some(answer),
                Ok(Err(error)) if error.is_passing() => {
                    self.passing.fetch_add(1, Relaxed);
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Ok(Err(error)) => return self.trouble(format!("{error}")),
                Err(_) => return self.trouble(format!("no answer within {:?} and {MARGIN:?}", self.limit)),
            }
        }
    }

    fn trouble<T>(&self, what: String) -> Option<T> {
        self.trouble.lock().unwrap().push(what);
        None
    }
}
