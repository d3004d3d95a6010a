//! Small histories, against a checker that tries everything.

use bytes::Bytes;
use idempotency_core::{Acquired, Completion, Held, Record, State};
use idempotency_testkit::Answer;
use idempotency_testkit::history::{History, Verdict};

use crate::naive;
use crate::random::{Dice, Shape, history, micros, seeds};

/// How many of these histories the checker gives up on; none is impossible.
fn given_up(seeds: &[u64], shape: impl Fn(&mut Dice) -> Shape) -> usize {
    let gives_up = |seed: &u64| {
        let mut dice = Dice(*seed);
        let shape = shape(&mut dice);
        let history = history(&mut dice, shape).with_step_limit(20_000);
        match history.check() {
            Ok(_) => false,
            Err(Verdict::GaveUp(_)) => true,
            Err(verdict) => panic!("IDEMPOTENCY_SEED={seed} {shape:?} {}", shown(Some(verdict), &history)),
        }
    };
    seeds.iter().filter(|seed| gives_up(seed)).count()
}

#[test]
fn a_history_of_a_store_that_keeps_the_contract_is_possible() {
    let seeds = seeds(20_000);
    let given_up = given_up(&seeds, |dice| Shape {
        calls: 2 + dice.below(20),
        keys: 1 + dice.below(2),
        running: dice.pick(&[2, 4, 8]),
        lost: dice.pick(&[0, 1, 2, 4]),
        exact: dice.one_in(2),
    });
    println!("gave up on {given_up}");
    assert!(given_up * 500 <= seeds.len());
}

#[test]
fn a_long_history_is_possible_and_searched_to_its_end_where_every_answer_came() {
    for exact in [true, false] {
        let shape = Shape { calls: 200, keys: 1, running: 8, lost: 0, exact };
        assert_eq!(given_up(&seeds(40), |_| shape), 0);
        // Where answers are lost of calls that all run at once, it may give up, and never says impossible.
        given_up(&seeds(40), |_| Shape { lost: 10, ..shape });
    }
}

#[test]
fn a_changed_answer_is_judged_as_by_trying_every_order() {
    let (mut possible, mut impossible, mut generous) = (0, 0, 0);
    for seed in seeds(5_000) {
        let mut dice = Dice(seed);
        let shape = Shape {
            calls: 2 + dice.below(5),
            keys: 1 + dice.below(2),
            running: 4,
            lost: dice.pick(&[0, 3, 6]),
            exact: true,
        };
        let Some(history) = changed(&history(&mut dice, shape), &mut dice) else { continue };
        let unanswered = history.calls().iter().filter(|call| call.answer.is_none()).count();
        if unanswered > 2 {
            continue;
        }
        match (naive::is_possible(&history), history.check()) {
            (true, Ok(_)) => possible += 1,
            (false, Err(Verdict::Impossible(_))) => impossible += 1,
            // Times that depend on each other are each looked at by themselves.
            (false, Ok(_)) if unanswered > 0 => generous += 1,
            (naive, found) => panic!("IDEMPOTENCY_SEED={seed}: {naive}, but {}", shown(found.err(), &history)),
        }
    }
    println!("{possible} possible, {impossible} impossible, {generous} passed that are impossible");
    if std::env::var("IDEMPOTENCY_SEED").is_err() {
        assert!(possible > 200 && impossible > 1_500 && generous * 100 < impossible);
    }
}

fn shown(verdict: Option<Verdict>, history: &History) -> String {
    let verdict = verdict.map_or_else(|| "possible".into(), |verdict| verdict.to_string());
    let calls: Vec<String> = history.calls().iter().map(|call| format!("{call:?}")).collect();
    format!("{verdict}\n{}", calls.join("\n"))
}

/// The same history, but for one answer.
fn changed(history: &History, dice: &mut Dice) -> Option<History> {
    let answered: Vec<usize> = (0..history.calls().len()).filter(|at| history.calls()[*at].answer.is_some()).collect();
    if answered.is_empty() {
        return None;
    }
    let at = answered[dice.below(answered.len())];
    let mut others: Vec<Answer> = Vec::new();
    for other in history.calls() {
        if let Some(Ok(answer)) = &other.answer
            && other.call.method() == history.calls()[at].call.method()
        {
            others.push(answer.clone());
        }
    }
    let Some(Ok(before)) = &history.calls()[at].answer else { return None };
    let after = if dice.one_in(3) { others[dice.below(others.len())].clone() } else { otherwise(before, dice) };
    (after != *before).then(|| with_answer(history, at, &after))
}

fn otherwise(answer: &Answer, dice: &mut Dice) -> Answer {
    match answer.clone() {
        Answer::Held(Held::Held) => Answer::Held(Held::Lost),
        Answer::Held(Held::Lost) => Answer::Held(Held::Held),
        Answer::Found(None) => Answer::Found(None),
        Answer::Found(Some(_)) if dice.one_in(4) => Answer::Found(None),
        Answer::Found(Some(mut found)) => {
            spoil(&mut found.record, dice);
            Answer::Found(Some(found))
        }
        Answer::Acquired(acquired) => Answer::Acquired(match acquired {
            Acquired::Acquired(mut grant) => {
                match dice.below(3) {
                    0 => grant.attempt += 1,
                    1 => grant.lock.fence = grant.lock.fence.next(),
                    _ => grant.prior = None,
                }
                Acquired::Acquired(grant)
            }
            Acquired::InProgress { attempt, remaining } => {
                Acquired::InProgress { attempt, remaining: remaining + micros(1) }
            }
            Acquired::Completed(mut found) => {
                spoil(&mut found.record, dice);
                Acquired::Completed(found)
            }
            Acquired::Unknown { mut prior, on_unknown } => {
                prior.fence = prior.fence.next();
                Acquired::Unknown { prior, on_unknown }
            }
            Acquired::Mismatch | Acquired::Ended => Acquired::InProgress { attempt: 1, remaining: micros(3) },
        }),
    }
}

fn spoil(record: &mut Record, dice: &mut Dice) {
    match (&mut record.state, dice.below(3)) {
        (State::Completed { result, .. }, 0) => *result = Completion::Value(Bytes::from("three")),
        (State::Completed { until, .. } | State::Released { until } | State::Unknown { until }, 1) => {
            *until = until.plus(micros(1));
        }
        (State::InProgress { lease_until, .. }, 1) => *lease_until = lease_until.plus(micros(1)),
        (_, 0) => record.attempt += 1,
        _ => record.prior = None,
    }
}

/// The same events, with another answer to one call.
pub(crate) fn with_answer(history: &History, changed: usize, answer: &Answer) -> History {
    let mut events: Vec<(usize, usize, bool)> = Vec::new();
    for (at, call) in history.calls().iter().enumerate() {
        events.push((call.sent, at, false));
        events.extend(call.answered.map(|(event, _)| (event, at, true)));
    }
    events.sort_unstable();
    let mut again = History::new();
    let mut ids = vec![None; history.calls().len()];
    for (_, at, is_answer) in events {
        let call = &history.calls()[at];
        if !is_answer {
            let id = again.sent(&history.keys()[call.key], call.client.clone(), call.call.clone(), call.sent_at);
            // Nobody knows when a call was carried out that nobody answered.
            if let (Some(within), Some(_)) = (call.carried_out, &call.answer) {
                again.carried_out(id, within);
            }
            ids[at] = Some(id);
        } else if let (Some((_, answered_at)), Some(given)) = (call.answered, &call.answer) {
            let given = if at == changed { Ok(answer.clone()) } else { given.clone() };
            again.answered(ids[at].unwrap(), answered_at, given);
        }
    }
    again
}
