//! The calls around one that cannot be placed, for people.

use std::fmt;

use idempotency_core::{Acquired, Lock};

use super::events::{History, Recorded};
use super::search::Op;
use crate::call::{Answer, Call};

/// How many of the calls placed before are shown.
const PLACED: usize = 12;
/// How many of the others that ran at the time.
const OTHERS: usize = 16;

/// The calls around one that cannot be placed, by time and client.
#[derive(Clone, Debug)]
pub(super) struct Table {
    rows: Vec<[String; 6]>,
    placed_before: usize,
    left_out: usize,
}

const TITLES: [&str; 6] = ["place", "sent", "answered", "client", "call", "answer"];

impl Table {
    /// The last calls of `order`, all that ran with `blocked`, and itself.
    pub(super) fn around(history: &History, begun: &[Op<'_>], blocked: &Op<'_>, order: &[usize]) -> Self {
        let placed_before = order.len().saturating_sub(PLACED);
        let place = |index: usize| order.iter().position(|placed| *placed == index);
        let (mut others, mut left_out) = (0, 0);
        let shown = |op: &&Op<'_>| match place(op.index) {
            Some(place) => place >= placed_before,
            None if op.index == blocked.index => true,
            None => {
                let ran = op.sent < blocked.answered && op.answered > blocked.sent;
                others += usize::from(ran);
                left_out += usize::from(ran && others > OTHERS);
                ran && others <= OTHERS
            }
        };
        let shown: Vec<&Op<'_>> = begun.iter().filter(shown).collect();
        let start = shown.first().map_or(blocked.index, |op| op.index);
        let start = history.calls[start].sent_at;
        let time = |at: idempotency_core::Timestamp| format!("+{}µs", at.since(start).as_micros());
        let rows = shown.into_iter().map(|op| {
            let recorded = &history.calls[op.index];
            let answered = op.answer.and(recorded.answered);
            [
                if op.index == blocked.index {
                    "✗".into()
                } else {
                    place(op.index).map_or_else(|| "–".into(), |place| (place + 1).to_string())
                },
                time(recorded.sent_at),
                answered.map_or_else(|| "–".into(), |(_, at)| time(at)),
                recorded.client.to_string(),
                asked(recorded),
                op.answer.map_or_else(|| "no answer".into(), told),
            ]
        });
        Self { rows: rows.collect(), placed_before, left_out }
    }
}

fn asked(recorded: &Recorded) -> String {
    match &recorded.call {
        Call::Get => "get".into(),
        Call::Acquire(claim) => format!("{} as {}", recorded.call, short(claim.owner)),
        Call::Extend(lock, _) | Call::Store(lock, ..) | Call::Release(lock, _) => {
            format!("{} under {}", recorded.call, lock_in_words(lock))
        }
    }
}

fn told(answer: &Answer) -> String {
    match answer {
        Answer::Found(Some(found)) | Answer::Acquired(Acquired::Completed(found)) => {
            format!("{answer}, lock {}", lock_in_words(&found.record.lock))
        }
        Answer::Found(None) | Answer::Acquired(_) | Answer::Held(_) => answer.to_string(),
    }
}

fn lock_in_words(lock: &Lock) -> String {
    format!("{}/{}", short(lock.owner), lock.fence)
}

fn short(owner: idempotency_core::Owner) -> String {
    let whole = owner.to_string();
    let short = whole.trim_start_matches('0');
    short.get(..6).unwrap_or(short).into()
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.placed_before > 0 {
            writeln!(f, "  … {} calls placed before these", self.placed_before)?;
        }
        let titles = TITLES.map(String::from);
        let mut widths = [0; 6];
        for row in self.rows.iter().chain([&titles]) {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for row in [&titles].into_iter().chain(&self.rows) {
            let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            writeln!(f, "  {}", cells.join("  ").trim_end())?;
        }
        if self.left_out > 0 {
            writeln!(f, "  … and {} more calls that ran then", self.left_out)?;
        }
        Ok(())
    }
}
