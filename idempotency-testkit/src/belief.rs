//! What may be kept under a key, as far as the answers so far tell.

mod times;

use std::time::Duration;

use idempotency_core::{Acquired, Fence, Held, Prior, Record, Snapshot, Timestamp};

use times::{MICRO, earlier, lies_between, moved, outlasting, pick_times, prior_lies_between, timeless, turns};

use crate::call::{Answer, Call};
use crate::rule::Broken;

/// When a call was carried out on the store's clock: at some moment from `from` to `to`, both
/// included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The earliest moment.
    pub from: Timestamp,
    /// The latest.
    pub to: Timestamp,
}

impl Window {
    /// Exactly then.
    #[must_use]
    pub const fn at(now: Timestamp) -> Self {
        Self { from: now, to: now }
    }

    /// Wider by so much on both sides, where two clocks are compared or times are rounded.
    #[must_use]
    pub fn widened(self, by: Duration) -> Self {
        Self { from: earlier(self.from, by), to: self.to.plus(by) }
    }
}

/// What may be kept under one key, as far as the answers so far tell: one record, whose times are
/// known exactly or within bounds.
///
/// A store in process, on a clock that the test holds, is believed exactly. A server is asked at a
/// moment that is known only to lie between sending and being answered; then the record is kept
/// twice, with the earliest and the latest times that it may have, and an answer is right if some
/// moment and some times in between give it. The answers themselves are the
/// [moves](idempotency_core::moves)', by [`Call::by_the_moves`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Belief {
    /// The record with the earliest times it may have.
    early: Option<Box<Record>>,
    /// The same with the latest; `None` where they are known exactly.
    late: Option<Box<Record>>,
    /// Whether the store may have dropped it, as its time had come once.
    may_be_gone: bool,
}

/// Whether an answer is right, and what it leaves.
#[derive(Debug)]
pub(crate) enum Fit {
    /// No moment and no times within the bounds give it.
    No,
    /// It is right, and tells nothing new; but time [passes](Belief::pass).
    Same,
    /// It is right, and this is what is kept then.
    Next(Belief),
}

/// One way in which a call may have met the key.
struct Meeting {
    early: Option<Record>,
    at_earliest: Timestamp,
    late: Option<Record>,
    at_latest: Timestamp,
}

impl Belief {
    /// Takes in a call and its answer.
    ///
    /// # Errors
    /// [`Broken`], with the rule that the answer breaks; what is believed stays as it was.
    pub fn step(&mut self, call: &Call, window: Window, found: &Answer) -> Result<(), Box<Broken>> {
        match self.fit(call, window, found) {
            Fit::No => {
                self.pass(window.to);
                return Err(Box::new(self.broken(call, window, found)));
            }
            Fit::Same => self.pass(window.to),
            Fit::Next(next) => *self = next,
        }
        Ok(())
    }

    /// Holds an answer against what is believed, and leaves that as it is.
    pub(crate) fn fit(&self, call: &Call, window: Window, found: &Answer) -> Fit {
        if !self.may_fit(call, found) {
            return Fit::No;
        }
        let fence = fence_of(found);
        if window.from == window.to && self.late.is_none() {
            return self.fit_exactly(call, window.from, fence, found);
        }
        let meetings = self.meetings(window);
        let (ways, mut fitting, mut changed) = (meetings.len(), 0, false);
        let mut hull: Option<(Record, Record)> = None;
        for meeting in meetings {
            let mut earliest = call.by_the_moves(meeting.early.as_ref(), meeting.at_earliest, fence);
            let latest = call.by_the_moves(meeting.late.as_ref(), meeting.at_latest, fence);
            self.lower_answer(&mut earliest.answer);
            if !fits(&earliest.answer, &latest.answer, found, &meeting, window) {
                continue;
            }
            if let Some(told) = snapshot(found) {
                // It tells the times exactly.
                return match (self.early.as_deref(), &self.late) {
                    (Some(early), None) if *early == told.record => Fit::Same,
                    _ => self.next(told.record.clone(), None, false, window.to),
                };
            }
            fitting += 1;
            changed |= earliest.write.is_some();
            let (Some(mut early), Some(late)) = (earliest.write.or(meeting.early), latest.write.or(meeting.late))
            else {
                continue;
            };
            self.lower(&mut early.prior);
            // Where the answer fits in several phases, nobody knows which it was: all of them are kept.
            hull = match hull {
                Some((mut first, mut last)) if timeless(&first) == timeless(&late) => {
                    pick_times(&mut first, &early, Timestamp::min);
                    pick_times(&mut last, &late, Timestamp::max);
                    Some((first, last))
                }
                Some(first) => Some(first),
                None => Some((early, late)),
            };
        }
        match hull {
            _ if fitting == 0 => Fit::No,
            Some((early, late)) if changed || fitting < ways => self.next(early, Some(late), changed, window.to),
            Some(_) | None => Fit::Same,
        }
    }

    /// The same where the moment and the times are known: the case of every simulated history.
    fn fit_exactly(&self, call: &Call, now: Timestamp, fence: Fence, found: &Answer) -> Fit {
        let kept = self.early.as_deref().filter(|record| now < record.forgotten_at());
        let met = kept.map(Some).into_iter().chain((kept.is_none() || self.may_be_gone).then_some(None));
        for record in met {
            let made = call.by_the_moves(record, now, fence);
            if made.answer == *found {
                return made.write.map_or(Fit::Same, |written| self.next(written, None, true, now));
            }
        }
        Fit::No
    }

    fn next(&self, early: Record, late: Option<Record>, changed: bool, now: Timestamp) -> Fit {
        let may_be_gone = self.may_be_gone && !changed;
        let late = late.filter(|late| *late != early).map(Box::new);
        let mut next = Self { early: Some(Box::new(early)), late, may_be_gone };
        next.pass(now);
        Fit::Next(next)
    }

    /// A quick look that spares the moves: `false` only where no meeting gives such an answer.
    fn may_fit(&self, call: &Call, found: &Answer) -> bool {
        let kept = self.early.as_deref();
        let is_kept = |told: &Record| kept.is_some_and(|record| record.lock == told.lock);
        match (call, found) {
            (Call::Extend(lock, _) | Call::Store(lock, ..) | Call::Release(lock, _), Answer::Held(Held::Held)) => {
                kept.is_some_and(|record| record.lock == *lock)
            }
            (Call::Acquire(_), Answer::Acquired(Acquired::Acquired(grant))) => {
                let before = kept.map_or(0, |record| record.attempt);
                grant.attempt == 1 || grant.attempt == before || grant.attempt == before.saturating_add(1)
            }
            (Call::Acquire(_), Answer::Acquired(Acquired::InProgress { attempt, .. })) => {
                kept.is_some_and(|record| record.attempt == *attempt)
            }
            (Call::Acquire(_), Answer::Acquired(Acquired::Completed(told))) => is_kept(&told.record),
            (Call::Get, Answer::Found(Some(told))) => is_kept(&told.record),
            _ => true,
        }
    }

    /// Which rule an answer breaks that does not fit, and what the contract answers.
    pub(crate) fn broken(&self, call: &Call, window: Window, found: &Answer) -> Broken {
        let mut expected: Option<(Answer, Timestamp)> = None;
        for meeting in self.meetings(window) {
            let made = call.by_the_moves(meeting.early.as_ref(), meeting.at_earliest, fence_of(found));
            // Of several meetings, the likeliest is shown: one that gives the same kind of answer.
            let likelier = expected.as_ref().is_none_or(|(shown, _)| !same_kind(shown, found));
            if expected.is_none() || (likelier && same_kind(&made.answer, found)) {
                expected = Some((made.answer, meeting.at_earliest));
            }
        }
        let (answer, now) = expected.unwrap_or((Answer::Found(None), window.from));
        Broken::new(call, now, self.early.as_deref(), answer, found)
    }

    /// Takes in a call of which nobody knows when, or whether, it was carried out: as if it was, then.
    #[must_use]
    pub fn after(&self, call: &Call, window: Window, fence: Fence) -> Vec<Self> {
        let meetings = self.meetings(window).into_iter();
        let mut after: Vec<Self> = meetings
            .filter_map(|meeting| {
                let mut early = call.by_the_moves(meeting.early.as_ref(), meeting.at_earliest, fence).write?;
                self.lower(&mut early.prior);
                let late = call.by_the_moves(meeting.late.as_ref(), meeting.at_latest, fence).write?;
                let late = (late != early).then(|| Box::new(late));
                Some(Self { early: Some(Box::new(early)), late, may_be_gone: false })
            })
            .collect();
        after.dedup();
        after
    }

    /// Takes in that the store's clock has shown this time: what expired by then may be gone.
    pub fn pass(&mut self, now: Timestamp) {
        self.may_be_gone |= self.early.as_ref().is_some_and(|record| record.forgotten_at() <= now);
    }

    /// The record as it is kept, expired or not, with its earliest times.
    #[must_use]
    pub fn record(&self) -> Option<&Record> {
        self.early.as_deref()
    }

    /// What [`outlasting`] raised is a lower bound again.
    fn lower(&self, prior: &mut Option<Prior>) {
        if let (Some(prior), Some(kept)) = (prior, self.early.as_ref().and_then(|early| early.prior))
            && prior.attempt == kept.attempt
        {
            prior.remembered_until = prior.remembered_until.min(kept.remembered_until);
        }
    }

    fn lower_answer(&self, answer: &mut Answer) {
        match answer {
            Answer::Found(Some(found)) => self.lower(&mut found.record.prior),
            Answer::Acquired(Acquired::Acquired(grant)) => self.lower(&mut grant.prior),
            Answer::Acquired(Acquired::Completed(found)) => self.lower(&mut found.record.prior),
            Answer::Acquired(Acquired::Unknown { prior, .. }) => {
                let mut lowered = Some(*prior);
                self.lower(&mut lowered);
                *prior = lowered.unwrap_or(*prior);
            }
            Answer::Found(None) | Answer::Acquired(_) | Answer::Held(_) => {}
        }
    }

    /// The ways in which a call within `window` may meet the key: one for each phase that it can be in.
    fn meetings(&self, window: Window) -> Vec<Meeting> {
        let absent = || Meeting { early: None, at_earliest: window.from, late: None, at_latest: window.to };
        let Some(early) = &self.early else { return vec![absent()] };
        let late = self.late.as_ref().unwrap_or(early);
        let (first, last) = (turns(early), turns(late));
        let mut meetings = Vec::with_capacity(2);
        for phase in 0..first.len() {
            let began_by = phase.checked_sub(1).map_or(Timestamp::default(), |before| first[before]);
            if began_by > window.to || window.from >= last[phase] {
                continue;
            }
            // Met in this phase, it cannot have left it before, nor entered it later.
            let early = outlasting(early, first[phase], first[phase].max(window.from.plus(MICRO)));
            let entered = phase.checked_sub(1).map(|before| (last[before], last[before].min(window.to)));
            let late = entered.map_or_else(|| (**late).clone(), |(from, to)| moved(late, from, to));
            let until = turns(&late)[phase];
            meetings.push(Meeting {
                early: Some(early),
                at_earliest: began_by.max(window.from),
                at_latest: window.to.min(earlier(until, MICRO)),
                late: Some(late),
            });
        }
        let forgotten = first.last().is_some_and(|forgotten| *forgotten <= window.to);
        if forgotten || self.may_be_gone {
            meetings.push(absent());
        }
        meetings
    }
}

fn fence_of(found: &Answer) -> Fence {
    found.granted().map_or(Fence::default(), |grant| grant.lock.fence)
}

/// Whether two answers are the same row of the contract's tables.
pub(crate) fn same_kind(one: &Answer, other: &Answer) -> bool {
    match (one, other) {
        (Answer::Acquired(one), Answer::Acquired(other)) => {
            std::mem::discriminant(one) == std::mem::discriminant(other)
        }
        (Answer::Held(one), Answer::Held(other)) => one == other,
        (Answer::Found(one), Answer::Found(other)) => one.is_some() == other.is_some(),
        _ => false,
    }
}

fn snapshot(answer: &Answer) -> Option<&Snapshot> {
    match answer {
        Answer::Found(Some(found)) | Answer::Acquired(Acquired::Completed(found)) => Some(found),
        Answer::Found(None) | Answer::Acquired(_) | Answer::Held(_) => None,
    }
}

fn fits(earliest: &Answer, latest: &Answer, found: &Answer, meeting: &Meeting, window: Window) -> bool {
    if let (Some(early), Some(late), Some(found)) = (snapshot(earliest), snapshot(latest), snapshot(found)) {
        return (window.from..=window.to).contains(&found.now)
            && lies_between(&early.record, &found.record, &late.record);
    }
    match (earliest, latest, found) {
        (
            Answer::Acquired(Acquired::Acquired(early)),
            Answer::Acquired(Acquired::Acquired(late)),
            Answer::Acquired(Acquired::Acquired(found)),
        ) => {
            (early.lock, early.attempt) == (found.lock, found.attempt)
                && prior_lies_between(early.prior.as_ref(), found.prior.as_ref(), late.prior.as_ref())
        }
        (
            Answer::Acquired(Acquired::InProgress { attempt: early, .. }),
            _,
            Answer::Acquired(Acquired::InProgress { attempt, remaining }),
        ) => {
            let lease =
                |record: &Option<Record>| record.as_ref().map_or(Timestamp::default(), |record| turns(record)[0]);
            let shortest = window.to.until(lease(&meeting.early));
            let longest = window.from.until(lease(&meeting.late));
            early == attempt && (shortest..=longest).contains(remaining)
        }
        (
            Answer::Acquired(Acquired::Unknown { prior: early, on_unknown: policy }),
            Answer::Acquired(Acquired::Unknown { prior: late, .. }),
            Answer::Acquired(Acquired::Unknown { prior: found, on_unknown }),
        ) => policy == on_unknown && prior_lies_between(Some(early), Some(found), Some(late)),
        _ => earliest == found,
    }
}
