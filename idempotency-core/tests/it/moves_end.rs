//! Every row of `extend_lock`, `store_result` and `release_lock`.

use std::time::Duration;

use idempotency_core::{
    Acquired, Claim, Completion, Effect, Ended, Fence, Held, Lock, Omitted, OnUnknown, Owner, State,
};

use crate::support::desk::{Desk, LEASE, RETENTION, UNKNOWN_RETENTION, claim, result, with_policy};

const TICK: Duration = Duration::from_micros(1);

/// Asserts that no call under this lock changes anything, and that each is told so.
#[track_caller]
fn changes_nothing(desk: &Desk, lock: Lock) {
    let mut after = desk.clone();
    assert_eq!(after.extend(lock), Held::Lost);
    assert_eq!(after.store(lock, &result("stale")), Held::Lost);
    for effect in [Effect::None, Effect::Unknown, Effect::Settled] {
        assert_eq!(after.release(lock, effect), Held::Lost, "{effect:?}");
    }
    assert_eq!(after.record, desk.record);
}

#[test]
fn a_lock_needs_its_owner_and_its_fence() {
    let mut desk = Desk::new();
    changes_nothing(&desk, Lock { owner: Owner::from_u128(1), fence: Fence::new(1) });
    let lock = desk.granted(&claim(1)).lock;
    changes_nothing(&desk, Lock { owner: Owner::from_u128(2), ..lock });
    changes_nothing(&desk, Lock { fence: lock.fence.next(), ..lock });
    changes_nothing(&desk, Lock { fence: Fence::new(0), ..lock });
}

#[test]
fn an_owner_granted_twice_cannot_act_under_its_first_grant() {
    let mut desk = Desk::new();
    let first = desk.granted(&claim(1)).lock;
    desk.lapse();
    let second = desk.granted(&claim(2)).lock;
    desk.release(second, Effect::Unknown);
    // A late duplicate of the first owner's message takes over.
    let again = desk.granted(&claim(1)).lock;
    assert_eq!(again.owner, first.owner);
    changes_nothing(&desk, first);
    changes_nothing(&desk, second);
    assert_eq!(desk.store(again, &result("a")), Held::Held);
    changes_nothing(&desk, first);
}

#[test]
fn a_stale_lock_changes_nothing_in_any_state() {
    let mut desk = Desk::new();
    let stale = desk.granted(&claim(1)).lock;
    desk.lapse();
    let lock = desk.granted(&claim(2)).lock;
    changes_nothing(&desk, stale);
    let mut lapsed = desk.clone();
    lapsed.lapse();
    changes_nothing(&lapsed, stale);
    for effect in [Effect::None, Effect::Unknown, Effect::Settled] {
        let mut released = desk.clone();
        released.release(lock, effect);
        changes_nothing(&released, stale);
    }
    desk.store(lock, &result("a"));
    changes_nothing(&desk, stale);
}

#[test]
fn a_lock_past_its_retention_is_gone() {
    let mut desk = Desk::new();
    let lock = desk.granted(&claim(1)).lock;
    let mut done = desk.clone();
    done.store(lock, &result("a"));
    done.pass(RETENTION);
    changes_nothing(&done, lock);
    desk.pass(LEASE + UNKNOWN_RETENTION);
    changes_nothing(&desk, lock);
}

#[test]
fn an_extension_counts_the_lease_from_now_lapsed_or_not() {
    for wait in [LEASE / 2, LEASE * 5] {
        let mut desk = Desk::new();
        let lock = desk.granted(&claim(1)).lock;
        desk.pass(wait);
        assert_eq!(desk.extend(lock), Held::Held);
        assert_eq!(desk.extend(lock), Held::Held);
        desk.pass(LEASE - TICK);
        assert_eq!(desk.acquire(&claim(2)), Acquired::InProgress { attempt: 1, remaining: TICK });
        desk.pass(TICK);
        assert_eq!(desk.granted(&claim(2)).attempt, 2);
    }
}

#[test]
fn nothing_extends_what_is_over() {
    let mut desk = Desk::new();
    let lock = desk.granted(&claim(1)).lock;
    for effect in [Effect::None, Effect::Unknown] {
        let mut released = desk.clone();
        released.release(lock, effect);
        assert_eq!(released.extend(lock), Held::Lost);
        assert_eq!(released.store(lock, &result("late")), Held::Lost);
    }
    desk.store(lock, &result("a"));
    let before = desk.record.clone();
    assert_eq!(desk.extend(lock), Held::Lost);
    assert_eq!(desk.record, before);
}

#[test]
fn a_result_is_stored_lapsed_or_not_and_ends_the_lock() {
    for wait in [TICK, LEASE * 5] {
        let mut desk = Desk::new();
        let lock = desk.granted(&claim(1)).lock;
        desk.pass(wait);
        assert_eq!(desk.store(lock, &result("a")), Held::Held);
        let record = desk.record.clone().unwrap();
        assert_eq!(
            record.state,
            State::Completed { at: desk.now, until: desk.now.plus(RETENTION), result: result("a") }
        );
        assert_eq!((record.attempt, record.prior), (1, None));
    }
}

#[test]
fn a_result_stored_again_is_held_but_neither_changes_nor_lasts_longer() {
    let mut desk = Desk::new();
    let lock = desk.granted(&claim(1)).lock;
    desk.store(lock, &result("a"));
    let before = desk.record.clone();
    desk.pass(RETENTION / 2);
    assert_eq!(desk.store(lock, &result("b")), Held::Held);
    assert_eq!(desk.record, before);
    desk.pass(RETENTION / 2);
    assert_eq!(desk.read(), None);
}

#[test]
fn a_result_settles_the_unknown_attempt_before_it() {
    let mut desk = Desk::new();
    desk.granted(&claim(1));
    desk.lapse();
    let second = desk.granted(&claim(2));
    desk.store(second.lock, &Completion::Omitted(Omitted::ByChoice));
    assert_eq!(desk.record.unwrap().prior, None);
}

#[test]
fn no_effect_frees_the_key() {
    let mut desk = Desk::new();
    let lock = desk.granted(&claim(1)).lock;
    assert_eq!(desk.release(lock, Effect::None), Held::Held);
    assert_eq!(desk.record.as_ref().unwrap().state, State::Released { until: desk.now.plus(RETENTION) });
    assert_eq!(desk.granted(&claim(2)).attempt, 2);
}

#[test]
fn no_effect_speaks_only_for_itself() {
    let mut desk = Desk::new();
    let first = desk.granted(&with_policy(1, OnUnknown::RunAgain));
    desk.lapse();
    let second = desk.granted(&claim(2));
    assert_eq!(desk.release(second.lock, Effect::None), Held::Held);
    assert_eq!(desk.record.as_ref().unwrap().state, State::Unknown { until: desk.now.plus(UNKNOWN_RETENTION) });
    let third = desk.granted(&claim(3));
    assert_eq!(third.prior, second.prior);
    assert_eq!((third.attempt, third.prior.unwrap().fence), (3, first.lock.fence));
}

#[test]
fn unknown_is_unknown_at_once() {
    let mut desk = Desk::new();
    let lock = desk.granted(&with_policy(1, OnUnknown::Refuse)).lock;
    assert_eq!(desk.release(lock, Effect::Unknown), Held::Held);
    let Acquired::Unknown { prior, .. } = desk.acquire(&claim(2)) else { panic!("not unknown") };
    assert_eq!((prior.attempt, prior.ended, prior.ended_at), (1, Ended::Told, desk.now));
}

#[test]
fn settled_vouches_for_whatever_came_before() {
    let mut desk = Desk::new();
    desk.granted(&with_policy(1, OnUnknown::Refuse));
    desk.lapse();
    let settling = desk.granted(&Claim { settles: true, ..claim(2) });
    assert_eq!(desk.release(settling.lock, Effect::Settled), Held::Held);
    let third = desk.granted(&with_policy(3, OnUnknown::Refuse));
    assert_eq!((third.attempt, third.prior), (3, None));
}

#[test]
fn a_release_repeated_is_held_and_remembered_no_longer() {
    for effect in [Effect::None, Effect::Unknown, Effect::Settled] {
        for with_prior in [false, true] {
            let mut desk = Desk::new();
            let mut lock = desk.granted(&claim(1)).lock;
            if with_prior {
                desk.lapse();
                lock = desk.granted(&claim(2)).lock;
            }
            assert_eq!(desk.release(lock, effect), Held::Held);
            let before = desk.record.clone();
            desk.pass(TICK);
            assert_eq!(desk.release(lock, effect), Held::Held, "{effect:?}, prior: {with_prior}");
            assert_eq!(desk.record, before);
        }
    }
}

#[test]
fn a_release_never_takes_back_another_end() {
    let mut desk = Desk::new();
    let lock = desk.granted(&claim(1)).lock;
    let mut unknown = desk.clone();
    unknown.release(lock, Effect::Unknown);
    let mut free = desk.clone();
    free.release(lock, Effect::None);
    desk.store(lock, &result("a"));
    let cases = [
        (unknown, vec![Effect::None, Effect::Settled]),
        (free, vec![Effect::Unknown]),
        (desk, vec![Effect::None, Effect::Unknown, Effect::Settled]),
    ];
    for (mut desk, effects) in cases {
        let before = desk.record.clone();
        for effect in effects {
            assert_eq!(desk.release(lock, effect), Held::Lost, "{effect:?} after {:?}", desk.record);
            assert_eq!(desk.record, before);
        }
    }
}
