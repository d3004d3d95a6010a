//! What happened in a run, for people.

use std::time::Duration;

use idempotency_core::{Key, Record, Timestamp};

use super::event::{Event, Flight, Schedule};
use super::referee::Violation;
use crate::call::Method;

/// What happened in a run, step by step: what [pictures](crate::picture) are drawn from.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// How many clients there were; they are numbered from 1.
    pub clients: u8,
    /// What each client asked for, as its `Debug` shows it.
    pub requests: Vec<String>,
    /// The steps.
    pub steps: Vec<Step>,
    /// What was wrong in the end, if anything was.
    pub broken: Option<Violation>,
}

/// One step, and what came of it.
#[derive(Clone, Debug)]
pub struct Step {
    /// What the schedule decided.
    pub event: Event,
    /// When, counted from the beginning of the run.
    pub at: Duration,
    /// What it did, in words: `acquire_lock: acquired, attempt 1`.
    pub text: String,
    /// The call that it moved, if it moved one.
    pub moved: Option<Moved>,
    /// How clients went on: what they sent off next, and how their requests ended.
    pub then: Vec<(u8, Then)>,
    /// The keys, as the store has them after the step.
    pub kept: Vec<Standing>,
}

/// A call that a step moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The call, in words: `acquire_lock`, `the effect`.
    pub what: String,
    /// Where it goes, and what for.
    pub errand: Errand,
    /// The key it is about.
    pub key: Key,
    /// What it was answered, in words, where it has been: `acquired: attempt 1, fence 1`.
    pub answer: Option<String>,
}

/// Where a call goes, and what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errand {
    /// To the store.
    Store(Method),
    /// To the world outside, to have an effect.
    Effect,
    /// To the world outside, to look whether it was had.
    Look,
}

/// How a client went on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Then {
    /// It made a call, which is on its way.
    Sent(Flight, String),
    /// Its request ended so.
    Ended(Result<String, String>),
}

/// How a key stands after a step.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The key.
    pub key: Key,
    /// What is kept under it.
    pub record: Option<Record>,
    /// The store's clock.
    pub now: Timestamp,
    /// The client whose lock it is, or was.
    pub holder: Option<u8>,
    /// How often the effect of this key was had.
    pub effects: usize,
}

impl Trace {
    /// The schedule, to run again.
    #[must_use]
    pub fn schedule(&self) -> Schedule {
        Schedule(self.steps.iter().map(|step| step.event).collect())
    }
}
