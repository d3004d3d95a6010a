//! A service's property: one effect a key, whatever the schedule.

mod chosen;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use idempotency_core::LONGEST;
use proptest::arbitrary::Arbitrary;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::bounds::Bounds;
use super::clock::SimClock;
use super::event::Event;
use super::failure::{Failure, Found};
use super::plan::{Plan, Simulated};
use super::referee::EffectRule;
use super::sent::Sent;
use super::shrink::shortest;
use super::source::{Replay, Script, Source, Wishes};
use super::world::World;
use crate::reference::ReferenceStore;
use crate::seed;

/// Holds a service to *one effect a key*, with any requests and [default](Property) settings.
///
/// # Panics
/// Where a schedule breaks the property, with a report of the shortest that was found.
#[track_caller]
pub fn check<R, F, Fut, T, E>(service: F)
where
    R: Arbitrary + Clone + Debug + 'static,
    F: Fn(World, R) -> Fut,
    Fut: Future<Output = Result<T, E>> + 'static,
    T: Debug,
    E: Debug,
{
    Property::of(any::<R>()).check(service);
}

/// What a service is held to, and how hard it is tried.
///
/// Each run draws one or two requests, and sends each of them several times: at once, one after the
/// other, after a crash, as the schedule has it. Every call to the store and to the world outside is a
/// point where the schedule decides. When all is quiet again and a lease has gone by, each request
/// comes once more. A run is right if
///
/// - the effect of each key was had once, or again only by an attempt that was told that the one
///   before it is unknown (see [`EffectRule`]);
/// - every answer of the store is the contract's;
/// - every request ended in time, and nothing panicked.
#[derive(Clone)]
#[must_use = "a property is held to nothing before `check` or `explore`"]
pub struct Property<S> {
    requests: S,
    plan: Plan,
    copies: usize,
    different: usize,
    runs: u32,
    seed: Option<u64>,
    every_order: bool,
    /// Whether effects are to be had at all.
    effects: bool,
    /// Whether the caller has said what may go wrong.
    bounded: bool,
}

impl<S: Debug> Debug for Property<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { requests, plan, copies, runs, seed, .. } = self;
        f.debug_struct("Property")
            .field("requests", requests)
            .field("bounds", &plan.bounds)
            .field("copies", copies)
            .field("runs", runs)
            .field("seed", seed)
            .finish_non_exhaustive()
    }
}

/// A property was held over so many random schedules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Passed {
    /// How many.
    pub schedules: u32,
    /// From which seed.
    pub seed: u64,
}

/// A property was held over all schedules within its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explored {
    /// How many were run to their end.
    pub schedules: u64,
    /// How many were broken off, as they differ from one of those only in the order of steps that do
    /// not touch each other.
    pub same: u64,
    /// The most steps that one had.
    pub longest: usize,
}

/// In a few words.
impl std::fmt::Display for Explored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { schedules, same, longest } = self;
        write!(f, "{schedules} schedules of up to {longest} steps; {same} more were the same but for the order")
    }
}

impl<S> Property<S>
where
    S: Strategy,
    S::Value: Clone + Debug + 'static,
{
    /// Requests drawn from a proptest strategy, `Just(request)` for a single one.
    ///
    /// By default a thousand schedules (a hundred times as many where `IDEMPOTENCY_SOAK` is set), three
    /// copies of each request, all that [`Bounds::RANDOM`] allows to go wrong, over a
    /// [`ReferenceStore`]; a request has ten minutes of simulated time.
    pub fn of(requests: S) -> Self {
        let plan = Plan {
            make_store: Arc::new(|clock| Simulated::new(ReferenceStore::new(clock))),
            bounds: Bounds::RANDOM,
            rule: EffectRule::default(),
            within: Duration::from_secs(600),
            exchanges: true,
        };
        Self {
            requests,
            plan,
            copies: 3,
            different: 2,
            runs: seed::soaked(1000, 100),
            seed: None,
            every_order: false,
            effects: true,
            bounded: false,
        }
    }

    /// Sets how many times each request is sent, 1 to 20, beside the last one when all is quiet.
    pub fn copies(self, copies: usize) -> Self {
        Self { copies: copies.clamp(1, 20), ..self }
    }

    /// Sends a single request, and its copies, in a run: faster, and simpler to look at.
    pub fn one_request(self) -> Self {
        Self { different: 1, ..self }
    }

    /// Sets how many random schedules are tried.
    pub fn runs(self, runs: u32) -> Self {
        Self { runs, ..self }
    }

    /// Sets what may go wrong.
    pub fn bounds(mut self, bounds: Bounds) -> Self {
        self.plan.bounds = bounds;
        self.bounded = true;
        self
    }

    /// Holds the service to at most one effect a key, whatever happens: for *refuse*, and for *reconcile*
    /// with a look that bars earlier attempts.
    pub fn at_most_once(mut self) -> Self {
        self.plan.rule = EffectRule::AtMostOnce;
        self
    }

    /// Sets how long a request may take, in simulated time.
    pub fn within(mut self, limit: Duration) -> Self {
        self.plan.within = limit.min(LONGEST);
        self
    }

    /// Sets the store that is simulated, made anew for each run, on the run's clock.
    pub fn on_store(mut self, make: impl Fn(SimClock) -> Simulated + Send + Sync + 'static) -> Self {
        self.plan.make_store = Arc::new(make);
        self
    }

    /// Sets the seed of the random schedules; otherwise `IDEMPOTENCY_SEED`, or a new one.
    pub fn seed(self, seed: u64) -> Self {
        Self { seed: Some(seed), ..self }
    }

    /// For services that have no effects in [`World::effects`]: what is held to is the rest. Otherwise a
    /// search in which no effect was ever had is a failure, as it has shown nothing.
    pub fn without_effects(self) -> Self {
        Self { effects: false, ..self }
    }

    /// Has an exploration run every order of steps, even where two steps do not touch each other: for
    /// services whose copies share something beside the world. It takes many times as long.
    pub fn every_order(self) -> Self {
        Self { every_order: true, ..self }
    }

    /// Tries random schedules.
    ///
    /// # Panics
    /// Where one breaks the property, with a report of the shortest that was found.
    #[track_caller]
    pub fn check<F, Fut, T, E>(self, service: F)
    where
        F: Fn(World, S::Value) -> Fut,
        Fut: Future<Output = Result<T, E>> + 'static,
        T: Debug,
        E: Debug,
    {
        if let Err(failure) = self.try_check(service) {
            panic!("{}", failure.report());
        }
    }

    /// As [`Property::check`], without the panic.
    ///
    /// # Errors
    /// [`Failure`], with the shortest schedule that was found.
    pub fn try_check<F, Fut, T, E>(self, service: F) -> Result<Passed, Box<Failure>>
    where
        F: Fn(World, S::Value) -> Fut,
        Fut: Future<Output = Result<T, E>> + 'static,
        T: Debug,
        E: Debug,
    {
        let seed = self.seed.unwrap_or_else(seed::from_environment);
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let mut runner = TestRunner::new_with_rng(Config { failure_persistence: None, ..Config::default() }, rng);
        let requests = vec(self.requests, 1..=self.different);
        let plan = self.plan;
        let sent = Sent { copies: self.copies, service: &service };
        let run = |requests: &Vec<S::Value>, source: &mut dyn Source| sent.run(&plan, requests, source, false);
        let mut had = false;
        for tried in 1..=u64::from(self.runs) {
            let drawn =
                requests.new_tree(&mut runner).and_then(|tree| Ok((tree, Wishes::any().new_tree(&mut runner)?)));
            let (mut tree, wishes) = match drawn {
                Ok((tree, wishes)) => (tree, wishes.current()),
                Err(why) => return Err(Box::new(Failure::not_drawn(seed, tried, &why.to_string()))),
            };
            let ended = run(&tree.current(), &mut Script::new(&wishes));
            had |= ended.effects > 0;
            if ended.violation.is_some() {
                let again = |requests: &Vec<S::Value>, steps: &[Event]| run(requests, &mut Replay::as_far(steps));
                let shortest = shortest(&mut tree, ended, again);
                let told = sent.run(&plan, &shortest.requests, &mut Replay::new(&shortest.ended.steps), true);
                let found = Found { seed: Some(seed), tried, requests: shortest.requests.len() };
                return Err(Box::new(Failure::new(told, &shortest.ended, found)));
            }
        }
        if self.effects && !had {
            let found = Found { seed: Some(seed), tried: u64::from(self.runs), requests: 0 };
            return Err(Box::new(Failure::nothing_had(found)));
        }
        Ok(Passed { schedules: self.runs, seed })
    }
}
