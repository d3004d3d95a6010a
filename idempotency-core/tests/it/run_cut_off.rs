//! Runs that are cut off: by a panic, by being dropped, by the loss of their lock.

use std::future::pending;
use std::time::Duration;

use idempotency_core::{Effect, Error, How, IdempotencyStore, LeaseLost, Status, Unrecorded};
use tokio::time::sleep;

use crate::support::{Fault, Ghost, KEY, LEASE, LONG, Method, abandon, faulty, polled, run, settle_down, start};

#[tokio::test(start_paused = true)]
async fn a_panic_goes_through_and_leaves_the_attempt_unknown_after_its_lease() {
    let (_, handle) = faulty();
    let panicking = handle.clone();
    let joined = tokio::spawn(async move {
        panicking.execute_once::<u32, Error>(&KEY, async { panic!("the operation's own") }).await
    });
    let panic = joined.await.unwrap_err().into_panic();
    assert_eq!(panic.downcast_ref(), Some(&"the operation's own"));
    settle_down(&handle).await;
    assert!(matches!(run(&handle, &KEY, 2).await, Err(Error::InProgress { .. })));
    sleep(LEASE).await;
    assert_eq!(run(&handle, &KEY, 2).await.unwrap().prior().unwrap().attempt, 1);
}

#[tokio::test(start_paused = true)]
async fn a_panic_before_the_operation_gave_a_future_counts_as_run() {
    let (_, handle) = faulty();
    let panicking = handle.clone();
    let of = KEY.clone();
    let call =
        async move { panicking.call(&of).run(|_| -> std::future::Ready<Result<u32, Error>> { panic!("early") }).await };
    assert!(tokio::spawn(call).await.unwrap_err().is_panic());
    settle_down(&handle).await;
    assert!(matches!(handle.status(&KEY).await.unwrap(), Status::InProgress { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_classification_that_panics_leaves_the_attempt_unknown() {
    let (_, handle) = faulty();
    let panicking = handle.clone();
    let joined = tokio::spawn(async move {
        let classify = |_: &Error| -> Effect { panic!("in the classification") };
        let failed = || async { Err::<u32, _>(Error::Mismatch { key: KEY.clone() }) };
        panicking.call(&KEY).effect_of(classify).run(|_| failed()).await
    });
    assert!(joined.await.unwrap_err().is_panic());
    settle_down(&handle).await;
    sleep(LEASE).await;
    assert!(run(&handle, &KEY, 2).await.unwrap().prior().is_some());
}

#[tokio::test(start_paused = true)]
async fn dropped_before_its_operation_was_polled_the_key_is_free() {
    let (store, handle) = faulty();
    store.yields(3);
    let ghost = Ghost::default();
    // Polled up to the middle of the acquisition.
    for polls in 1..=5 {
        assert!(polled(polls, handle.execute_once(&KEY, ghost.clone().operation(0))).await.is_none());
        settle_down(&handle).await;
        assert!(!matches!(handle.status(&KEY).await.unwrap(), Status::InProgress { .. } | Status::Unknown { .. }));
    }
    assert_eq!(ghost.begun(), 0);
    assert_eq!(run(&handle, &KEY, 2).await.unwrap().prior(), None);
}

#[tokio::test(start_paused = true)]
async fn dropped_while_its_operation_runs_the_key_is_never_freed() {
    let (store, handle) = faulty();
    abandon(&handle, &KEY).await;
    settle_down(&handle).await;
    assert_eq!(store.calls(), [Method::Acquire]);
    assert!(matches!(run(&handle, &KEY, 2).await, Err(Error::InProgress { .. })));
    // Nor renewed.
    sleep(LEASE).await;
    assert_eq!(store.count(Method::Extend), 0);
    assert_eq!(run(&handle, &KEY, 2).await.unwrap().prior().unwrap().attempt, 1);
}

#[tokio::test(start_paused = true)]
async fn dropped_while_its_result_is_stored_the_result_is_stored_all_the_same() {
    let (store, handle) = faulty();
    store.always(Method::Store, Fault::DOWN);
    let dropped = tokio::time::timeout(Duration::from_secs(1), run(&handle, &KEY, 7)).await;
    assert!(dropped.is_err());
    sleep(LEASE * 3).await;
    store.heal();
    settle_down(&handle).await;
    let again = run(&handle, &KEY, 8).await.unwrap();
    assert_eq!((*again, again.is_replay()), (7, true));
}

#[tokio::test(start_paused = true)]
async fn a_detached_run_goes_on_to_its_end() {
    let (_, handle) = faulty();
    drop(start(&handle, &KEY, LEASE * 4, 7));
    settle_down(&handle).await;
    let again = run(&handle, &KEY, 8).await.unwrap();
    assert_eq!((*again, again.is_replay(), again.attempt()), (7, true, 1));
}

#[tokio::test(start_paused = true)]
async fn a_detached_run_passes_its_panic_on() {
    let (_, handle) = faulty();
    let running = handle.call(&KEY).spawn(async |_| -> Result<u32, Error> { panic!("detached") });
    let panic = tokio::spawn(running).await.unwrap_err().into_panic();
    assert_eq!(panic.downcast_ref(), Some(&"detached"));
}

#[test]
fn a_detached_run_whose_runtime_shut_down_says_so() {
    let (_, handle) = faulty();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let doomed = runtime();
    let entered = doomed.enter();
    let running = handle.call(&KEY).spawn(async |_| pending::<Result<u32, Error>>().await);
    drop(entered);
    drop(doomed);
    let error = runtime().block_on(running).unwrap_err();
    assert!(matches!(error, Error::Shutdown { .. }));
    assert_eq!(error.key(), Some(&*KEY));
}

/// Every poll after which a caller may go away, with a store that has each call wait twice.
#[tokio::test(start_paused = true)]
async fn a_detachable_run_is_dropped_before_its_operation_and_goes_on_after() {
    let (mut freed, mut went_on) = (0, 0);
    for polls in 1..40 {
        let (store, handle) = faulty();
        store.yields(2);
        let ghost = Ghost::default();
        let operation = ghost.clone().operation(3);
        let done = polled(polls, handle.call(&KEY).detachable(move |_| operation)).await.is_some();
        if done {
            break;
        }
        let begun = ghost.begun();
        handle.drain(LEASE).await.unwrap();
        let again = run(&handle, &KEY, 100).await.unwrap();
        assert_eq!(again.prior(), None);
        assert_eq!(again.is_replay(), begun == 1, "dropped after {polls} polls");
        if begun == 1 { went_on += 1 } else { freed += 1 }
    }
    assert!(freed > 1 && went_on > 4, "{freed} freed, {went_on} went on");
}

#[tokio::test(start_paused = true)]
async fn a_detachable_run_passes_its_panic_on_and_ends() {
    let (_, handle) = faulty();
    let running = handle.call(&KEY).detachable(async |_| -> Result<u32, Error> { panic!("detachable") });
    let panic = tokio::spawn(running).await.unwrap_err().into_panic();
    assert_eq!(panic.downcast_ref(), Some(&"detachable"));
    settle_down(&handle).await;
    assert!(matches!(run(&handle, &KEY, 2).await, Err(Error::InProgress { .. })));
    sleep(LEASE).await;
    assert_eq!(run(&handle, &KEY, 2).await.unwrap().prior().unwrap().attempt, 1);
}

#[tokio::test(start_paused = true)]
async fn draining_waits_for_a_detachable_run_from_its_start() {
    let (_, handle) = faulty();
    let running = handle.call(&KEY).detachable(async |_| {
        sleep(LEASE).await;
        Ok::<u32, Error>(7)
    });
    assert_eq!(handle.drain(LEASE / 2).await.unwrap_err().tasks, 1);
    let mut running = Box::pin(running);
    assert!(tokio::time::timeout(LEASE / 2, &mut running).await.is_err());
    drop(running);
    assert_eq!(handle.drain(LEASE / 4).await.unwrap_err().tasks, 1);
    handle.drain(LEASE).await.unwrap();
    assert!(run(&handle, &KEY, 8).await.unwrap().is_replay());
}

/// A process that ends as soon as all is done would leave the lock to lapse.
#[tokio::test(start_paused = true)]
async fn draining_waits_for_the_lock_that_a_detachable_run_dropped_early_gives_back() {
    for polls in 1..=4 {
        let (store, handle) = faulty();
        store.yields(4);
        let mut running = Box::pin(handle.call(&KEY).detachable(async |_| Ok::<u32, Error>(7)));
        assert!(polled(polls, running.as_mut()).await.is_none());
        let mut draining = Box::pin(handle.drain(LEASE));
        assert!(polled(1, draining.as_mut()).await.is_none());
        drop(running);
        draining.await.unwrap();
        assert_eq!(store.calls().last(), Some(&Method::Release), "dropped after {polls} polls");
    }
}

#[test]
fn a_detachable_run_whose_runtime_shut_down_is_left_unknown() {
    let (_, handle) = faulty();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let doomed = runtime();
    let running = handle.clone();
    doomed.spawn(async move { running.call(&KEY).detachable(async |_| pending::<Result<u32, Error>>().await).await });
    doomed.block_on(tokio::task::yield_now());
    drop(doomed);
    let status = runtime().block_on(handle.status(&KEY)).unwrap();
    assert!(matches!(status, Status::InProgress { .. }), "{status:?}");
    runtime().block_on(handle.drain(LEASE)).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_lock_lost_while_running_is_told_and_the_value_is_the_callers() {
    let (store, handle) = faulty();
    let outcome = handle.call(&KEY).run(async |attempt| {
        // Nothing gets through for more than a lease, and another takes over.
        store.always(Method::Extend, Fault::DOWN);
        assert_eq!(attempt.lost().await, LeaseLost::NotRenewed);
        let claim = idempotency_core::Claim::new(KEY.fingerprint());
        let taken = store.acquire_lock(&KEY, &claim).await.unwrap();
        assert!(matches!(taken, idempotency_core::Acquired::Acquired(grant) if grant.prior.is_some()), "{taken:?}");
        assert_eq!(attempt.lease_remaining(), Duration::ZERO);
        Ok::<u32, Error>(7)
    });
    let outcome = outcome.await.unwrap();
    assert!(matches!(outcome.how(), How::Unrecorded(Unrecorded::LockLost)), "{outcome:?}");
    assert_eq!((*outcome, outcome.recorded()), (7, Err(7)));
}

#[tokio::test(start_paused = true)]
async fn whoever_took_over_is_answered_its_own_result() {
    let (store, handle) = faulty();
    let outcome = handle.call(&KEY).run(async |attempt| {
        store.always(Method::Extend, Fault::DOWN);
        attempt.lost().await;
        assert_eq!(run(&handle, &KEY, 2).await.unwrap().prior().unwrap().attempt, 1);
        Ok::<u32, Error>(1)
    });
    let outcome = outcome.await.unwrap();
    assert!(matches!(outcome.how(), How::Unrecorded(Unrecorded::LockLost)));
    assert_eq!(*run(&handle, &KEY, 3).await.unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_late_result_is_recorded_if_nobody_took_over() {
    let (store, handle) = faulty();
    let outcome = handle.call(&KEY).run(async |attempt| {
        store.always(Method::Extend, Fault::DOWN);
        attempt.lost().await;
        sleep(LONG).await;
        Ok::<u32, Error>(1)
    });
    assert!(matches!(outcome.await.unwrap().how(), How::Executed));
    assert_eq!(*run(&handle, &KEY, 3).await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_release_that_is_lost_is_no_error_for_a_caller_that_is_done() {
    let (store, handle) = faulty();
    let failed = handle.call(&KEY).run(async |attempt| {
        store.always(Method::Extend, Fault::DOWN);
        attempt.lost().await;
        let _ = run(&handle, &KEY, 2).await.unwrap();
        Err::<u32, _>(crate::support::Failed::TimedOut)
    });
    assert!(matches!(failed.await, Err(crate::support::Failed::TimedOut)));
    assert_eq!(*run(&handle, &KEY, 3).await.unwrap(), 2);
}
