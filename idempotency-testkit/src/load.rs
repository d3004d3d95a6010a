//! Many callers of one store, which go on through whatever happens to its server.
//!
//! ```no_run
//! # use std::time::{Duration, Instant};
//! # use idempotency_testkit::load::Load;
//! # fn kill_and_restart() {}
//! # fn shown(store: impl idempotency_core::IdempotencyStore + Clone, runtime: tokio::runtime::Runtime) {
//! let load = Load::start(runtime, store, Duration::from_secs(2), Duration::from_secs(30));
//! kill_and_restart();
//! let resumed = load.resumes(Instant::now());
//! load.end("killed", Some(resumed));
//! # }
//! ```

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use idempotency_core::{Acquired, Claim, Completion, Effect, Fingerprint, IdempotencyStore, Key, StoreError};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::history::{Checked, Offset, Recorder, Recording, Timing};

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
/// How much longer than its limit a call may take on a machine that is busy with other tests.
const MARGIN: Duration = Duration::from_secs(1);
/// The recorder and the server read one machine's clock. A store may date records by what it knows of the
/// server's, which on a busy machine is some milliseconds less exact.
const TIMING: Timing =
    Timing { offset: Offset::Known(0), skew: Duration::from_millis(50), resolution: Duration::from_millis(1) };

/// Callers that acquire, extend, store and release, each as `execute_once` does, and make a call again for as
/// long as it fails in passing.
#[derive(Debug)]
pub struct Load<S> {
    runtime: Runtime,
    recording: Recording,
    store: Recorder<S>,
    surely: Duration,
    seen: Arc<Seen>,
    tasks: Vec<JoinHandle<()>>,
}

/// What the callers see.
#[derive(Debug)]
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

impl<S: IdempotencyStore + Clone> Load<S> {
    /// Starts the callers on `runtime`, and comes back once they are well under way. No call may take longer
    /// than `limit` and a second; what surely comes must have come after `surely`.
    ///
    /// # Panics
    /// Where the callers do not get under way.
    #[must_use]
    pub fn start(runtime: Runtime, store: S, limit: Duration, surely: Duration) -> Self {
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
        let load = Self { store: recording.client("looking", store), runtime, recording, surely, seen, tasks };
        load.go_on(RUNS);
        load
    }

    /// Waits until there were so many more runs.
    ///
    /// # Panics
    /// Where there are not.
    pub fn go_on(&self, runs: u64) {
        let (begun, wanted) = (Instant::now(), self.seen.runs.load(Relaxed) + runs);
        while self.seen.runs.load(Relaxed) < wanted {
            assert!(begun.elapsed() < self.surely, "it never came to this: the callers go on");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// How often a call failed in passing so far.
    #[must_use]
    pub fn passing(&self) -> u64 {
        self.seen.passing.load(Relaxed)
    }

    /// Waits until calls succeed again, which must be within 2 s of `since`. How long that took.
    ///
    /// # Panics
    /// Where it takes longer.
    pub fn resumes(&self, since: Instant) -> Duration {
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
    ///
    /// # Panics
    /// Where a call failed for good or took too long, or the calls cannot have been answered so.
    pub fn end(mut self, fault: &str, resumed: Option<Duration>) -> Checked {
        self.go_on(RUNS);
        assert!(self.seen.runs.load(Relaxed) < MOST, "the callers may have ended before the fault did");
        self.seen.stopped.store(true, Relaxed);
        for task in self.tasks.drain(..) {
            self.runtime.block_on(task).expect("no caller panics");
        }
        let keys = self.recording.history().keys().to_vec();
        self.runtime.block_on(async {
            for key in &keys {
                self.seen.ask(|| self.store.get(key)).await;
            }
        });
        let trouble = self.seen.trouble.lock().unwrap_or_else(PoisonError::into_inner);
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

async fn work<S: IdempotencyStore>(seen: Arc<Seen>, store: Recorder<S>, task: u64) {
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

fn key(name: impl AsRef<[u8]>) -> Key {
    Key::new("fault", name).build().unwrap_or_else(|error| panic!("no key: {error}"))
}

/// One run as `execute_once` makes it, with an end that `random` chooses.
async fn run_once<S: IdempotencyStore>(seen: &Seen, store: &Recorder<S>, number: u64, random: u64) -> Option<()> {
    let key = key(format!("k{number}"));
    let claim = Claim { lease: LEASE, ..Claim::new(Fingerprint::NONE) };
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
            let result = Completion::Value(claim.owner.as_u128().to_be_bytes().to_vec().into());
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
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).push(what);
        None
    }
}
