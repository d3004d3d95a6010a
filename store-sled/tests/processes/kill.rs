//! A process under load, killed again and again over one database.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use idempotency_core::{Error, How, Idempotency, IdempotencyStore, OnUnknown};

use crate::common::{Failed, durability, effect_of, key, open, runtime, say, whole};
use crate::history::{History, refuses};
use idempotency_testkit::processes::{Program, Random, role};

const TASKS: u32 = 64;
/// Longer than a process lives, so that a lock that lapses lapsed over a restart.
const LEASE: Duration = Duration::from_secs(1);
/// How many kills one database goes through.
const CYCLES: u32 = 100;
/// How many cycles a key is come back to.
const REMEMBERED: usize = 12;
const LOOK_EVERY: u32 = 10;

type Value = (u64, Vec<u8>);

pub(crate) fn add_to(program: &mut Program) {
    program.role("work", work);
    program.test("kill::what_a_power_safe_store_acknowledged_survives", || killed("power"));
    program.test("kill::what_a_crash_safe_store_acknowledged_survives", || killed("process"));
}

/// Role: many tasks run old keys and new ones, and say what they are told, until killed.
fn work(arguments: &[String]) {
    let [folder, safety, cycle, seed] = arguments else { panic!("{arguments:?}") };
    std::panic::set_hook(Box::new(|panic| say(&format!("trouble in the process: {panic}").replace('\n', " "))));
    let seed: u64 = seed.parse().unwrap();
    let mut known = String::new();
    std::io::stdin().read_to_string(&mut known).unwrap();
    let known: Arc<Vec<String>> = Arc::new(known.lines().map(str::to_owned).collect());
    runtime().block_on(async {
        let store = open(folder, durability(safety)).await;
        let handle = Idempotency::new(store).with_lease(LEASE).unwrap();
        let fresh = Arc::new(AtomicU32::new(0));
        for task in 0..TASKS {
            let (handle, known, fresh, cycle) = (handle.clone(), known.clone(), fresh.clone(), cycle.clone());
            let mut random = Random::new(seed ^ u64::from(task + 1) << 32);
            tokio::spawn(async move {
                loop {
                    let name = match random.pick(&known) {
                        Some(name) if random.below(2) == 0 => name.clone(),
                        // Three tasks, more or less at once, for each new key.
                        _ => format!("c{cycle}n{}", fresh.fetch_add(1, Relaxed) / 3),
                    };
                    call(&handle, &name, &mut random).await;
                }
            });
        }
        std::future::pending().await
    })
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Succeeds,
    NotSent,
    TimedOut,
    IsDropped,
}

async fn call(handle: &Idempotency, name: &str, random: &mut Random) {
    let end = match random.below(100) {
        0..60 => End::Succeeds,
        60..72 => End::NotSent,
        72..84 => End::TimedOut,
        _ => End::IsDropped,
    };
    let (nonce, takes, has_effect) = (random.next() >> 1, random.below(3), random.below(2) == 0);
    let key = key(name);
    let mut call = handle.call(&key);
    if refuses(name) {
        call = call.on_unknown(OnUnknown::Refuse);
    }
    if random.below(3) == 0 {
        call = call.wait(Duration::from_millis(30));
    }
    let padding = if name.ends_with('1') { vec![7; 15_000] } else { vec![] };
    let operation = |attempt: idempotency_core::Attempt| async move {
        let number = attempt.number();
        let prior = attempt.prior().map_or("-".to_owned(), |prior| format!("{} {:?}", prior.attempt, prior.ended));
        say(&format!("start {name} {number} {} {prior}", attempt.fence()));
        tokio::time::sleep(Duration::from_millis(takes)).await;
        if end == End::Succeeds || (has_effect && end != End::NotSent) {
            say(&format!("effect {name} {number} {nonce}"));
        }
        match end {
            End::Succeeds => Ok::<Value, _>((nonce, padding)),
            End::NotSent => {
                say(&format!("nothing {name} {number}"));
                Err(Failed::NotSent(number))
            }
            End::TimedOut => Err(Failed::TimedOut(number)),
            End::IsDropped => std::future::pending().await,
        }
    };
    let run = call.effect_of(effect_of).run(operation);
    let ended = match end {
        End::IsDropped => match tokio::time::timeout(Duration::from_millis(3 + takes), run).await {
            Ok(ended) => ended,
            Err(_dropped) => return,
        },
        End::Succeeds | End::NotSent | End::TimedOut => run.await,
    };
    match ended {
        Ok(outcome) if matches!(outcome.how(), How::Executed | How::Replayed(_)) => {
            say(&format!("done {name} {} {}", outcome.attempt(), outcome.0));
        }
        Err(Failed::NotSent(number)) => say(&format!("failed {name} {number} none")),
        Err(Failed::TimedOut(number)) => say(&format!("failed {name} {number} unknown")),
        Err(Failed::Core(Error::InProgress { .. } | Error::OutcomeUnknown { .. })) => {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(outcome) => say(&format!("trouble with {name}: {:?}", outcome.how())),
        Err(other) => say(&format!("trouble with {name}: {other:?}")),
    }
}

/// As many kills as were asked for, a fresh database for every hundred of them.
fn killed(safety: &str) {
    // Half of 200 or of 5,000: there are two kinds of store.
    let databases = if std::env::var_os("IDEMPOTENCY_SOAK").is_some() { 25 } else { 1 };
    let given = std::env::var("IDEMPOTENCY_SEED").ok().map(|seed| seed.parse().expect("a number as the seed"));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let first = given.unwrap_or(now.as_nanos() as u64);
    for database in 0..databases {
        let seed = first.wrapping_add(database);
        let mut series = Series::new(safety, seed);
        if let Err(why) = series.run() {
            panic!("{why}\n{safety}: run again by IDEMPOTENCY_SEED={seed}");
        }
        let History { lines, takeovers, lapsed, .. } = series.history;
        println!(
            "{safety}, seed {seed}: {CYCLES} kills, {lines} lines, {takeovers} takeovers ({lapsed} from a process that \
             was killed or a run that was dropped), {} values looked at",
            series.looked_at
        );
        assert!(lines > 50 * CYCLES && takeovers - lapsed > CYCLES && lapsed > CYCLES, "hardly any load");
        assert!(series.looked_at > CYCLES, "hardly any result to lose");
    }
}

/// The kills of one database.
struct Series<'a> {
    safety: &'a str,
    seed: u64,
    random: Random,
    folder: tempfile::TempDir,
    history: History,
    /// The keys of the last cycles, by the cycle in which they were new.
    recent: VecDeque<Vec<String>>,
    all: Vec<String>,
    looked_at: u32,
}

impl<'a> Series<'a> {
    fn new(safety: &'a str, seed: u64) -> Self {
        Self {
            safety,
            seed,
            random: Random::new(seed),
            folder: tempfile::tempdir().unwrap(),
            history: History::default(),
            recent: VecDeque::new(),
            all: Vec::new(),
            looked_at: 0,
        }
    }

    fn run(&mut self) -> Result<(), String> {
        for cycle in 1..=CYCLES {
            let said = self.kill_one(cycle);
            let mut new = Vec::new();
            for line in &said {
                let name = line.split(' ').nth(1).unwrap_or_default();
                if !line.starts_with("trouble") && self.history.get(name).is_none() {
                    new.push(name.to_owned());
                }
                self.history.note(cycle, line)?;
            }
            self.all.extend(new.iter().cloned());
            self.recent.push_front(new);
            self.recent.truncate(REMEMBERED);
            if cycle % LOOK_EVERY == 0 {
                let lately: Vec<String> = self.recent.iter().flatten().cloned().collect();
                self.look_at(cycle, &lately)?;
            }
        }
        let all = std::mem::take(&mut self.all);
        self.look_at(CYCLES, &all)
    }

    /// Runs one process and kills it at a random moment. What it said.
    fn kill_one(&mut self, cycle: u32) -> Vec<String> {
        let mut process = role("work")
            .arg(self.folder.path())
            .args([self.safety, &cycle.to_string(), &self.random.next().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let known = self.keys_to_come_back_to();
        let mut stdin = process.stdin.take().unwrap();
        let stdout = BufReader::new(process.stdout.take().unwrap());
        let reader = thread::spawn(move || {
            let lines = stdout.lines().map_while(Result::ok);
            lines.filter_map(|line| whole(&line).map(str::to_owned)).collect()
        });
        stdin.write_all(known.join("\n").as_bytes()).unwrap();
        drop(stdin);
        thread::sleep(Duration::from_millis(40 + self.random.below(260)));
        process.kill().unwrap();
        let status = process.wait().unwrap();
        let mut said: Vec<String> = reader.join().unwrap();
        if status.code().is_some() {
            said.push(format!("trouble: the process ended by itself ({status})"));
        }
        said
    }

    /// Those that were begun and are not known to be done, the oldest too, and some that are done.
    fn keys_to_come_back_to(&mut self) -> Vec<String> {
        let mut chosen = Vec::new();
        for names in &self.recent {
            let is_done = |name: &&String| self.history.get(name).is_some_and(|key| key.done.is_some());
            let (done, open): (Vec<_>, Vec<_>) = names.iter().partition(is_done);
            let mut some = |from: &[&String], count| {
                (0..count).filter_map(|_| self.random.pick(from).map(|name| (*name).clone())).collect::<Vec<_>>()
            };
            chosen.extend(some(&open, 30));
            chosen.extend(some(&done, 5));
        }
        chosen
    }

    /// Opens the database and asks for every key: nothing that was acknowledged is lost.
    fn look_at(&mut self, cycle: u32, names: &[String]) -> Result<(), String> {
        let runtime = runtime();
        let said = runtime.block_on(look(self.folder.path(), self.safety, &self.history, names));
        runtime.shutdown_timeout(Duration::from_secs(5));
        for line in said? {
            self.looked_at += 1;
            self.history.note(cycle, &line).map_err(|why| format!("{why}\n(seed {})", self.seed))?;
        }
        Ok(())
    }
}

async fn look(folder: &Path, safety: &str, history: &History, names: &[String]) -> Result<Vec<String>, String> {
    let store = open(folder, durability(safety)).await;
    let handle = Idempotency::new(store.clone());
    let mut said = Vec::new();
    for name in names {
        let (key, known) = (key(name), history.get(name).unwrap());
        let lost = |what: &str| format!("{what}\n{name}:\n  {}", known.said());
        let found = store.get(&key).await.map_err(|error| lost(&error.to_string()))?;
        let Some(found) = found.map(|found| found.record) else { return Err(lost("the key is lost")) };
        if known.last_start() > Some((found.attempt, found.lock.fence.get())) {
            return Err(lost(&format!("attempt {} under fence {} is the last", found.attempt, found.lock.fence)));
        }
        let is_completed = matches!(found.state, idempotency_core::State::Completed { .. });
        if !is_completed && known.done.is_some() {
            return Err(lost(&format!("its result is lost: {found:?}")));
        }
        if is_completed {
            let never = async { Err::<Value, _>(Failed::NotSent(0)) };
            match handle.execute_once(&key, never).await {
                Ok(value) => said.push(format!("done {name} {} {}", value.attempt(), value.0)),
                Err(error) => return Err(lost(&format!("its result is lost: {error:?}"))),
            }
        }
    }
    Ok(said)
}
