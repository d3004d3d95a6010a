//! What acknowledged answers were forgotten, as a history tells.

use std::collections::{HashMap, HashSet};

use idempotency_core::{Acquired, Effect, Grant, Held, Lock, State};
use idempotency_testkit::history::{History, Recorded};
use idempotency_testkit::{Answer, Call};

use idempotency_testkit::processes::Program;

/// Counts over a history at whose end every key was read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Losses {
    /// Results whose storing was acknowledged.
    pub(crate) results: usize,
    /// Those of them that were not there in the end.
    pub(crate) lost: usize,
    /// Locks that were acknowledged.
    pub(crate) runs: usize,
    /// Those of them that were told of no attempt before them, though another lock of the key had been
    /// acknowledged, which nobody had asked to release.
    pub(crate) unannounced: usize,
}

impl Losses {
    pub(crate) fn of(history: &History) -> Self {
        let mut by_key: HashMap<usize, Vec<&Recorded>> = HashMap::new();
        for call in history.calls() {
            by_key.entry(call.key).or_default().push(call);
        }
        let mut losses = Self::default();
        by_key.values().for_each(|calls| losses.count(calls));
        losses
    }

    fn count(&mut self, calls: &[&Recorded]) {
        let last = calls.iter().rev().find_map(|call| match &call.answer {
            Some(Ok(Answer::Found(found))) => Some(found.as_ref()),
            _ => None,
        });
        let mut stored: HashSet<Lock> = HashSet::new();
        let mut granted: HashMap<Lock, &Recorded> = HashMap::new();
        for call in calls {
            match (&call.call, &call.answer) {
                (Call::Store(lock, ..), Some(Ok(Answer::Held(Held::Held)))) => {
                    stored.insert(*lock);
                }
                (_, Some(Ok(Answer::Acquired(Acquired::Acquired(Grant { lock, prior, .. }))))) => {
                    if prior.is_none() && granted.values().any(|before| is_unended(before, lock, call, calls)) {
                        self.unannounced += usize::from(!granted.contains_key(lock));
                    }
                    granted.entry(*lock).or_insert(call);
                }
                _ => {}
            }
        }
        let kept = last.flatten().map(|found| (found.record.lock, &found.record.state));
        let is_kept = |lock: &Lock| matches!(&kept, Some((by, State::Completed { .. })) if by == lock);
        self.results += stored.len();
        self.lost += stored.iter().filter(|lock| !is_kept(lock)).count();
        self.runs += granted.len();
    }
}

/// Whether a lock that was acknowledged before `call` was sent is another one than `lock`, and nobody
/// asked to free its key until `call` was answered.
fn is_unended(before: &Recorded, lock: &Lock, call: &Recorded, calls: &[&Recorded]) -> bool {
    let Some(Ok(Answer::Acquired(Acquired::Acquired(Grant { lock: earlier, .. })))) = &before.answer else {
        return false;
    };
    let was_freed = |by: &&Recorded| matches!(&by.call, Call::Release(freed, Effect::None) if freed == earlier);
    let (Some((acknowledged, _)), Some((answered, _))) = (before.answered, call.answered) else { return false };
    let frees = |by: &&&Recorded| by.sent < answered && was_freed(by);
    earlier != lock && acknowledged < call.sent && !calls.iter().any(|by| frees(&by))
}

pub(crate) fn add_to(program: &mut Program) {
    program.test("losses::what_was_forgotten_is_counted", what_was_forgotten_is_counted);
}

/// The count itself: histories in which something is forgotten, and one in which nothing is.
fn what_was_forgotten_is_counted() {
    use std::time::Duration;

    use idempotency_core::{Completion, Fence, Timestamp};

    use crate::common::{RETENTION, claim, key};

    let at = Timestamp::from_micros(1);
    let value = || Completion::Value(bytes::Bytes::from_static(b"v"));
    let acquire = |history: &mut History, fence| {
        let claim = claim(Duration::from_secs(1));
        let lock = Lock { owner: claim.owner, fence: Fence::new(fence) };
        let call = history.sent(&key(1), "a", Call::Acquire(Box::new(claim)), at);
        let grant = Grant { lock, attempt: 1, prior: None };
        history.answered(call, at, Ok(Answer::Acquired(Acquired::Acquired(grant))));
        lock
    };
    let get = |history: &mut History, found| {
        let call = history.sent(&key(1), "b", Call::Get, at);
        history.answered(call, at, Ok(Answer::Found(found)));
    };
    let mut history = History::new();
    let lock = acquire(&mut history, 1);
    let call = history.sent(&key(1), "a", Call::Store(lock, value(), RETENTION), at);
    history.answered(call, at, Ok(Answer::Held(Held::Held)));
    get(&mut history, None);
    assert_eq!(Losses::of(&history), Losses { results: 1, lost: 1, runs: 1, unannounced: 0 });

    let mut history = History::new();
    acquire(&mut history, 1);
    acquire(&mut history, 2);
    get(&mut history, None);
    assert_eq!(Losses::of(&history), Losses { results: 0, lost: 0, runs: 2, unannounced: 1 });

    let mut history = History::new();
    let lock = acquire(&mut history, 1);
    let call = history.sent(&key(1), "a", Call::Release(lock, Effect::None), at);
    history.unanswered(call);
    acquire(&mut history, 2);
    assert_eq!(Losses::of(&history), Losses { results: 0, lost: 0, runs: 2, unannounced: 0 });
}
