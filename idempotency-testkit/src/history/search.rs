//! The search for an order that explains the answers of one key.

use idempotency_core::{Acquired, Claim, Fence, Held, Lock, Prior, Timestamp};

use super::alike::{are_alike, asked_before};
use super::attempts::Attempts;
use super::fences::{Fences, Told};
use super::list::{HEAD, List, Node};
use super::memo::{Memo, number};
use crate::belief::{Belief, Fit, Window};
use crate::call::{Answer, Call};

/// One call of the key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Op<'h> {
    /// Its place in the history.
    pub(super) index: usize,
    pub(super) call: &'h Call,
    /// `None` where it may have happened or not.
    pub(super) answer: Option<&'h Answer>,
    /// When it was carried out; for one without an answer, only the beginning counts.
    pub(super) window: Window,
    pub(super) sent: u32,
    pub(super) answered: u32,
}

impl Op<'_> {
    /// The attempt that the answer tells of, with its lock, and the unknown one that it tells of.
    pub(super) fn told(&self) -> (Option<(u32, Lock)>, Option<Prior>) {
        match self.answer {
            Some(Answer::Found(Some(found)) | Answer::Acquired(Acquired::Completed(found))) => {
                (Some((found.record.attempt, found.record.lock)), found.record.prior)
            }
            Some(Answer::Acquired(Acquired::Acquired(grant))) => (Some((grant.attempt, grant.lock)), grant.prior),
            Some(Answer::Acquired(Acquired::Unknown { prior, .. })) => (None, Some(*prior)),
            Some(
                Answer::Found(None)
                | Answer::Acquired(Acquired::InProgress { .. } | Acquired::Mismatch | Acquired::Ended)
                | Answer::Held(_),
            )
            | None => (None, None),
        }
    }
}

/// What came of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Order,
    /// No order: the search never got past this event.
    Nothing {
        event: u32,
    },
    GaveUp,
}

/// The best that could be done, where there is no order.
#[derive(Clone, Debug)]
pub(super) struct Blocked {
    pub(super) op: usize,
    pub(super) order: Vec<usize>,
    pub(super) belief: Belief,
}

/// Where the search looks for its next call, in this order.
#[derive(Debug)]
enum Stage {
    /// The one that nothing later can be placed without.
    Urgent,
    /// The others that are answered, after this node.
    Answered(u32),
    /// Those without an answer, with what each would leave.
    Unanswered(Vec<(u32, Belief)>),
    /// Nowhere: the search was here before, or cannot come to an answer any more.
    Nowhere,
}

#[derive(Debug)]
struct Frame {
    belief: Belief,
    /// What the calls placed have seen of the store's clock: it has come to `from` for sure, and to `to`
    /// perhaps.
    clock: Window,
    /// How many calls were placed when this began.
    begun: usize,
    stage: Stage,
}

pub(super) struct Search<'a, 'h> {
    ops: &'a [Op<'h>],
    unanswered: Vec<u32>,
    /// For each of those, the one before it that it repeats.
    repeated: Vec<Option<usize>>,
    fences: Fences,
    attempts: Attempts,
    list: List,
    left: usize,
    order: Vec<u32>,
    frames: Vec<Frame>,
    memo: Memo,
    placed: u128,
    used: Vec<u64>,
    furthest: u32,
    pub(super) steps: usize,
    limit: usize,
    /// The event whose call is to be explained, once it is known that it cannot be placed.
    explain: Option<u32>,
    pub(super) blocked: Option<Blocked>,
}

impl<'a, 'h> Search<'a, 'h> {
    pub(super) fn new(ops: &'a [Op<'h>], limit: usize, explain: Option<u32>) -> Self {
        let numbered = || (0..).zip(ops);
        let answered = numbered().filter(|(_, op)| op.answer.is_some());
        let unanswered: Vec<u32> = numbered().filter(|(_, op)| op.answer.is_none()).map(|(at, _)| at).collect();
        Self {
            list: List::new(ops.len(), answered.map(|(at, op)| (at, op.sent, op.answered))),
            left: ops.len() - unanswered.len(),
            fences: if unanswered.is_empty() { Fences::default() } else { Fences::told(ops) },
            attempts: if unanswered.is_empty() { Attempts::default() } else { Attempts::told(ops, explain) },
            repeated: asked_before(ops, &unanswered),
            used: vec![0; unanswered.len().div_ceil(64)],
            order: Vec::with_capacity(ops.len()),
            frames: Vec::with_capacity(16),
            memo: Memo::default(),
            placed: 0,
            furthest: 0,
            steps: 0,
            blocked: None,
            ops,
            unanswered,
            limit,
            explain,
        }
    }

    pub(super) fn run(&mut self) -> Found {
        self.enter(Belief::default(), Window::at(Timestamp::default()));
        while self.left > 0 {
            if self.steps > self.limit {
                return Found::GaveUp;
            }
            if let Some((op, belief)) = self.choose() {
                let clock = self.frames.last().map_or(Window::at(Timestamp::default()), |frame| frame.clock);
                let placed = &self.ops[op as usize];
                let clock = shown(clock, placed);
                self.place(op);
                self.enter(belief, clock);
            } else if !self.leave() {
                return Found::Nothing { event: self.furthest };
            }
        }
        Found::Order
    }

    /// Goes on from what a call left.
    fn enter(&mut self, mut belief: Belief, mut clock: Window) {
        let begun = self.order.len();
        let mut may_be = belief.record().is_none_or(|record| self.attempts.may_include(record));
        // Whatever changes nothing, and has the right answer now, may as well happen now: what could be
        // placed after it can be placed so still.
        let mut at = HEAD;
        while may_be && let Some((node, Node::Sent(call))) = self.list.after(at) {
            let op = &self.ops[call as usize];
            self.steps += 1;
            may_be = self.explain == Some(op.answered)
                || belief.record().is_none_or(|record| self.attempts.may_come_before(record, op));
            if op.answer.is_some_and(|answer| {
                never_changes(answer) && matches!(belief.fit(op.call, op.window, answer), Fit::Same)
            }) {
                clock = shown(clock, op);
                self.place(call);
            } else {
                at = node;
            }
        }
        // What has expired by a clock that was seen may be gone, even if the clock went back since; and
        // a call that was placed early has shown as much.
        belief.pass(clock.to);
        let goes_on = may_be && !self.memo.knows(self.placed, &belief, &self.used);
        let stage = if goes_on { Stage::Urgent } else { Stage::Nowhere };
        if goes_on && let Some(urgent) = self.list.most_urgent() {
            self.furthest = self.furthest.max(self.ops[urgent as usize].answered);
            if self.explain == Some(self.ops[urgent as usize].answered) {
                self.explain(urgent, &belief);
            }
        }
        self.frames.push(Frame { belief, clock, begun, stage });
    }

    /// Gives up where it stands, and goes back to where the last choice was made.
    fn leave(&mut self) -> bool {
        let Some(frame) = self.frames.pop() else { return false };
        if !matches!(frame.stage, Stage::Nowhere) {
            self.memo.learn(self.placed, frame.belief, &self.used);
        }
        // What was placed on entering, and the call that led here.
        let keep = frame.begun.saturating_sub(1);
        while self.order.len() > keep {
            if let Some(call) = self.order.pop() {
                self.put_back(call);
            }
        }
        !self.frames.is_empty()
    }

    fn choose(&mut self) -> Option<(u32, Belief)> {
        let urgent = self.list.most_urgent()?;
        loop {
            let frame = self.frames.last_mut()?;
            match &mut frame.stage {
                Stage::Nowhere => return None,
                Stage::Urgent => {
                    frame.stage = Stage::Answered(HEAD);
                    self.steps += 1;
                    if let Some(next) = left_by(&self.ops[urgent as usize], &frame.belief) {
                        return Some((urgent, next));
                    }
                }
                Stage::Answered(at) => match self.list.after(*at) {
                    Some((node, Node::Sent(call))) => {
                        *at = node;
                        if call != urgent {
                            self.steps += 1;
                            if let Some(next) = left_by(&self.ops[call as usize], &frame.belief) {
                                return Some((call, next));
                            }
                        }
                    }
                    Some((_, Node::Answered(_))) | None => {
                        let mut ways = self.ways(urgent);
                        ways.reverse();
                        self.frames.last_mut()?.stage = Stage::Unanswered(ways);
                    }
                },
                Stage::Unanswered(ways) => return ways.pop(),
            }
        }
    }

    /// What each unanswered call would leave, had it been carried out now.
    fn ways(&mut self, urgent: u32) -> Vec<(u32, Belief)> {
        let Some(frame) = self.frames.last() else { return Vec::new() };
        let urgent = &self.ops[urgent as usize];
        let mut ways = Vec::new();
        let mut alike: Vec<(&Claim, Timestamp)> = Vec::new();
        for (bit, call) in self.unanswered.iter().enumerate() {
            let op = &self.ops[*call as usize];
            if op.sent > urgent.answered {
                break;
            }
            if self.is_used(bit) {
                continue;
            }
            // A clock that went back was further ahead when this was sent than it will be.
            let went_back = op.window.from > urgent.window.to;
            // Of those that only ask again, the first will do: it may have been carried out whenever a later
            // one may.
            if !went_back && self.repeated[bit].is_some_and(|first| !self.is_used(first)) {
                continue;
            }
            self.steps += 1;
            // Not before what the clock has come to, unless it went back.
            let came_to = Some(frame.clock.from).filter(|from| *from <= urgent.window.to).unwrap_or_default();
            let from = op.window.from.max(came_to);
            let window = Window { from, to: from.max(urgent.window.to) };
            let Call::Acquire(claim) = op.call else {
                ways.extend(
                    frame.belief.after(op.call, window, Fence::default()).into_iter().map(|next| (*call, next)),
                );
                continue;
            };
            // Of those that differ only in owners that were never heard of again, the first will do: whatever
            // may be made of another may be made of it.
            if self.fences.is_never_heard_of_again(claim.owner) {
                let from = op.window.from;
                if !went_back && alike.iter().any(|(other, since)| *since <= from && are_alike(other, claim)) {
                    continue;
                }
                alike.push((claim, from));
            }
            let begun = ways.len();
            for (told_by, fence) in self.fences.of(claim.owner, frame.belief.record()) {
                for next in frame.belief.after(op.call, window, fence) {
                    let fits = next.record().is_some_and(|record| match told_by {
                        Told::ByOwner => record.lock.fence == fence,
                        Told::AsPrior(attempt) => record.lock.fence == fence && record.attempt == attempt,
                        Told::Nowhere => true,
                    });
                    if fits && ways[begun..].iter().all(|(_, known)| *known != next) {
                        ways.push((*call, next));
                    }
                }
            }
        }
        ways
    }

    fn place(&mut self, call: u32) {
        self.order.push(call);
        if self.ops[call as usize].answer.is_some() {
            self.list.take(call);
            self.left -= 1;
            self.placed ^= number(call);
        } else {
            self.flip(call);
        }
    }

    fn put_back(&mut self, call: u32) {
        if self.ops[call as usize].answer.is_some() {
            self.list.put_back(call);
            self.left += 1;
            self.placed ^= number(call);
        } else {
            self.flip(call);
        }
    }

    fn is_used(&self, bit: usize) -> bool {
        self.used[bit / 64] & (1 << (bit % 64)) != 0
    }

    fn flip(&mut self, call: u32) {
        if let Ok(bit) = self.unanswered.binary_search(&call) {
            self.used[bit / 64] ^= 1 << (bit % 64);
        }
    }

    /// Of the ways to get to the call that cannot be placed, the likeliest is shown: the first that
    /// would be answered by the same kind of answer, else the first.
    fn explain(&mut self, urgent: u32, belief: &Belief) {
        let op = &self.ops[urgent as usize];
        let Some(answer) = op.answer else { return };
        let likely = |belief: &Belief| {
            let broken = belief.broken(op.call, op.window, answer);
            crate::belief::same_kind(&broken.expected, answer)
        };
        let better = match &self.blocked {
            None => true,
            Some(shown) => !likely(&shown.belief) && likely(belief),
        };
        if better {
            let index = |call: &u32| self.ops[*call as usize].index;
            let order = self.order.iter().map(index).collect();
            self.blocked = Some(Blocked { op: urgent as usize, order, belief: belief.clone() });
        }
    }
}

fn left_by(op: &Op<'_>, belief: &Belief) -> Option<Belief> {
    match belief.fit(op.call, op.window, op.answer?) {
        Fit::No => None,
        Fit::Same => {
            let mut same = belief.clone();
            same.pass(op.window.to);
            Some(same)
        }
        Fit::Next(next) => Some(next),
    }
}

/// What a call shows of the store's clock. One that changes nothing may be placed before its time, so
/// that it does not tell what the clock has come to.
fn shown(clock: Window, op: &Op<'_>) -> Window {
    let Some(answer) = op.answer else { return clock };
    let from = if never_changes(answer) { clock.from } else { clock.from.max(op.window.from) };
    Window { from, to: clock.to.max(op.window.to) }
}

/// Whether no move that gives this answer ever writes.
const fn never_changes(answer: &Answer) -> bool {
    !matches!(answer, Answer::Held(Held::Held) | Answer::Acquired(Acquired::Acquired(_)))
}
