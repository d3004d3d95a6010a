//! From a history to a verdict.

use idempotency_core::StoreErrorKind;

use super::events::{History, Recorded};
use super::search::{Blocked, Found, Op, Search};
use super::timing::{Timing, Windows};
use super::verdict::{GaveUp, Impossible, Verdict};
use crate::belief::{Belief, Window};

/// What was found possible.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checked {
    /// How many keys there were.
    pub keys: usize,
    /// How many calls, in all.
    pub calls: usize,
    /// How many of them had no answer, and may have been carried out or not.
    pub unanswered: usize,
    /// How many of them failed in a way that says that nothing was done.
    pub refused: usize,
    /// How many steps it took; one is an answer held against what may be kept.
    pub steps: usize,
}

/// How much longer than the search itself each look for the first impossible answer may take.
const EXPLAINING: usize = 4;

pub(super) fn check(history: &History, timing: &Timing, limit: usize) -> Result<Checked, Verdict> {
    let windows = Windows::new(timing, &history.calls);
    let mut checked = Checked { keys: history.keys.len(), calls: history.calls.len(), ..Checked::default() };
    for (at, key) in by_key(history).into_iter().enumerate() {
        let ops = ops(history, &windows, &key, &mut checked);
        let mut search = Search::new(&ops, limit, None);
        let found = search.run();
        checked.steps += search.steps;
        match found {
            Found::Order => {}
            Found::GaveUp => {
                let key = history.keys[at].clone();
                return Err(Verdict::GaveUp(Box::new(GaveUp { key, calls: ops.len(), steps: search.steps })));
            }
            Found::Nothing { event } => {
                return Err(Verdict::Impossible(Box::new(explained(
                    history,
                    &ops,
                    at,
                    event,
                    limit.min(EXPLAINING * (search.steps + 1_000)),
                ))));
            }
        }
    }
    Ok(checked)
}

/// The calls of each key, by their places in the history.
fn by_key(history: &History) -> Vec<Vec<usize>> {
    let mut keys = vec![Vec::new(); history.keys.len()];
    for (at, call) in history.calls.iter().enumerate() {
        keys[call.key].push(at);
    }
    keys
}

fn ops<'h>(history: &'h History, windows: &Windows, key: &[usize], checked: &mut Checked) -> Vec<Op<'h>> {
    let number = |event: usize| u32::try_from(event).unwrap_or(u32::MAX);
    let mut ops = Vec::with_capacity(key.len());
    for index in key {
        let recorded = &history.calls[*index];
        let answer = match &recorded.answer {
            Some(Ok(answer)) => Some(answer),
            Some(Err(kind)) if was_refused(*kind) => {
                checked.refused += 1;
                continue;
            }
            Some(Err(_)) | None => None,
        };
        checked.unanswered += usize::from(answer.is_none());
        ops.push(Op {
            index: *index,
            call: &recorded.call,
            answer,
            window: window(recorded, windows),
            sent: number(recorded.sent),
            answered: recorded.answered.map_or(u32::MAX, |(event, _)| number(event)),
        });
    }
    // A look of which nobody knows what it saw says nothing.
    ops.retain(|op| op.answer.is_some() || op.call.method() != crate::call::Method::Get);
    ops
}

fn window(recorded: &Recorded, windows: &Windows) -> Window {
    let answered = recorded.answered.map_or(recorded.sent_at, |(_, at)| at);
    recorded.carried_out.unwrap_or_else(|| windows.between(recorded.sent_at, answered))
}

/// Whether an error of this kind says that nothing was done.
pub(crate) const fn was_refused(kind: StoreErrorKind) -> bool {
    matches!(kind, StoreErrorKind::Unavailable | StoreErrorKind::Full | StoreErrorKind::TooLarge)
}

/// Finds the first answer with which the history is impossible, and what would be right there.
fn explained(history: &History, ops: &[Op<'_>], key: usize, event: u32, limit: usize) -> Impossible {
    if let Some((at, begun, blocked)) = smallest(ops, event, limit) {
        return Impossible::new(history, key, (at as usize, true), &begun, &blocked);
    }
    let mut search = Search::new(ops, limit, Some(event));
    search.run();
    let nothing = || Blocked { op: 0, order: Vec::new(), belief: Belief::default() };
    let blocked = search.blocked.take().unwrap_or_else(nothing);
    Impossible::new(history, key, (event as usize, false), ops, &blocked)
}

/// The smallest number of events with which it is impossible, if that can be found without trying for
/// much longer than it took to see that the whole is.
///
/// All orders ended at `event`, and some came so far. But they all agreed with what calls were answered
/// later that ran by then; without that, it may be possible for longer.
fn smallest<'h>(ops: &[Op<'h>], event: u32, limit: usize) -> Option<(u32, Vec<Op<'h>>, Blocked)> {
    let mut ends: Vec<u32> =
        ops.iter().filter(|op| op.answer.is_some() && op.answered >= event).map(|op| op.answered).collect();
    ends.sort_unstable();
    let (mut possible, mut impossible) = (0, ends.len().checked_sub(1)?);
    while possible < impossible {
        let middle = possible.midpoint(impossible);
        match Search::new(&begun_by(ops, ends[middle]), limit, None).run() {
            Found::Order => possible = middle + 1,
            Found::Nothing { .. } => impossible = middle,
            Found::GaveUp => return None,
        }
    }
    let at = ends[impossible];
    let begun = begun_by(ops, at);
    let mut search = Search::new(&begun, limit, Some(at));
    search.run();
    let blocked = search.blocked.take()?;
    Some((at, begun, blocked))
}

/// The calls that were sent by this event, with the answers that were there by then.
fn begun_by<'h>(ops: &[Op<'h>], end: u32) -> Vec<Op<'h>> {
    let begun = ops.iter().filter(|op| op.sent < end);
    begun.map(|op| Op { answer: op.answer.filter(|_| op.answered <= end), ..*op }).collect()
}
