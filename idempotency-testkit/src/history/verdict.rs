//! What is told of a history that was not shown to be possible.

use std::fmt;

use idempotency_core::Key;

use super::events::{History, Recorded};
use super::search::{Blocked, Op};
use super::table::Table;
use crate::rule::{Broken, Rule};

/// Why a history was not found possible.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// No order of the calls explains the answers: the store broke its contract.
    Impossible(Box<Impossible>),
    /// No order was found within the limit of steps. That is neither a pass nor a failure.
    GaveUp(Box<GaveUp>),
}

impl Verdict {
    /// Why the history is impossible, if it was shown to be.
    #[must_use]
    pub fn impossible(&self) -> Option<&Impossible> {
        match self {
            Self::Impossible(impossible) => Some(impossible),
            Self::GaveUp(_) => None,
        }
    }
}

/// The search went on for too long.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GaveUp {
    /// On which key.
    pub key: Key,
    /// How many calls it has.
    pub calls: usize,
    /// After how many steps.
    pub steps: usize,
}

/// No order of the calls under a key explains the answers.
///
/// It prints all of this, with the calls around the one that cannot be placed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Impossible {
    /// Under which key.
    pub key: Key,
    /// The number of the event with which the history is impossible, among all sendings and answers
    /// from 0: without it, and all that came later, there is an order.
    pub at: usize,
    /// Whether that is so; if not, finding it would have taken too long, and `at` is the event that no
    /// order gets past, given what was answered later.
    pub is_smallest: bool,
    /// The call that was answered then, and cannot be placed.
    pub call: Recorded,
    /// An order of the calls before it that explains their answers, as indices into
    /// [`History::calls`]. Unanswered calls are in it where they must have been carried out.
    pub placed: Vec<usize>,
    /// What the answer breaks after those, and what the contract answers.
    pub broken: Broken,
    table: Table,
}

impl Impossible {
    pub(super) fn new(history: &History, key: usize, at: (usize, bool), begun: &[Op<'_>], blocked: &Blocked) -> Self {
        let op = &begun[blocked.op];
        let found = op.answer.cloned().unwrap_or(crate::call::Answer::Found(None));
        Self {
            key: history.keys[key].clone(),
            at: at.0,
            is_smallest: at.1,
            call: history.calls[op.index].clone(),
            broken: blocked.belief.broken(op.call, op.window, &found),
            table: Table::around(history, begun, op, &blocked.order),
            placed: blocked.order.clone(),
        }
    }

    /// The promise that is broken.
    #[must_use]
    pub const fn rule(&self) -> Rule {
        self.broken.rule
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Impossible(impossible) => impossible.fmt(f),
            Self::GaveUp(gave_up) => gave_up.fmt(f),
        }
    }
}

impl fmt::Display for GaveUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, calls, steps } = self;
        write!(f, "gave up on {key} after {steps} steps: {calls} calls, of which no order was found yet")
    }
}

impl fmt::Display for Impossible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "no order of the calls under {} explains their answers", self.key)?;
        writeln!(f, "{}", self.broken)?;
        writeln!(f, "  by        {}, whose answer is event {}", self.call.client, self.at)?;
        writeln!(f, "  before it {} calls could be placed", self.placed.len())?;
        write!(f, "{}", self.table)
    }
}

impl std::error::Error for Verdict {}
impl std::error::Error for Impossible {}
impl std::error::Error for GaveUp {}
