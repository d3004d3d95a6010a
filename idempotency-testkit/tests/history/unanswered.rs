//! Calls without an answer: they happened, or not, or late.

use idempotency_core::{Acquired, Effect, StoreErrorKind};
use idempotency_testkit::{Answer, Call, Rule};

use crate::hand::{Hand, acquire, acquired, claim, extend, found, grant, lock, release, remaining, store};
use crate::random::micros;

#[test]
fn a_lost_acquisition_may_have_happened_or_not() {
    for happens in [false, true] {
        let mut hand = Hand::new();
        hand.lost("a", &acquire(&claim(1)), happens);
        hand.right("b", &acquire(&claim(2)));
        hand.wait(500).right("c", &acquire(&claim(3)));
        let checked = hand.check().unwrap();
        assert_eq!((checked.calls, checked.unanswered), (3, 1));
    }
}

#[test]
fn a_lost_call_may_happen_long_after_it_was_sent() {
    let mut hand = Hand::new();
    hand.send("dead", &acquire(&claim(1)));
    let lock = hand.wait(10).granted("b", &claim(2)).lock;
    hand.right("b", &release(lock, Effect::None));
    hand.wait(5_000).right("c", &Call::Get);
    hand.carry_out(&acquire(&claim(1)));
    hand.wait(10).right("c", &acquire(&claim(3)));
    hand.check().unwrap();
}

#[test]
fn a_lost_call_happens_once() {
    let mut hand = Hand::new();
    hand.lost("a", &acquire(&claim(1)), true);
    let told = hand.right("b", &acquire(&claim(2)));
    assert!(matches!(told, Answer::Acquired(Acquired::InProgress { attempt: 1, .. })));
    // Nobody else was there to have attempts 2 and 3.
    hand.wrong("c", &acquire(&claim(3)), remaining(3, micros(90)));
    assert_eq!(hand.impossible().rule(), Rule::TimesAreKept);
}

#[test]
fn a_lost_call_does_not_happen_before_it_was_sent() {
    let mut hand = Hand::new();
    hand.wrong("b", &acquire(&claim(2)), remaining(1, micros(90)));
    hand.lost("a", &acquire(&claim(1)), true);
    hand.right("b", &acquire(&claim(2)));
    assert_eq!(hand.impossible().at, 1);
}

#[test]
fn an_answer_in_doubt_is_none_and_a_refusal_says_that_nothing_was_done() {
    for (kind, is_possible) in [
        (StoreErrorKind::InDoubt, true),
        (StoreErrorKind::Internal, true),
        (StoreErrorKind::Closed, true),
        (StoreErrorKind::Unavailable, false),
        (StoreErrorKind::Full, false),
        (StoreErrorKind::TooLarge, false),
    ] {
        let mut hand = Hand::new();
        let asked = hand.send("a", &acquire(&claim(1)));
        hand.carry_out(&acquire(&claim(1)));
        hand.fail(asked, kind);
        hand.right("b", &acquire(&claim(2)));
        assert_eq!(hand.check().is_ok(), is_possible, "{kind}");
    }
}

#[test]
fn a_fence_that_was_not_told_is_learned_from_a_later_prior() {
    for (told, is_possible) in [(7, true), (8, false)] {
        let mut hand = Hand::new();
        hand.send("a", &acquire(&claim(1)));
        (0..6).for_each(|_| drop(hand.carry_out(&Call::Get)));
        hand.carry_out(&acquire(&claim(1)));
        assert_eq!(hand.kept.as_ref().unwrap().lock.fence.get(), 7);
        let mut first = hand.wait(500).unknown().unwrap();
        hand.granted("b", &claim(2));
        // Both are told of the same attempt.
        first.fence = idempotency_core::Fence::new(told);
        let again = Answer::Acquired(Acquired::Acquired(idempotency_core::Grant {
            prior: Some(first),
            ..hand.right("b", &acquire(&claim(2))).granted().unwrap()
        }));
        hand.wrong("b", &acquire(&claim(2)), again);
        assert_eq!(hand.check().is_ok(), is_possible, "{told}");
    }
}

#[test]
fn a_fence_that_was_not_told_is_learned_from_a_snapshot_and_from_the_same_owner() {
    let mut hand = Hand::new();
    hand.lost("a", &acquire(&claim(1)), true);
    hand.right("b", &Call::Get);
    let lock = hand.granted("a", &claim(1)).lock;
    hand.check().unwrap();
    hand.lost("a", &extend(lock), true);
    hand.wait(90).right("b", &Call::Get);
    hand.lost("a", &store(lock, "one"), true);
    hand.right("b", &acquire(&claim(2)));
    hand.check().unwrap();
    let mut told = hand.snapshot();
    told.record.lock.fence = told.record.lock.fence.next();
    told.now = told.now.plus(micros(1));
    hand.wrong("b", &Call::Get, found(told));
    assert!(hand.check().is_err());
}

#[test]
fn a_fence_that_nobody_tells_is_still_grown_past() {
    let mut hand = Hand::new();
    let lock = hand.granted("a", &claim(1)).lock;
    hand.right("a", &release(lock, Effect::None));
    hand.lost("b", &acquire(&claim(2)), true);
    hand.wait(1).right("c", &acquire(&claim(3)));
    // Attempt 2 has a fence of 2 or more, so attempt 3 has one of 3 or more.
    let prior = hand.wait(300).unknown();
    hand.wrong("c", &acquire(&claim(3)), grant(3, 2, 3, prior));
    assert_eq!(hand.impossible().rule(), Rule::FencesGrow);
}

#[test]
fn a_search_that_takes_too_long_says_so_and_does_not_pass() {
    let mut hand = Hand::new();
    hand.lost("a", &acquire(&claim(1)), true);
    hand.wrong("b", &acquire(&claim(2)), acquired(Acquired::Mismatch));
    let limited = hand.history.clone().with_step_limit(1);
    assert!(limited.check().unwrap_err().to_string().starts_with("gave up on "));
}

/// The first of two calls that ask the same was not carried out, or not then: what the second left tells of a time
/// that is to come again.
#[test]
fn a_call_that_was_made_again_before_a_clock_went_back_may_be_the_one_that_was_carried_out() {
    let made_again = |call: Call, begin: fn(&mut Hand)| {
        let mut hand = Hand::new();
        begin(&mut hand);
        hand.lost("a", &call, false);
        hand.wait(90).lost("a", &call, true);
        hand.put_back(80);
        hand.right("b", &Call::Get);
        hand.check().unwrap_or_else(|verdict| panic!("{call:?}: {verdict}"));
    };
    let locked = |hand: &mut Hand| {
        hand.granted("a", &claim(1));
    };
    made_again(acquire(&claim(1)), |_| {});
    made_again(store(lock(1, 1), "one"), locked);
    made_again(release(lock(1, 1), Effect::None), locked);
    made_again(release(lock(1, 1), Effect::Unknown), locked);
}
