//! What is doubtful stays so: unknowns are remembered, lost locks do not run, and failing open is for a
//! store that says nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use idempotency_core::{Error, How, Idempotency, StoreErrorKind};
use tokio::time::{sleep, timeout};

use crate::support::{Failed, Fault, KEY, LEASE, Method, abandon, fail, faulty, key_of, run, start};

const SECOND: Duration = Duration::from_secs(1);

/// A later release that remembers for a second only must not make an earlier unknown forgotten.
#[tokio::test(start_paused = true)]
async fn an_unknown_is_remembered_as_long_as_whoever_asked_for_the_longest() {
    let (store, handle) = faulty();
    abandon(&handle, &KEY).await;
    sleep(LEASE).await;
    let short = Idempotency::new(store).with_retention(SECOND).unwrap().with_unknown_retention(SECOND).unwrap();
    assert!(matches!(fail(&short, &KEY, Failed::NotSent).await, Failed::NotSent));
    sleep(2 * SECOND).await;
    let prior = handle.call(&KEY).run(async |attempt| Ok::<_, Error>(attempt.prior().map(|prior| prior.attempt)));
    assert_eq!(*prior.await.unwrap(), Some(1));
}

#[tokio::test(start_paused = true)]
async fn so_is_the_policy_that_it_was_begun_under() {
    let (store, handle) = faulty();
    let begun = handle.call(&KEY).reconcile(async |_| Ok::<_, Error>(None::<u32>));
    let hung = begun.run(async |_| std::future::pending::<Result<u32, Error>>().await);
    assert!(timeout(SECOND, hung).await.is_err());
    sleep(LEASE).await;
    let short = Idempotency::new(store).with_retention(SECOND).unwrap().with_unknown_retention(SECOND).unwrap();
    let look = short.call(&KEY).reconcile(async |_| Err::<Option<u32>, _>(Failed::TimedOut));
    assert!(look.run(async |_| Ok(1)).await.is_err());
    sleep(2 * SECOND).await;
    assert!(matches!(run(&handle, &KEY, 7).await, Err(Error::OutcomeUnknown { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_lock_lost_during_the_look_does_not_run() {
    let (store, handle) = faulty();
    abandon(&handle, &KEY).await;
    sleep(LEASE).await;
    let ran = Arc::new(AtomicU32::new(0));
    store.always(Method::Extend, Fault::DOWN);
    let count = ran.clone();
    let looks = handle.call(&KEY).reconcile(async |_| {
        sleep(100 * SECOND).await;
        Ok::<_, Error>(None::<u32>)
    });
    let slow = looks.spawn(move |_| async move { Ok(count.fetch_add(1, SeqCst)) });
    sleep(40 * SECOND).await;
    let count = ran.clone();
    let other = handle.call(&KEY).reconcile(async |_| Ok::<_, Error>(None::<u32>));
    let other = other.run(move |_| async move { Ok(count.fetch_add(1, SeqCst)) }).await.unwrap();
    assert!(matches!(other.how(), How::Executed));
    assert!(matches!(slow.await, Err(Error::InProgress { .. })));
    assert_eq!(ran.load(SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_lock_whose_answer_came_after_its_lease_does_not_run() {
    let (store, handle) = faulty();
    let handle = handle.with_lease(SECOND).unwrap();
    store.next(Method::Acquire, [Fault::LateAfter(Duration::from_millis(1500))]);
    let ran = Arc::new(AtomicU32::new(0));
    let count = ran.clone();
    let late = handle.call(&KEY).spawn(move |_| async move { Ok::<_, Error>(count.fetch_add(1, SeqCst)) });
    sleep(Duration::from_millis(1200)).await;
    let count = ran.clone();
    let other = handle.call(&KEY).run(move |_| async move { Ok::<_, Error>(count.fetch_add(1, SeqCst)) });
    assert!(matches!(other.await.unwrap().how(), How::Executed));
    assert!(matches!(late.await, Err(Error::InProgress { .. })));
    assert_eq!(ran.load(SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn failing_open_is_not_for_a_record_that_cannot_be_read() {
    let (store, handle) = faulty();
    let _ = run(&handle, &KEY, 1).await.unwrap();
    for kind in [StoreErrorKind::Damaged, StoreErrorKind::Full, StoreErrorKind::Misconfigured] {
        store.always(Method::Acquire, Fault::Before(kind));
        let again = handle.call(&KEY).fail_open().run(async |_| Ok::<u32, Error>(2)).await;
        assert!(matches!(again, Err(Error::Store { .. })), "{kind:?}: {again:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn failing_open_is_not_beside_a_run_of_which_the_store_has_told() {
    let (store, handle) = faulty();
    let running = start(&handle, &KEY, 20 * SECOND, 1);
    tokio::task::yield_now().await;
    let waits = tokio::spawn({
        let handle = handle.clone();
        async move { handle.call(&KEY).fail_open().wait(10 * SECOND).run(async |_| Ok::<u32, Error>(2)).await }
    });
    sleep(SECOND).await;
    store.always(Method::Acquire, Fault::DOWN);
    assert!(matches!(waits.await.unwrap(), Err(Error::Store { .. })));
    store.heal();
    assert_eq!(*running.await.unwrap(), 1);
}

/// Each runtime that uses a handle has a lane at its renewer; it goes with the runtime.
#[test]
fn runtimes_that_are_gone_leave_nothing() {
    let (_, handle) = faulty();
    for order in 0..100 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let outcome = runtime.block_on(run(&handle, &key_of(&order.to_string()), order));
        assert_eq!(*outcome.unwrap(), order);
    }
    let lanes = format!("{handle:?}").matches("Lane {").count();
    assert!(lanes <= 1, "{lanes} lanes");
}
