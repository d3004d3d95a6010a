//! Histories of callers who make their calls again and again while every answer is lost.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use idempotency_core::{
    Acquired, Claim, Clock, Completion, Effect, Fingerprint, Grant, Key, ManualClock, Owner, StoreErrorKind, Timestamp,
};
use idempotency_testkit::history::{CallId, Checked, History, Offset, Timing, Verdict};
use idempotency_testkit::{Answer, Call, ReferenceStore};

use crate::brute::with_answer;
use crate::random::{Dice, micros, seeds};

/// As the callers of a server on the same machine have it.
const TIMING: Timing =
    Timing { offset: Offset::Known(0), skew: Duration::from_millis(50), resolution: Duration::from_millis(1) };
const LEASE: Duration = Duration::from_secs(2);
/// After which a caller takes its call to be lost, and makes it again.
const LIMIT: Duration = Duration::from_millis(500);
/// Far fewer than the search's own limit, which such histories once came to.
const STEPS: usize = 20_000;

#[derive(Clone, Copy, Debug)]
struct Outage {
    callers: usize,
    /// Longer than a lease, so that locks lapse in it.
    lasts: Duration,
    /// One call in so many is carried out nevertheless.
    comes_through: usize,
    /// How late, at the most: later than its caller makes it again.
    late: Duration,
}

enum Event {
    Sends(usize),
    CarriesOut(usize, CallId, Call),
    Answers(usize, CallId, Answer),
    Waited(usize, CallId),
}

/// What is to happen, in the order of time.
#[derive(Default)]
struct Agenda {
    events: BTreeMap<(Timestamp, usize), Event>,
    noted: usize,
}

impl Agenda {
    fn note(&mut self, at: Timestamp, event: Event) {
        self.noted += 1;
        self.events.insert((at, self.noted), event);
    }
}

/// All of them claim one key at the beginning of an outage, and go on once they are answered.
fn history(dice: &mut Dice, outage: Outage) -> History {
    let store = ReferenceStore::new(ManualClock::new(Timestamp::from_micros(1_000_000)));
    let key = Key::new("fault", "k99").build().unwrap();
    let healed = store.clock().now().plus(outage.lasts);
    let mut history = History::new().with_timing(TIMING);
    let mut agenda = Agenda::default();
    let mut calls: Vec<(Call, Option<CallId>)> = Vec::new();
    for caller in 0..outage.callers {
        let claim =
            Claim { owner: Owner::from_u128(1 + caller as u128), lease: LEASE, ..Claim::new(Fingerprint::NONE) };
        calls.push((Call::Acquire(Box::new(claim)), None));
        agenda.note(store.clock().now().plus(up_to(dice, Duration::from_millis(20))), Event::Sends(caller));
    }
    while let Some(((now, _), event)) = agenda.events.pop_first() {
        store.clock().advance(store.clock().now().until(now));
        match event {
            Event::Sends(caller) => {
                let (call, open) = &mut calls[caller];
                let id = history.sent(&key, format!("caller {caller}"), call.clone(), now);
                *open = Some(id);
                agenda.note(now.plus(LIMIT), Event::Waited(caller, id));
                let late = if now < healed { outage.late } else { Duration::from_millis(10) };
                if now >= healed || dice.one_in(outage.comes_through) {
                    agenda.note(now.plus(up_to(dice, late)), Event::CarriesOut(caller, id, call.clone()));
                }
            }
            Event::CarriesOut(caller, id, call) => {
                let answer = store.make(&key, |kept, now, next_fence| call.by_the_moves(kept, now, next_fence));
                if now >= healed {
                    agenda.note(now.plus(up_to(dice, Duration::from_millis(5))), Event::Answers(caller, id, answer));
                }
            }
            Event::Answers(caller, id, answer) if calls[caller].1 == Some(id) => {
                history.answered(id, now, Ok(answer.clone()));
                calls[caller].1 = None;
                if let Some(next) = next(dice, caller, &answer) {
                    calls[caller].0 = next;
                    agenda.note(now.plus(micros(3)), Event::Sends(caller));
                }
            }
            Event::Waited(caller, id) if calls[caller].1 == Some(id) => {
                history.answered(id, now, Err(StoreErrorKind::InDoubt));
                calls[caller].1 = None;
                agenda.note(now.plus(Duration::from_millis(11)), Event::Sends(caller));
            }
            // It was answered in time, or its caller no longer listens.
            Event::Answers(..) | Event::Waited(..) => {}
        }
    }
    let now = store.clock().now();
    let looked = history.sent(&key, "looking", Call::Get, now);
    let found = store.make(&key, |kept, now, next_fence| Call::Get.by_the_moves(kept, now, next_fence));
    history.answered(looked, now, Ok(found));
    history
}

fn up_to(dice: &mut Dice, most: Duration) -> Duration {
    micros(1 + dice.below(usize::try_from(most.as_micros()).unwrap()) as u64)
}

/// What a caller does that was answered so.
fn next(dice: &mut Dice, caller: usize, answer: &Answer) -> Option<Call> {
    match answer {
        Answer::Acquired(Acquired::Acquired(Grant { lock, .. })) => Some(match dice.below(8) {
            0 => Call::Release(*lock, Effect::None),
            1 => Call::Release(*lock, Effect::Unknown),
            2 => Call::Extend(*lock, LEASE),
            _ => {
                let value = Completion::Value(Bytes::from(caller.to_string()));
                Call::Store(*lock, value, Claim::new(Fingerprint::NONE).retention)
            }
        }),
        Answer::Acquired(_) => Some(Call::Get),
        Answer::Found(_) | Answer::Held(_) => None,
    }
}

/// Outages in which few or many calls come through, soon or late, of few or many callers.
fn outages() -> impl Iterator<Item = Outage> {
    let lasts = [2_500, 5_000].map(Duration::from_millis);
    let late = [100, 3_000].map(Duration::from_millis);
    [4, 8, 16].into_iter().flat_map(move |callers| {
        lasts.into_iter().flat_map(move |lasts| {
            [1, 2, 5, 20].into_iter().flat_map(move |comes_through| {
                late.into_iter().map(move |late| Outage { callers, lasts, comes_through, late })
            })
        })
    })
}

fn checked(history: &History) -> Result<Checked, Verdict> {
    history.clone().with_timing(TIMING).with_step_limit(STEPS).check()
}

#[test]
fn calls_that_were_made_again_and_again_while_all_answers_were_lost_are_searched_to_the_end() {
    let mut most = 0;
    for outage in outages() {
        for seed in seeds(10) {
            let history = history(&mut Dice(seed), outage);
            match checked(&history) {
                Ok(checked) => most = most.max(checked.steps),
                Err(verdict) => panic!("IDEMPOTENCY_SEED={seed} {outage:?}\n{verdict}"),
            }
        }
    }
    println!("at most {most} steps");
}

#[test]
fn one_wrong_answer_after_such_an_outage_is_found() {
    let mut refused = 0;
    for outage in outages() {
        for seed in seeds(2) {
            let history = history(&mut Dice(seed), outage);
            for wrong in wrong(&history) {
                match checked(&wrong) {
                    Err(Verdict::Impossible(_)) => refused += 1,
                    other => panic!("IDEMPOTENCY_SEED={seed} {outage:?}\n{other:?}\n{:#?}", wrong.calls()),
                }
            }
        }
    }
    println!("{refused} refused");
    assert!(refused > 500 || std::env::var("IDEMPOTENCY_SEED").is_ok());
}

/// The same history with a second holder of an attempt, and with a fence that its holder was not given.
fn wrong(history: &History) -> Vec<History> {
    let granted = |attempt: u32| {
        let answers = history.calls().iter().filter_map(|call| call.answer.as_ref()?.as_ref().ok());
        answers.filter_map(Answer::granted).find(|grant| grant.attempt == attempt)
    };
    let wrong = history.calls().iter().enumerate().filter_map(|(at, call)| match (&call.call, &call.answer) {
        (Call::Acquire(claim), Some(Ok(Answer::Acquired(Acquired::InProgress { attempt, .. })))) => {
            let mut grant = granted(*attempt)?;
            grant.lock.owner = claim.owner;
            Some(with_answer(history, at, &Answer::Acquired(Acquired::Acquired(grant))))
        }
        (Call::Get, Some(Ok(Answer::Found(Some(found))))) => {
            let mut found = found.clone();
            found.record.lock.fence = granted(found.record.attempt)?.lock.fence.next();
            Some(with_answer(history, at, &Answer::Found(Some(found))))
        }
        _ => None,
    });
    wrong.collect()
}
