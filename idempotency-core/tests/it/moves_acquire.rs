//! Every row of `acquire_lock`.

use std::time::Duration;

use idempotency_core::{Acquired, Claim, Effect, Ended, Fence, Grant, Held, Lock, OnUnknown, Owner, State};

use crate::support::desk::{Desk, LEASE, RETENTION, UNKNOWN_RETENTION, claim, other_claim, result, with_policy};

const TICK: Duration = Duration::from_micros(1);

fn fence(number: u64) -> Fence {
    Fence::new(number)
}

#[test]
fn an_absent_key_is_acquired_as_attempt_one() {
    let mut desk = Desk { next_fence: 7, ..Desk::new() };
    let lock = Lock { owner: Owner::from_u128(1), fence: fence(7) };
    assert_eq!(desk.granted(&claim(1)), Grant { lock, attempt: 1, prior: None });
    let record = desk.record.unwrap();
    assert_eq!((record.lock, record.acquired_at), (lock, desk.now));
    assert!(
        matches!(record.state, State::InProgress { lease_until, confirmed: true, .. } if lease_until == desk.now.plus(LEASE))
    );
}

#[test]
fn a_key_past_its_retention_begins_anew_but_its_fence_grows() {
    let mut desk = Desk::new();
    let first = desk.granted(&claim(1));
    desk.store(first.lock, &result("a"));
    desk.pass(RETENTION - TICK);
    assert!(matches!(desk.acquire(&claim(2)), Acquired::Completed(_)));
    desk.pass(TICK);
    // The store's own counter stands still, as after it was lost.
    let again = desk.granted(&other_claim(2));
    assert_eq!((again.attempt, again.prior), (1, None));
    assert!(again.lock.fence > first.lock.fence);
}

#[test]
fn the_strictest_policy_ends_with_the_retention() {
    let mut desk = Desk::new();
    let first = desk.granted(&with_policy(1, OnUnknown::Refuse));
    desk.release(first.lock, Effect::None);
    desk.pass(RETENTION);
    let second = desk.granted(&claim(2));
    desk.release(second.lock, Effect::Unknown);
    assert_eq!(desk.granted(&claim(3)).attempt, 2);
}

#[test]
fn another_request_is_a_mismatch_while_the_key_is_held_unknown_or_done() {
    let mut desk = Desk::new();
    let lock = desk.granted(&claim(1)).lock;
    let mut lapsed = desk.clone();
    lapsed.lapse();
    let mut told = desk.clone();
    told.release(lock, Effect::Unknown);
    let mut done = desk.clone();
    done.store(lock, &result("secret"));
    for mut desk in [desk, lapsed, told, done] {
        let before = desk.record.clone();
        assert_eq!(desk.acquire(&other_claim(2)), Acquired::Mismatch);
        // Nor by whoever holds it.
        assert_eq!(desk.acquire(&other_claim(1)), Acquired::Mismatch);
        assert_eq!(desk.record, before);
    }
}

#[test]
fn another_request_may_use_a_released_key() {
    let mut desk = Desk::new();
    let lock = desk.granted(&claim(1)).lock;
    desk.release(lock, Effect::None);
    let second = desk.granted(&other_claim(2));
    assert_eq!((second.attempt, second.prior), (2, None));
    assert_eq!(desk.acquire(&claim(3)), Acquired::Mismatch);
}

#[test]
fn the_same_owner_gets_the_same_lock_again_with_a_new_lease() {
    for wait in [LEASE / 2, LEASE * 2] {
        let mut desk = Desk::new();
        let first = desk.granted(&claim(1));
        desk.pass(wait);
        desk.next_fence = 50;
        assert_eq!(desk.granted(&claim(1)), first);
        desk.pass(LEASE - TICK);
        assert_eq!(desk.acquire(&claim(2)), Acquired::InProgress { attempt: 1, remaining: TICK });
    }
}

#[test]
fn the_same_owner_is_told_of_the_same_prior_again() {
    let mut desk = Desk::new();
    desk.granted(&claim(1));
    desk.lapse();
    let first = desk.granted(&claim(2));
    assert!(first.prior.is_some());
    assert_eq!(desk.granted(&claim(2)), first);
}

#[test]
fn an_attempt_that_is_over_never_locks_again() {
    for effect in [Effect::None, Effect::Unknown, Effect::Settled] {
        let mut desk = Desk::new();
        let lock = desk.granted(&claim(1)).lock;
        desk.release(lock, effect);
        let before = desk.record.clone();
        assert_eq!(desk.acquire(&claim(1)), Acquired::Ended, "{effect:?}");
        assert_eq!(desk.record, before);
    }
}

#[test]
fn a_released_key_is_acquired_as_the_next_attempt_by_a_larger_fence() {
    let mut desk = Desk::new();
    let first = desk.granted(&claim(1));
    desk.release(first.lock, Effect::None);
    let second = desk.granted(&claim(2));
    assert_eq!((second.attempt, second.prior), (2, None));
    assert_eq!(second.lock.fence, first.lock.fence.next());
    desk.release(second.lock, Effect::None);
    desk.next_fence = 90;
    assert_eq!(desk.granted(&claim(3)).lock.fence, fence(90));
}

#[test]
fn a_completed_key_is_never_locked_whoever_asks() {
    let mut desk = Desk::new();
    let lock = desk.granted(&claim(1)).lock;
    desk.store(lock, &result("a"));
    let before = desk.record.clone().unwrap();
    for claim in [claim(1), claim(2), with_policy(3, OnUnknown::Refuse), Claim { settles: true, ..claim(4) }] {
        let Acquired::Completed(found) = desk.acquire(&claim) else { panic!("a lock over a result") };
        assert_eq!((found.record, found.now), (before.clone(), desk.now));
    }
    assert_eq!(desk.record, Some(before));
}

#[test]
fn a_live_lock_is_in_progress_for_others_until_the_end_of_its_lease() {
    let mut desk = Desk::new();
    desk.granted(&claim(1));
    desk.pass(LEASE - TICK);
    let before = desk.record.clone();
    for claim in [claim(2), with_policy(3, OnUnknown::Reconcile), Claim { settles: true, ..claim(4) }] {
        assert_eq!(desk.acquire(&claim), Acquired::InProgress { attempt: 1, remaining: TICK });
    }
    assert_eq!(desk.record, before);
    desk.pass(TICK);
    assert_eq!(desk.granted(&claim(2)).attempt, 2);
}

#[test]
fn a_takeover_is_told_which_attempt_is_unknown_and_how_it_ended() {
    let mut desk = Desk::new();
    let first = desk.granted(&claim(1));
    let until = desk.now.plus(LEASE);
    desk.pass(LEASE * 3);
    let second = desk.granted(&claim(2));
    let prior = second.prior.unwrap();
    assert_eq!((prior.attempt, prior.fence), (1, first.lock.fence));
    assert_eq!((prior.ended, prior.ended_at), (Ended::Lapsed, until));
    assert!(second.attempt == 2 && second.lock.fence > first.lock.fence);

    desk.pass(TICK);
    assert_eq!(desk.release(second.lock, Effect::Unknown), Held::Held);
    let told_at = desk.now;
    desk.pass(TICK);
    let prior = desk.granted(&claim(3)).prior.unwrap();
    assert_eq!((prior.attempt, prior.fence), (2, second.lock.fence));
    assert_eq!((prior.ended, prior.ended_at), (Ended::Told, told_at));
}

#[test]
fn only_a_claim_as_strict_as_any_before_it_takes_over_and_refuse_never_does() {
    use OnUnknown::{Reconcile, Refuse, RunAgain};
    for before in [RunAgain, Reconcile, Refuse] {
        for asked in [RunAgain, Reconcile, Refuse] {
            let mut desk = Desk::new();
            desk.granted(&with_policy(1, before));
            desk.lapse();
            let kept = desk.record.clone();
            match desk.acquire(&with_policy(2, asked)) {
                Acquired::Acquired(grant) => {
                    assert!(asked != Refuse && asked >= before, "{asked:?} after {before:?}");
                    assert!(grant.prior.is_some());
                    assert_eq!(desk.record.unwrap().on_unknown, asked);
                }
                Acquired::Unknown { prior, on_unknown } => {
                    assert!(asked == Refuse || asked < before, "{asked:?} after {before:?}");
                    assert_eq!((prior.attempt, on_unknown), (1, asked.max(before)));
                    assert_eq!(desk.record, kept);
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn the_strictest_policy_stays_through_a_release() {
    let mut desk = Desk::new();
    let first = desk.granted(&with_policy(1, OnUnknown::Reconcile));
    desk.release(first.lock, Effect::None);
    let second = desk.granted(&claim(2));
    assert_eq!(desk.record.as_ref().unwrap().on_unknown, OnUnknown::Reconcile);
    desk.release(second.lock, Effect::Unknown);
    assert!(matches!(desk.acquire(&claim(3)), Acquired::Unknown { on_unknown: OnUnknown::Reconcile, .. }));
    assert_eq!(desk.granted(&with_policy(3, OnUnknown::Reconcile)).attempt, 3);
}

#[test]
fn settling_takes_over_under_any_policy_and_does_not_loosen_it() {
    for policy in [OnUnknown::RunAgain, OnUnknown::Reconcile, OnUnknown::Refuse] {
        let mut desk = Desk::new();
        let first = desk.granted(&with_policy(1, policy));
        desk.lapse();
        let settling = desk.granted(&Claim { settles: true, ..claim(9) });
        assert_eq!((settling.attempt, settling.prior.unwrap().attempt), (2, 1));
        assert!(settling.lock.fence > first.lock.fence);
        assert_eq!(desk.record.as_ref().unwrap().on_unknown, policy);
        // A takeover like any other: who settles holds a lock, and the old one is stale.
        assert_eq!(desk.store(first.lock, &result("late")), Held::Lost);
        assert!(matches!(desk.acquire(&claim(3)), Acquired::InProgress { attempt: 2, .. }));
    }
}

#[test]
fn an_unconfirmed_lapsed_lock_counts_as_released() {
    let mut desk = Desk::new();
    let first = desk.granted(&Claim { confirms: true, ..with_policy(1, OnUnknown::Refuse) });
    assert!(matches!(desk.acquire(&claim(2)), Acquired::InProgress { .. }));
    desk.lapse();
    let second = desk.granted(&other_claim(2));
    assert_eq!((second.attempt, second.prior), (2, None));
    assert_eq!(desk.extend(first.lock), Held::Lost);
}

#[test]
fn a_confirmed_lapsed_lock_is_unknown() {
    let mut desk = Desk::new();
    let first = desk.granted(&Claim { confirms: true, ..claim(1) });
    assert_eq!(desk.extend(first.lock), Held::Held);
    desk.lapse();
    assert_eq!(desk.granted(&claim(2)).prior.unwrap().attempt, 1);
}

#[test]
fn an_unconfirmed_lapsed_lock_keeps_the_unknown_attempt_before_it() {
    let mut desk = Desk::new();
    let first = desk.granted(&claim(1));
    desk.lapse();
    desk.granted(&Claim { confirms: true, ..claim(2) });
    desk.lapse();
    assert_eq!(desk.acquire(&other_claim(3)), Acquired::Mismatch);
    let third = desk.granted(&claim(3));
    let prior = third.prior.unwrap();
    assert_eq!((third.attempt, prior.attempt, prior.fence), (3, 1, first.lock.fence));
}

#[test]
fn an_unconfirmed_lock_asked_for_again_is_still_unconfirmed() {
    let mut desk = Desk::new();
    let confirms = Claim { confirms: true, ..claim(1) };
    desk.granted(&confirms);
    desk.granted(&confirms);
    desk.lapse();
    assert_eq!(desk.granted(&claim(2)).prior, None);
}

#[test]
fn an_unknown_attempt_is_remembered_for_its_own_retention() {
    let mut lapsed = Desk::new();
    let lock = lapsed.granted(&with_policy(1, OnUnknown::Refuse)).lock;
    let mut told = lapsed.clone();
    told.release(lock, Effect::Unknown);
    lapsed.lapse();
    for mut desk in [lapsed, told] {
        desk.pass(UNKNOWN_RETENTION - TICK);
        assert!(matches!(desk.acquire(&claim(2)), Acquired::Unknown { .. }));
        desk.pass(TICK);
        assert_eq!(desk.read(), None);
        let again = desk.granted(&claim(2));
        assert_eq!((again.attempt, again.prior), (1, None));
        assert!(again.lock.fence > lock.fence);
    }
}
