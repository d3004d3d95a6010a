//! Schedules that are not drawn at random: all of them, or a chosen one.

use std::fmt::Debug;

use proptest::strategy::{Strategy, ValueTree};

use super::super::bounds::Bounds;
use super::super::event::{Event, Schedule};
use super::super::explorer::Explorer;
use super::super::failure::{Failure, Found, Misfit};
use super::super::run::Ended;
use super::super::sent::Sent;
use super::super::shrink::shortest;
use super::super::source::{Replay, Script, Wishes};
use super::super::world::World;
use super::{Explored, Property};

impl<S> Property<S>
where
    S: Strategy,
    S::Value: Clone + Debug + 'static,
{
    /// Runs **all** schedules of one request's copies within the bounds, [`Bounds::EXHAUSTIVE`] unless
    /// others were set, but for those that differ only in the order of independent steps.
    ///
    /// The copies must not share anything but the world: two steps of different clients are taken to be
    /// independent unless both reach the store, or the world outside, under the same key.
    ///
    /// # Panics
    /// With a report, where a schedule breaks the property; and where the service does something that the
    /// schedule does not rule, so that the same steps lead elsewhere.
    #[track_caller]
    pub fn explore<F, Fut, T, E>(self, request: S::Value, service: F) -> Explored
    where
        F: Fn(World, S::Value) -> Fut,
        Fut: Future<Output = Result<T, E>> + 'static,
        T: Debug,
        E: Debug,
    {
        self.try_explore(request, service).unwrap_or_else(|failure| panic!("{}", failure.report()))
    }

    /// As [`Property::explore`], without the panic.
    ///
    /// # Errors
    /// [`Failure`], with the first schedule that breaks the property, made as short as it could be.
    ///
    /// # Panics
    /// Where the same steps lead elsewhere.
    pub fn try_explore<F, Fut, T, E>(self, request: S::Value, service: F) -> Result<Explored, Box<Failure>>
    where
        F: Fn(World, S::Value) -> Fut,
        Fut: Future<Output = Result<T, E>> + 'static,
        T: Debug,
        E: Debug,
    {
        let mut plan = self.plan;
        plan.exchanges = false;
        if !self.bounded {
            plan.bounds = Bounds::EXHAUSTIVE;
        }
        let sent = Sent { copies: self.copies, service: &service };
        let requests = vec![request];
        let mut had = false;
        let mut explorer = Explorer::new(self.every_order);
        let mut explored = Explored { schedules: 0, same: 0, longest: 0 };
        loop {
            let same = explorer.same;
            let ended = sent.run(&plan, &requests, &mut explorer, false);
            if explorer.same == same {
                explored.schedules += 1;
                explored.longest = explored.longest.max(ended.steps.len());
            }
            had |= ended.effects > 0;
            let found = Found { seed: None, tried: explored.schedules, requests: 1 };
            if ended.violation.is_some() {
                // A call and its answer in one step are shorter to tell.
                plan.exchanges = true;
                let again = |requests: &Vec<S::Value>, steps: &[Event]| {
                    sent.run(&plan, requests, &mut Replay::as_far(steps), false)
                };
                let shortest = shortest(&mut Fixed(requests), ended, again);
                let told = sent.run(&plan, &shortest.requests, &mut Replay::new(&shortest.ended.steps), true);
                return Err(Box::new(Failure::new(told, &shortest.ended, found)));
            }
            if !explorer.next() {
                explored.same = explorer.same;
                if self.effects && !had {
                    return Err(Box::new(Failure::nothing_had(found)));
                }
                return Ok(explored);
            }
        }
    }

    /// Runs one random schedule: for a property test of one's own, which draws requests and
    /// [`Wishes`](crate::strategies::schedules) itself, and shrinks them.
    ///
    /// # Errors
    /// [`Failure`] where it breaks the property.
    pub fn run<F, Fut, T, E>(&self, requests: &[S::Value], wishes: &Wishes, service: F) -> Result<(), Box<Failure>>
    where
        F: Fn(World, S::Value) -> Fut,
        Fut: Future<Output = Result<T, E>> + 'static,
        T: Debug,
        E: Debug,
    {
        let sent = Sent { copies: self.copies, service: &service };
        let ended = sent.run(&self.plan, requests, &mut Script::new(wishes), false);
        if ended.violation.is_none() {
            return Ok(());
        }
        let told = sent.run(&self.plan, requests, &mut Replay::new(&ended.steps), true);
        Err(Box::new(Failure::new(told, &ended, Found { seed: None, tried: 1, requests: requests.len() })))
    }

    /// Runs one schedule again, as a failure printed it.
    ///
    /// # Panics
    /// With a report, where it still breaks the property; and where the schedule is none, or no longer fits
    /// the service.
    #[track_caller]
    pub fn replay<F, Fut, T, E>(self, requests: &[S::Value], schedule: &str, service: F)
    where
        F: Fn(World, S::Value) -> Fut,
        Fut: Future<Output = Result<T, E>> + 'static,
        T: Debug,
        E: Debug,
    {
        if let Err(failure) = self.try_replay(requests, schedule, service) {
            panic!("{}", failure.report());
        }
    }

    /// As [`Property::replay`], without the panic.
    ///
    /// # Errors
    /// [`Failure`] where it still breaks the property.
    ///
    /// # Panics
    /// Where the schedule is none, or no longer fits the service.
    #[track_caller]
    pub fn try_replay<F, Fut, T, E>(self, requests: &[S::Value], schedule: &str, service: F) -> Result<(), Box<Failure>>
    where
        F: Fn(World, S::Value) -> Fut,
        Fut: Future<Output = Result<T, E>> + 'static,
        T: Debug,
        E: Debug,
    {
        let Schedule(steps) = schedule.parse().unwrap_or_else(|error| panic!("{error}"));
        let sent = Sent { copies: self.copies, service: &service };
        let mut plan = self.plan;
        // A schedule of an exploration has no exchanges; then all that it may do is allowed.
        plan.exchanges = steps.iter().any(|step| matches!(step, Event::Exchange(_)));
        let mut source = Replay::new(&steps);
        let told = sent.run(&plan, requests, &mut source, true);
        if let Some((at, enabled)) = source.misfit {
            panic!("{}", Misfit { steps: &steps, at, enabled });
        }
        match told.violation {
            None => Ok(()),
            Some(_) => {
                let ended =
                    Ended { steps: told.steps.clone(), violation: told.violation.clone(), trace: None, effects: 0 };
                Err(Box::new(Failure::new(told, &ended, Found { seed: None, tried: 1, requests: requests.len() })))
            }
        }
    }
}

/// Requests that are what they are, however much shorter the schedule becomes.
struct Fixed<R>(Vec<R>);

impl<R: Clone + Debug> ValueTree for Fixed<R> {
    type Value = Vec<R>;

    fn current(&self) -> Vec<R> {
        self.0.clone()
    }

    fn simplify(&mut self) -> bool {
        false
    }

    fn complicate(&mut self) -> bool {
        false
    }
}
