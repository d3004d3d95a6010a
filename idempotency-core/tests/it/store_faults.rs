//! Stores that fail, hang, or lose their answers.

use std::time::Duration;

use idempotency_core::{
    Completion, Effect, Error, Held, How, IdempotencyStore, NotReplayable, Omitted, State, Status, StoreErrorKind,
    Unrecorded,
};
use tokio::time::{Instant, sleep};

use crate::support::{Failed, Fault, Ghost, KEY, LEASE, LONG, Method, effect_of, fail, faulty, run, settle_down};

const LIMIT: Duration = Duration::from_secs(5);
const LASTING: [StoreErrorKind; 4] =
    [StoreErrorKind::Damaged, StoreErrorKind::Closed, StoreErrorKind::Misconfigured, StoreErrorKind::Internal];

#[tokio::test(start_paused = true)]
async fn unreachable_before_the_run_nothing_runs() {
    let faults =
        LASTING.map(Fault::Before).into_iter().chain([Fault::DOWN, Fault::LOST, Fault::Hangs, Fault::PanicsAt(1)]);
    for fault in faults {
        let (store, handle) = faulty();
        store.always(Method::Acquire, fault);
        let ghost = Ghost::default();
        let began = Instant::now();
        let failed = handle.execute_once(&KEY, ghost.clone().operation(0)).await.unwrap_err();
        assert!(matches!(&failed, Error::Store { key, .. } if *key == *KEY), "{failed:?}");
        assert!(failed.to_string().starts_with("nothing ran for /payment:create/ord_42: the store "), "{failed}");
        assert!(began.elapsed() < LIMIT + Duration::from_millis(10));
        assert_eq!(ghost.begun(), 0);
        store.heal();
        settle_down(&handle).await;
        assert_eq!(run(&handle, &KEY, 1).await.unwrap().prior(), None, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_full_refuses_a_new_key_with_its_own_error() {
    let (store, handle) = faulty();
    store.next(Method::Acquire, [Fault::Before(StoreErrorKind::Full)]);
    match run(&handle, &KEY, 1).await.unwrap_err() {
        Error::Store { source, .. } => assert_eq!(source.to_string(), "the store is full (test): as told"),
        other => panic!("{other:?}"),
    }
    assert_eq!(store.calls(), [Method::Acquire]);
}

#[tokio::test(start_paused = true)]
async fn passing_failures_before_the_run_are_asked_again() {
    let (store, handle) = faulty();
    store.next(Method::Acquire, [Fault::DOWN, Fault::Hangs]);
    assert!(matches!(run(&handle, &KEY, 1).await.unwrap().how(), How::Executed));
    assert_eq!(store.count(Method::Acquire), 3);
}

#[tokio::test(start_paused = true)]
async fn failing_open_runs_without_protection_and_says_so() {
    let (store, handle) = faulty();
    store.always(Method::Acquire, Fault::DOWN);
    let outcome = handle.call(&KEY).fail_open().run(async |attempt| {
        assert_eq!((attempt.number(), attempt.fence().get(), attempt.prior()), (0, 0, None));
        assert_eq!((attempt.lease_remaining(), attempt.is_lost()), (Duration::ZERO, None));
        assert!(tokio::time::timeout(LONG, attempt.lost()).await.is_err());
        Ok::<_, Error>(attempt.downstream().to_string())
    });
    let outcome = outcome.await.unwrap();
    assert!(matches!(outcome.how(), How::Unprotected(error) if error.kind() == StoreErrorKind::Unavailable));
    assert_eq!((outcome.attempt(), outcome.origin().is_some()), (0, false));
    assert_eq!(outcome.recorded(), Err(KEY.downstream().to_string()));
    assert_eq!((store.count(Method::Store), store.count(Method::Release)), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn failing_open_never_frees_a_lock_that_it_may_hold() {
    let (store, handle) = faulty();
    store.always(Method::Acquire, Fault::LOST);
    let ran = handle.call(&KEY).fail_open().run(async |_| Ok::<u32, Error>(1)).await.unwrap();
    assert!(matches!(ran.how(), How::Unprotected(_)));
    store.heal();
    settle_down(&handle).await;
    sleep(LEASE).await;
    assert!(run(&handle, &KEY, 2).await.unwrap().prior().is_some());
}

#[tokio::test(start_paused = true)]
async fn failing_open_is_protected_where_the_store_answers() {
    let (_, handle) = faulty();
    let ran = handle.call(&KEY).fail_open().run(async |_| Ok::<u32, Error>(1)).await.unwrap();
    assert!(matches!(ran.how(), How::Executed));
    assert!(handle.call(&KEY).fail_open().run(async |_| Ok::<u32, Error>(2)).await.unwrap().is_replay());
}

#[tokio::test(start_paused = true)]
async fn storing_that_fails_for_good_gives_the_value_and_leaves_the_attempt_unknown() {
    for kind in LASTING {
        let (store, handle) = faulty();
        store.always(Method::Store, Fault::Before(kind));
        let outcome = run(&handle, &KEY, 7).await.unwrap();
        assert!(matches!(outcome.how(), How::Unrecorded(Unrecorded::Store(error)) if error.kind() == kind));
        assert!(*outcome == 7 && store.count(Method::Store) <= 2);
        settle_down(&handle).await;
        assert!(matches!(run(&handle, &KEY, 8).await, Err(Error::InProgress { .. })));
        sleep(LEASE).await;
        store.heal();
        assert!(run(&handle, &KEY, 8).await.unwrap().prior().is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn a_value_that_the_store_refuses_for_good_leaves_the_fact() {
    for kind in [StoreErrorKind::Full, StoreErrorKind::TooLarge] {
        let (store, handle) = faulty();
        store.next(Method::Store, [Fault::DOWN, Fault::Before(kind), Fault::DOWN]);
        let outcome = run(&handle, &KEY, 7).await.unwrap();
        assert!(
            matches!(outcome.how(), How::Unrecorded(Unrecorded::Store(error)) if error.kind() == kind),
            "{outcome:?}"
        );
        assert_eq!((*outcome, store.count(Method::Store)), (7, 4));
        let state = store.record(&KEY).unwrap().state;
        let omitted = Completion::Omitted(Omitted::RefusedByStore);
        assert!(matches!(state, State::Completed { result, .. } if result == omitted));
        let again = run(&handle, &KEY, 8).await;
        let why = NotReplayable::Omitted(Omitted::RefusedByStore).to_string();
        assert!(matches!(again, Err(Error::NotReplayable { why: told, .. }) if told.to_string() == why));
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_refuses_even_the_fact_leaves_the_attempt_unknown() {
    let (store, handle) = faulty();
    store.always(Method::Store, Fault::Before(StoreErrorKind::Full));
    assert!(matches!(run(&handle, &KEY, 7).await.unwrap().how(), How::Unrecorded(Unrecorded::Store(_))));
    assert!(store.count(Method::Store) <= 3);
    sleep(LEASE).await;
    assert!(run(&handle, &KEY, 8).await.unwrap().prior().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_hung_store_never_holds_back_a_finished_operation() {
    for fault in [Fault::Hangs, Fault::DOWN] {
        let (store, handle) = faulty();
        store.always(Method::Store, fault);
        let began = Instant::now();
        let outcome = run(&handle, &KEY, 7).await.unwrap();
        assert!(began.elapsed() <= LIMIT + Duration::from_millis(2), "{:?}", began.elapsed());
        match outcome.how() {
            How::Unrecorded(Unrecorded::Store(error)) => {
                assert_eq!((error.kind(), error.operation()), (StoreErrorKind::InDoubt, "store_result"));
                assert!(error.to_string().ends_with("it is asked on in the background"), "{error}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(outcome.into_inner(), 7);
        // Long after the first lease, which is kept renewed meanwhile, the store recovers.
        sleep(LEASE * 3).await;
        assert!(matches!(run(&handle, &KEY, 8).await, Err(Error::InProgress { .. })));
        store.heal();
        settle_down(&handle).await;
        assert!(run(&handle, &KEY, 8).await.unwrap().is_replay(), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_altogether_is_given_up_when_the_lease_is_over() {
    let (store, handle) = faulty();
    let outcome = handle.call(&KEY).run(async |_| {
        for method in [Method::Get, Method::Extend, Method::Store, Method::Release] {
            store.always(method, Fault::Hangs);
        }
        Ok::<u32, Error>(7)
    });
    assert!(matches!(outcome.await.unwrap().how(), How::Unrecorded(Unrecorded::Store(_))));
    let began = Instant::now();
    settle_down(&handle).await;
    assert!(began.elapsed() < LEASE + LIMIT);
    store.heal();
    assert!(run(&handle, &KEY, 8).await.unwrap().prior().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_hung_release_holds_back_neither_an_error_nor_the_key_for_ever() {
    for failed in [Failed::NotSent, Failed::TimedOut] {
        let (store, handle) = faulty();
        store.always(Method::Release, Fault::Hangs);
        let effect = effect_of(&failed);
        let began = Instant::now();
        let _ = fail(&handle, &KEY, failed).await;
        assert!(began.elapsed() <= LIMIT + Duration::from_millis(2));
        sleep(LEASE).await;
        store.heal();
        settle_down(&handle).await;
        let again = run(&handle, &KEY, 8).await.unwrap();
        assert_eq!(again.prior().is_some(), effect == Effect::Unknown);
    }
}

#[tokio::test(start_paused = true)]
async fn a_hung_status_is_an_error_within_the_limit() {
    let (store, handle) = faulty();
    store.always(Method::Get, Fault::Hangs);
    let began = Instant::now();
    let error = handle.status(&KEY).await.unwrap_err();
    assert_eq!((error.kind(), error.operation(), error.is_passing()), (StoreErrorKind::InDoubt, "get", true));
    assert!(began.elapsed() <= LIMIT + Duration::from_millis(2));
}

#[tokio::test(start_paused = true)]
async fn an_acquisition_whose_answer_was_lost_is_asked_again_by_the_same_owner() {
    for fault in [Fault::LOST, Fault::After(StoreErrorKind::Unavailable), Fault::HangsAfter] {
        let (store, handle) = faulty();
        store.next(Method::Acquire, [fault, fault]);
        let outcome = run(&handle, &KEY, 7).await.unwrap();
        // No second attempt, no "in progress" against itself.
        assert_eq!((outcome.attempt(), outcome.prior(), store.count(Method::Acquire)), (1, None, 3));
    }
}

#[tokio::test(start_paused = true)]
async fn an_acquisition_whose_every_answer_was_lost_is_found_out_and_released() {
    for fault in [Fault::LOST, Fault::HangsAfter, Fault::PanicsAt(1), Fault::After(StoreErrorKind::Internal)] {
        let (store, handle) = faulty();
        store.always(Method::Acquire, fault);
        assert!(matches!(run(&handle, &KEY, 7).await, Err(Error::Store { .. })));
        store.heal();
        settle_down(&handle).await;
        assert!(matches!(handle.status(&KEY).await.unwrap(), Status::Released { attempt: 1 }), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn finding_out_is_given_up_when_the_lease_must_be_over() {
    let (store, handle) = faulty();
    store.always(Method::Acquire, Fault::HangsAfter);
    assert!(matches!(run(&handle, &KEY, 7).await, Err(Error::Store { .. })));
    let began = Instant::now();
    settle_down(&handle).await;
    assert!(began.elapsed() <= LEASE + LIMIT);
    let (store, handle) = faulty();
    store.next(Method::Acquire, [Fault::LOST, Fault::LOST, Fault::LOST, Fault::Before(StoreErrorKind::Closed)]);
    assert!(matches!(run(&handle, &KEY, 7).await, Err(Error::Store { .. })));
    settle_down(&handle).await;
    assert_eq!(store.count(Method::Acquire), 4);
}

#[tokio::test(start_paused = true)]
async fn a_stored_result_whose_answer_was_lost_is_held() {
    for fault in [Fault::LOST, Fault::HangsAfter] {
        let (store, handle) = faulty();
        store.next(Method::Store, [fault, fault]);
        assert!(matches!(run(&handle, &KEY, 7).await.unwrap().how(), How::Executed));
        assert_eq!(store.count(Method::Store), 3);
        assert_eq!(*run(&handle, &KEY, 8).await.unwrap(), 7);
    }
}

#[tokio::test(start_paused = true)]
async fn a_release_whose_answer_was_lost_is_held() {
    for failed in [Failed::NotSent, Failed::TimedOut] {
        let (store, handle) = faulty();
        store.next(Method::Release, [Fault::LOST, Fault::HangsAfter]);
        let effect = effect_of(&failed);
        let _ = fail(&handle, &KEY, failed).await;
        assert_eq!(store.count(Method::Release), 3);
        let record = store.record(&KEY).unwrap();
        let again = store.release_lock(&KEY, &record.lock, effect).await.unwrap();
        assert_eq!(again, Held::Held);
        assert_eq!(run(&handle, &KEY, 8).await.unwrap().prior().is_some(), effect == Effect::Unknown);
    }
}
