//! What is told of a schedule that breaks a rule.

use std::path::PathBuf;
use std::{fmt, io, thread};

use super::event::{Event, Schedule};
use super::referee::Violation;
use super::run::Ended;
use super::trace::Trace;
use crate::rule::Rule;
use crate::{picture, seed};

/// A schedule that breaks a property: its text, and what an `unwrap` shows of it, is a report for people.
#[derive(Clone)]
#[non_exhaustive]
pub struct Failure {
    /// What is broken.
    pub violation: Violation,
    /// What happened, step by step.
    pub trace: Trace,
    /// The steps, to run again.
    pub schedule: Schedule,
    /// The seed of the random schedules; `None` where all were explored, or one was replayed.
    pub seed: Option<u64>,
    /// How many schedules were tried until one broke.
    pub tried: u64,
    /// The different requests, as their `Debug` shows them.
    pub requests: Vec<String>,
}

/// How a schedule was found.
pub(super) struct Found {
    pub(super) seed: Option<u64>,
    pub(super) tried: u64,
    /// How many different requests there were.
    pub(super) requests: usize,
}

impl Failure {
    pub(super) fn new(told: Ended, ended: &Ended, Found { seed, tried, requests }: Found) -> Self {
        let untold = || {
            Violation {
            rule: Rule::RowsAreAnswered,
            what: "a schedule failed once, and not when it was run again: the service does something that the schedule does not rule, such as an unbiased `select!`, a thread of its own, or a random choice".into(),
        }
        };
        let violation = told.violation.or_else(|| ended.violation.clone()).unwrap_or_else(untold);
        let mut trace = told.trace.unwrap_or_default();
        trace.broken = Some(violation.clone());
        let requests = trace.requests.iter().take(requests).cloned().collect();
        Self { violation, trace, schedule: Schedule(told.steps), seed, tried, requests }
    }

    /// Draws what happened as `NAME.svg` in the folder `idempotency` of cargo's target folder; where to, is
    /// given back. See [`picture::write`].
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn draw(&self, name: &str) -> io::Result<PathBuf> {
        picture::write(&self.trace, name)
    }

    /// Draws it under the name of the test that runs, and gives the whole report.
    pub(super) fn report(&self) -> String {
        let test = thread::current().name().unwrap_or("schedule").to_owned();
        match self.draw(&test) {
            Ok(path) => format!("{self}\ndrawn in:                {}", path.display()),
            Err(error) => format!("{self}\nit could not be drawn:   {error}"),
        }
    }

    pub(super) fn nothing_had(found: Found) -> Self {
        let ended = || Ended { steps: Vec::new(), violation: None, trace: None, effects: 0 };
        let mut failure = Self::new(ended(), &ended(), found);
        failure.violation = Violation {
            rule: Rule::OneEffect,
            what: "no schedule had any effect, so nothing was shown: does the service have its effects in `world.effects()`? \
                   One that has none is checked `.without_effects()`"
                .into(),
        };
        failure.trace.broken = None;
        failure
    }

    pub(super) fn not_drawn(seed: u64, tried: u64, why: &str) -> Self {
        let ended = || Ended { steps: Vec::new(), violation: None, trace: None, effects: 0 };
        let mut failure = Self::new(ended(), &ended(), Found { seed: Some(seed), tried, requests: 0 });
        failure.violation.what = format!("no requests could be drawn from the strategy: {why}");
        failure.trace.broken = None;
        failure
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violation { rule, what } = &self.violation;
        if self.schedule.0.is_empty() {
            return write!(f, "nothing was shown of the service, after {} tries: {what}", self.tried);
        }
        writeln!(f, "a schedule breaks the rule \"{rule}\": {}", rule.promise())?;
        for line in what.lines() {
            writeln!(f, "  {line}")?;
        }
        writeln!(f, "\n{}", picture::text(&self.trace))?;
        match self.seed {
            Some(seed) => {
                writeln!(
                    f,
                    "found as number {} of the random schedules, then made as short as it could be",
                    self.tried
                )?;
                writeln!(f, "the whole search again:  {}={seed} cargo test …", seed::SEED)?;
            }
            None => writeln!(f, "found as schedule number {}, then made as short as it could be", self.tried)?,
        }
        let (steps, requests) = (self.schedule.0.len(), self.requests.join(", "));
        write!(f, "these {steps} steps again:     property.replay(&[{requests}], \"{}\", service)", self.schedule)
    }
}

/// As it is displayed, so that an `unwrap` in a test tells what happened.
impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Failure {}

/// A schedule that was written down, and does not fit any more.
pub(super) struct Misfit<'a> {
    pub(super) steps: &'a [Event],
    pub(super) at: usize,
    pub(super) enabled: Vec<Event>,
}

impl fmt::Display for Misfit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { steps, at, enabled } = self;
        write!(f, "the schedule no longer fits the service: its step {}, `{}`, cannot happen. ", at + 1, steps[*at])?;
        write!(f, "What can: {}", Schedule(enabled.clone()))
    }
}
