//! A checker that tries every order, every moment and every fence: slow, and plain to see right.

use idempotency_core::{Fence, Record, StoreErrorKind, Timestamp};
use idempotency_testkit::history::{History, Recorded};
use idempotency_testkit::{Answer, Call};

/// What is kept, and the latest that the store's clock has shown: what expired by then may be gone.
#[derive(Clone, PartialEq, Eq)]
struct Kept {
    record: Option<Record>,
    clock: Timestamp,
}

impl Kept {
    /// What a call may answer and leave at this moment.
    fn ways(&self, call: &Call, now: Timestamp, fence: Fence) -> Vec<(Answer, Self)> {
        let gone_by = |now: Timestamp| self.record.as_ref().is_none_or(|record| record.forgotten_at() <= now);
        let mut met = Vec::new();
        met.extend((!gone_by(now)).then_some(self.record.as_ref()));
        met.extend(gone_by(now.max(self.clock)).then_some(None));
        let ways = met.into_iter().map(|record| {
            let made = call.by_the_moves(record, now, fence);
            let record = made.write.or_else(|| self.record.clone());
            let next = Self { record, clock: self.clock.max(now) };
            (made.answer, next)
        });
        ways.collect()
    }
}

/// Whether some order of the calls of each key explains their answers. Every answered call says when
/// it was carried out.
pub(crate) fn is_possible(history: &History) -> bool {
    (0..history.keys().len()).all(|key| {
        let refused = |call: &&Recorded| matches!(call.answer, Some(Err(StoreErrorKind::Unavailable)));
        let calls: Vec<&Recorded> = history.calls().iter().filter(|call| call.key == key && !refused(call)).collect();
        let mut fences: Vec<Fence> = (0..=12).map(Fence::new).collect();
        fences.reverse();
        goes_on(&Kept { record: None, clock: Timestamp::default() }, &calls, &fences)
    })
}

fn is_answered(call: &Recorded) -> bool {
    matches!(call.answer, Some(Ok(_)))
}

fn goes_on(kept: &Kept, left: &[&Recorded], fences: &[Fence]) -> bool {
    let answered = left.iter().filter(|call| is_answered(call));
    let Some(urgent) = answered.min_by_key(|call| call.answered) else { return true };
    let (Some((first_answer, _)), Some(carried_out)) = (urgent.answered, urgent.carried_out) else { return false };
    // What happens before it cannot be later on the store's clock, nor before what that has come to.
    let end = carried_out.to;
    for (at, call) in left.iter().enumerate().filter(|(_, call)| call.sent < first_answer) {
        let rest: Vec<&Recorded> = left[..at].iter().chain(&left[at + 1..]).copied().collect();
        if let Some(Ok(answer)) = &call.answer {
            let now = call.carried_out.unwrap().from;
            let fence = answer.granted().map_or(Fence::default(), |grant| grant.lock.fence);
            let ways = kept.ways(&call.call, now, fence).into_iter();
            if ways.filter(|(given, _)| given == answer).any(|(_, next)| goes_on(&next, &rest, fences)) {
                return true;
            }
            continue;
        }
        let mut tried: Vec<Kept> = Vec::new();
        let given = if matches!(call.call, Call::Acquire(_)) { fences } else { &fences[..1] };
        for now in call.sent_at.max(kept.clock).as_micros()..=end.as_micros() {
            for fence in given {
                for (_, mut next) in kept.ways(&call.call, Timestamp::from_micros(now), *fence) {
                    next.clock = kept.clock;
                    if next.record != kept.record && !tried.contains(&next) {
                        if goes_on(&next, &rest, fences) {
                            return true;
                        }
                        tried.push(next);
                    }
                }
            }
        }
    }
    false
}
