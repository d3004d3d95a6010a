//! Calls that were made at once must have been carried out in some order.

use std::cmp::Reverse;
use std::time::Duration;

use idempotency_core::Acquired;

use crate::belief::{Belief, Window};
use crate::call::{Answer, Call};
use crate::rule::Broken;

type Made = (Call, Window, Answer);

/// Orders are tried up to so many calls in all: a bound for stores that are broken.
const TRIES: u32 = 50_000;

struct Search<'a> {
    /// In the order in which they are tried first.
    calls: Vec<&'a Made>,
    last: &'a Made,
    tries: u32,
    /// The answer that did not fit after the longest order that did.
    longest: Option<(usize, Box<Broken>)>,
}

/// Looks for an order of `calls` that gives their answers, with `last` after all of them; and what is
/// kept after it.
///
/// # Errors
/// The first answer that does not fit, after the longest order of others that do.
pub(super) fn in_some_order(belief: &Belief, calls: &[Made], last: &Made) -> Result<Belief, Box<Broken>> {
    let mut calls: Vec<&Made> = calls.iter().collect();
    // The more of a lease is left, the earlier the call was carried out. Tried in any other order, a dozen
    // such answers have thousands of orders that fail late.
    calls.sort_by_key(|(_, _, answer)| Reverse(left(answer)));
    let mut done = vec![false; calls.len()];
    let mut search = Search { calls, last, tries: 0, longest: None };
    if let Some(after) = search.go(belief, &mut done, 0) {
        return Ok(after);
    }
    match search.longest {
        Some((_, broken)) => Err(broken),
        // Only where nothing was tried at all, which a search always does.
        None => Ok(belief.clone()),
    }
}

/// What an answer says is left of a lease; of those that do not say, as if all of it were.
fn left(answer: &Answer) -> Duration {
    match answer {
        Answer::Acquired(Acquired::InProgress { remaining, .. }) => *remaining,
        Answer::Acquired(_) | Answer::Found(_) | Answer::Held(_) => Duration::MAX,
    }
}

impl Search<'_> {
    fn go(&mut self, belief: &Belief, done: &mut [bool], depth: usize) -> Option<Belief> {
        if depth == self.calls.len() {
            return self.take(belief, self.last, depth);
        }
        for number in 0..self.calls.len() {
            if done[number] || self.tries > TRIES {
                continue;
            }
            self.tries += 1;
            let Some(next) = self.take(belief, self.calls[number], depth) else { continue };
            done[number] = true;
            if let Some(after) = self.go(&next, done, depth + 1) {
                return Some(after);
            }
            done[number] = false;
        }
        None
    }

    fn take(&mut self, belief: &Belief, (call, window, answer): &Made, depth: usize) -> Option<Belief> {
        let mut next = belief.clone();
        match next.step(call, *window, answer) {
            Ok(()) => Some(next),
            Err(broken) => {
                if self.longest.as_ref().is_none_or(|(longest, _)| depth > *longest) {
                    self.longest = Some((depth, broken));
                }
                None
            }
        }
    }
}
