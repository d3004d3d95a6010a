//! Each promise that an answer can break, broken: the verdict names it.

use idempotency_core::{Acquired, Claim, Effect, Fingerprint, OnUnknown};
use idempotency_testkit::{Answer, Call, Rule};

use crate::hand::{
    HELD, Hand, LOST, acquire, acquired, claim, extend, found, grant, lock, release, remaining, store, strict,
    with_value,
};
use crate::random::micros;

fn breaks(rule: Rule, make: impl FnOnce(&mut Hand)) {
    let mut hand = Hand::new();
    make(&mut hand);
    let impossible = hand.impossible();
    assert_eq!(impossible.rule(), rule, "{impossible}");
    let shown = impossible.to_string();
    assert!(shown.contains(rule.name()) && shown.contains("ord_42") && shown.contains('✗'), "{shown}");
}

#[test]
fn two_locks_at_once_break_one_live_holder() {
    breaks(Rule::OneLiveHolder, |hand| {
        hand.granted("a", &claim(1));
        hand.wrong("b", &acquire(&claim(2)), grant(2, 2, 2, None));
    });
}

#[test]
fn another_value_breaks_that_results_do_not_change() {
    breaks(Rule::ResultsDoNotChange, |hand| {
        let lock = hand.granted("a", &claim(1)).lock;
        hand.right("a", &store(lock, "one"));
        let told = with_value(hand.wait(1).snapshot(), "two");
        hand.wrong("b", &Call::Get, found(idempotency_core::Snapshot { now: told.now.plus(micros(1)), ..told }));
    });
}

#[test]
fn a_stale_lock_that_is_held_breaks_fenced() {
    breaks(Rule::Fenced, |hand| {
        let lock = hand.granted("a", &claim(1)).lock;
        hand.wait(200).granted("b", &claim(2));
        hand.wrong("a", &store(lock, "one"), HELD);
    });
}

#[test]
fn a_lock_on_a_completed_key_breaks_no_lock_over_a_result() {
    breaks(Rule::NoLockOverAResult, |hand| {
        let lock = hand.granted("a", &claim(1)).lock;
        hand.right("a", &store(lock, "one"));
        hand.wrong("b", &acquire(&claim(2)), grant(2, 2, 2, None));
    });
}

#[test]
fn another_request_that_is_let_in_breaks_no_cross_talk() {
    breaks(Rule::NoCrossTalk, |hand| {
        let lock = hand.granted("a", &claim(1)).lock;
        hand.right("a", &store(lock, "one"));
        let other = Claim { fingerprint: Fingerprint::of_bytes(b"other"), ..claim(2) };
        let told = idempotency_core::Snapshot { now: hand.now().plus(micros(1)), ..hand.snapshot() };
        hand.wrong("b", &acquire(&other), acquired(Acquired::Completed(Box::new(told))));
    });
}

#[test]
fn a_takeover_that_is_told_nothing_breaks_unknown_is_never_silent() {
    breaks(Rule::UnknownIsNeverSilent, |hand| {
        hand.granted("a", &claim(1));
        hand.wait(200).wrong("b", &acquire(&claim(2)), grant(2, 2, 2, None));
    });
}

#[test]
fn a_result_that_is_gone_breaks_nothing_is_forgotten_early() {
    breaks(Rule::NothingIsForgottenEarly, |hand| {
        let lock = hand.granted("a", &claim(1)).lock;
        hand.right("a", &store(lock, "one"));
        hand.wait(900).wrong("b", &Call::Get, Answer::Found(None));
    });
}

#[test]
fn a_smaller_fence_breaks_that_fences_grow() {
    breaks(Rule::FencesGrow, |hand| {
        let lock = hand.granted("a", &claim(1)).lock;
        hand.right("a", &release(lock, Effect::None));
        hand.wrong("b", &acquire(&claim(2)), grant(2, 1, 2, None));
    });
}

#[test]
fn another_fence_for_the_same_claim_breaks_that_lost_answers_are_recognised() {
    breaks(Rule::LostAnswersAreRecognised, |hand| {
        hand.granted("a", &claim(1));
        hand.wrong("a", &acquire(&claim(1)), grant(1, 2, 1, None));
    });
    breaks(Rule::LostAnswersAreRecognised, |hand| {
        let lock = hand.granted("a", &claim(1)).lock;
        hand.right("a", &store(lock, "one"));
        hand.wrong("a", &store(lock, "one"), LOST);
    });
}

#[test]
fn a_lock_for_a_late_duplicate_breaks_ended_stays_ended() {
    breaks(Rule::EndedStaysEnded, |hand| {
        let lock = hand.granted("a", &claim(1)).lock;
        hand.right("a", &release(lock, Effect::None));
        hand.wrong("a", &acquire(&claim(1)), grant(1, 2, 2, None));
    });
}

#[test]
fn a_looser_claim_that_takes_over_breaks_that_the_strictest_policy_stays() {
    breaks(Rule::StrictestPolicyStays, |hand| {
        hand.granted("a", &strict(1));
        let until = hand.kept.clone().unwrap().forgotten_at();
        let prior = hand.wait(200).unknown();
        assert_eq!(prior.unwrap().remembered_until, until);
        hand.wrong("b", &acquire(&claim(2)), grant(2, 2, 2, prior));
    });
}

#[test]
fn a_release_that_frees_a_key_with_an_unknown_attempt_breaks_that_it_speaks_for_itself() {
    breaks(Rule::ReleaseSpeaksForItself, |hand| {
        hand.granted("a", &claim(1));
        let lock = hand.wait(200).granted("b", &claim(2)).lock;
        hand.right("b", &release(lock, Effect::None));
        let mut told = hand.snapshot();
        told.record.state = idempotency_core::State::Released { until: told.record.forgotten_at() };
        told.now = told.now.plus(micros(1));
        hand.wrong("c", &Call::Get, found(told));
    });
}

#[test]
fn a_released_key_that_stays_locked_breaks_that_locks_end() {
    breaks(Rule::LocksEnd, |hand| {
        let lock = hand.granted("a", &claim(1)).lock;
        hand.right("a", &release(lock, Effect::None));
        hand.wrong("b", &acquire(&claim(2)), remaining(1, micros(97)));
    });
}

#[test]
fn a_live_lock_that_is_lost_breaks_that_holders_keep_their_lock() {
    breaks(Rule::HoldersKeepTheirLock, |hand| {
        let lock = hand.granted("a", &claim(1)).lock;
        hand.wrong("a", &extend(lock), LOST);
    });
}

#[test]
fn an_attempt_that_is_not_counted_breaks_that_attempts_are_counted() {
    breaks(Rule::AttemptsAreCounted, |hand| {
        let lock = hand.granted("a", &claim(1)).lock;
        hand.right("a", &release(lock, Effect::None));
        hand.wrong("b", &acquire(&claim(2)), grant(2, 2, 1, None));
    });
}

#[test]
fn a_lease_that_is_shorter_breaks_that_times_are_kept() {
    breaks(Rule::TimesAreKept, |hand| {
        hand.granted("a", &claim(1));
        hand.wrong("b", &acquire(&claim(2)), remaining(1, micros(50)));
    });
}

#[test]
fn a_mismatch_while_the_request_is_the_same_breaks_that_every_row_is_answered() {
    breaks(Rule::RowsAreAnswered, |hand| {
        hand.granted("a", &claim(1));
        hand.wrong("b", &acquire(&claim(2)), acquired(Acquired::Mismatch));
    });
}

#[test]
fn a_look_that_ends_a_lock_breaks_that_nothing_else_changes() {
    breaks(Rule::NothingElseChanges, |hand| {
        hand.granted("a", &claim(1));
        let mut told = hand.snapshot();
        told.record.state = idempotency_core::State::Released { until: told.record.forgotten_at() };
        told.now = told.now.plus(micros(1));
        hand.wrong("b", &Call::Get, found(told));
    });
}

#[test]
fn the_first_impossible_answer_is_told_and_the_calls_before_it_are_in_order() {
    let mut hand = Hand::new();
    let first = hand.granted("a", &claim(1)).lock;
    hand.right("a", &store(first, "one"));
    let slow = hand.send("slow", &Call::Get);
    hand.wrong("b", &acquire(&claim(2)), grant(2, 2, 2, None));
    hand.answer(slow, Answer::Found(None));
    hand.wrong("c", &acquire(&Claim { on_unknown: OnUnknown::Refuse, ..claim(3) }), grant(3, 3, 3, None));
    let impossible = hand.impossible();
    assert_eq!((impossible.at, impossible.placed.as_slice()), (6, &[0, 1][..]), "{impossible}");
    assert_eq!(&*impossible.call.client, "b");
    assert_eq!(impossible.broken.before.unwrap().lock, lock(1, 1));
}
