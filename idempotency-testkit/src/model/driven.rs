//! Any store, driven by random commands beside the moves.

use std::cell::Cell;
use std::fmt::Write;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use idempotency_core::{Clock, FenceSource, Timestamp};
use proptest::strategy::Just;
use proptest::strategy::Strategy;
use proptest::test_runner::{Config as Proptest, RngSeed, TestCaseError, TestError, TestRunner};
use proptest_state_machine::Sequential;

use super::command::{Ask, Command};
use super::drawn;
use super::state::State;
use crate::call::Call;
use crate::conformance::bench::{Bench, Times};
use crate::conformance::desk::Desk;
use crate::conformance::failure::{Failure, Outcome};
use crate::conformance::{Capability, IntoSubject};
use crate::rule::Rule;

/// The variable by which a failed run is replayed.
const SEED: &str = "IDEMPOTENCY_SEED";

/// How many walks of how many commands are made, over how many keys, from which seed.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Config {
    /// How many walks, each over keys of its own.
    pub cases: u32,
    /// The most commands of a walk.
    pub commands: usize,
    /// How many keys a walk has.
    pub keys: usize,
    /// What the commands are drawn from. The same seed draws the same commands.
    pub seed: u64,
}

impl Config {
    /// 300 walks of up to 40 commands to three keys, from the seed in `IDEMPOTENCY_SEED` or else a
    /// new one. With `IDEMPOTENCY_SOAK` set, 20 times as many walks.
    pub fn new() -> Self {
        let seed = std::env::var(SEED).ok().and_then(|seed| seed.trim().parse().ok());
        let times = if std::env::var_os("IDEMPOTENCY_SOAK").is_some() { 20 } else { 1 };
        let seed = seed.unwrap_or_else(|| RandomState::new().hash_one(0) % 1_000_000_000);
        Self { cases: 300 * times, commands: 40, keys: 3, seed }
    }

    /// Sets how many walks are made.
    pub const fn with_cases(self, cases: u32) -> Self {
        Self { cases, ..self }
    }

    /// Sets the most commands of a walk.
    pub const fn with_commands(self, commands: usize) -> Self {
        Self { commands, ..self }
    }

    /// Sets the seed, whatever the environment says.
    pub const fn with_seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::new()
    }
}

/// Drives a store by random commands and holds each answer against the moves.
///
/// # Errors
/// [`Failure`], with the fewest commands that show it, and the seed.
pub fn check(fresh: impl IntoSubject, config: Config) -> Result<(), Failure> {
    crate::conformance::on_a_bench(fresh, move |bench| check_on(bench, config))
}

/// As [`check`], on a bench that is there already.
pub(crate) async fn check_on(bench: Arc<Bench>, config: Config) -> Outcome {
    let runtime = tokio::runtime::Handle::current();
    // The runner is not asynchronous; it waits for each walk, away from the runtime's threads.
    let walks = tokio::task::spawn_blocking({
        let bench = bench.clone();
        move || walks(&runtime, &bench, config)
    });
    walks.await.unwrap_or_else(|error| Err(Failure::panicked(error)))?;
    nothing_outlives_its_retention(&bench).await
}

fn walks(runtime: &tokio::runtime::Handle, bench: &Arc<Bench>, config: Config) -> Outcome {
    println!("{} walks from {SEED}={}", config.cases, config.seed);
    let times = bench.times;
    let start = State::new(config.keys, times, bench.clock().is_ok());
    let commands = Sequential::new(
        (1..config.commands.max(2)).into(),
        move || Just(start.clone()).boxed(),
        State::allows,
        drawn::command,
        State::after,
    );
    let fences_are_counted =
        runtime.block_on(bench.store().guarantees()).is_ok_and(|found| found.fences == FenceSource::Counter);
    let proptest = Proptest {
        cases: config.cases,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(config.seed),
        // Whatever a walk shrinks to, its first failure is told within a minute or so.
        max_shrink_iters: 2000,
        max_shrink_time: 60_000,
        ..Proptest::default()
    };
    let number = Cell::new(0_u32);
    let walk = |commands: &[Command], seen: Option<&AtomicUsize>| {
        number.set(number.get() + 1);
        let mut walk = Walk::new(bench, number.get(), config.keys, fences_are_counted);
        runtime.block_on(async {
            for command in commands {
                if let Some(seen) = seen {
                    seen.fetch_add(1, Ordering::SeqCst);
                }
                walk.take(command).await?;
            }
            Ok(())
        })
    };
    let outcome = TestRunner::new(proptest).run(&commands, |(_, commands, seen)| {
        let walked: Outcome = walk(&commands, seen.as_deref());
        walked.map_err(|_| TestCaseError::fail("an answer that the moves do not give"))
    });
    match outcome {
        Ok(()) => Ok(()),
        Err(TestError::Fail(_, (_, commands, _))) => {
            Err(fewest(commands, config.seed, |commands| walk(commands, None)))
        }
        Err(TestError::Abort(why)) => Err(Failure::other(why.to_string())),
    }
}

/// Leaves out what the runner did not: it tries each command once, and some can go only after others.
fn fewest(mut commands: Vec<Command>, seed: u64, walk: impl Fn(&[Command]) -> Outcome) -> Failure {
    let mut failure = match walk(&commands) {
        Err(failure) => failure,
        Ok(()) => return Failure::other(format!("it failed once and passed when repeated, from {SEED}={seed}")),
    };
    let mut at = commands.len();
    while let Some(next) = at.checked_sub(1) {
        at = next;
        let fewer = without(&commands, at);
        if let Err(shorter) = walk(&fewer) {
            (commands, failure) = (fewer, shorter);
            // Others may be left out now.
            at = commands.len();
        }
    }
    let mut text = format!("the fewest commands that show it, found from {SEED}={seed}:\n");
    for (number, command) in commands.iter().enumerate() {
        // Writing to a string does not fail.
        let _infallible = writeln!(text, "  {}. {command}", number + 1);
    }
    let _infallible = write!(text, "replay it with {SEED}={seed}");
    failure.and(&text)
}

/// The commands without one of them; what repeated a call from before it still repeats that call.
fn without(commands: &[Command], at: usize) -> Vec<Command> {
    let mut fewer = commands.to_vec();
    let Command::Ask { key: removed, .. } = fewer.remove(at) else { return fewer };
    let mut between = 0;
    for command in &mut fewer[at..] {
        if let Command::Ask { key, ask, .. } = command
            && *key == removed
        {
            if let Ask::Again(back) = ask
                && *back > between
            {
                *back -= 1;
            }
            between += 1;
        }
    }
    fewer
}

/// One walk, over keys of its own.
struct Walk {
    bench: Arc<Bench>,
    desks: Vec<Desk>,
    calls: Vec<Vec<Call>>,
    times: Times,
}

impl Walk {
    fn new(bench: &Arc<Bench>, number: u32, keys: usize, fences_are_counted: bool) -> Self {
        let desk = |key| {
            let mut desk = bench.desk(format!("walk {number} key {key}"));
            desk.fences_outlive_the_record = fences_are_counted;
            desk
        };
        Self {
            bench: bench.clone(),
            desks: (0..keys).map(desk).collect(),
            calls: vec![Vec::new(); keys],
            times: bench.times,
        }
    }

    async fn take(&mut self, command: &Command) -> Outcome {
        match command {
            Command::Ask { key, ask, lost } => {
                let (desk, calls) = (&mut self.desks[*key], &mut self.calls[*key]);
                // What was never granted, since the walk went another way than the model's, is not shown.
                if let Some(call) = ask.call(&desk.locks, calls, self.times) {
                    for _ in 0..=u8::from(*lost) {
                        desk.ask(&call).await?;
                    }
                    calls.push(call);
                }
            }
            Command::Pass(span) => self.bench.pass(span.of(self.times)).await,
            Command::Back(span) => {
                let clock = self.bench.clock()?;
                let back = u64::try_from(span.of(self.times).as_micros()).unwrap_or(u64::MAX);
                clock.set(Timestamp::from_micros(clock.now().as_micros().saturating_sub(back)));
            }
            Command::Purge if self.bench.has(Capability::Upkeep) => {
                let purged = self.bench.upkeep()?.purge(usize::MAX).await;
                purged.map_err(|error| Failure::of(Rule::RowsAreAnswered, format!("purge failed: {error}")))?;
            }
            Command::Purge => {}
        }
        for desk in &mut self.desks {
            desk.look().await?;
        }
        Ok(())
    }
}

async fn nothing_outlives_its_retention(bench: &Bench) -> Outcome {
    if bench.clock().is_err() || !bench.has(Capability::Upkeep) {
        return Ok(());
    }
    let failed = |error| Failure::of(Rule::RowsAreAnswered, format!("upkeep failed: {error}"));
    let upkeep = bench.upkeep()?;
    // The clock may have been set back by all the walks together.
    let times = bench.times;
    bench.pass((times.lease + times.unknown_retention + times.retention) * 1000 + bench.purged_by()).await;
    while upkeep.purge(1000).await.map_err(failed)?.more {}
    let (left, listed) = (upkeep.stats().await.map_err(failed)?, upkeep.list(None, 10).await.map_err(failed)?);
    if left == idempotency_core::Stats::default() && listed == idempotency_core::Page::default() {
        return Ok(());
    }
    Err(Failure::of(Rule::TimesAreKept, format!("after the end of every retention and a purge, {left:?} are left")))
}
