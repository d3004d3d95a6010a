//! Operators and late messages that meet others on their way.

use std::time::Duration;

use idempotency_core::{Effect, Error, IdempotencyStore, OnUnknown, SettleError, Status, StoreExt};
use tokio::time::sleep;

use crate::support::{Failed, Fault, KEY, LEASE, Method, fail, faulty, run};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn an_operator_who_comes_second_changes_nothing() {
    let (store, handle) = faulty();
    let _ = fail(&handle, &KEY, Failed::TimedOut).await;
    // Seen as unknown, but run again before the takeover arrives.
    store.next(Method::Acquire, [Fault::Late(SECOND)]);
    let (settled, ran) = tokio::join!(store.settle(&KEY, LEASE), async {
        sleep(SECOND / 2).await;
        run(&handle, &KEY, 2).await
    });
    assert!(matches!(settled.map(drop), Err(SettleError::NotUnknown)));
    assert_eq!(*ran.unwrap(), 2);
    assert_eq!(*run(&handle, &KEY, 3).await.unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_operator_whose_key_was_freed_meanwhile_frees_it_again() {
    let (store, handle) = faulty();
    let _ = fail(&handle, &KEY, Failed::TimedOut).await;
    store.next(Method::Acquire, [Fault::Late(SECOND)]);
    let (late, first) = tokio::join!(store.settle(&KEY, LEASE), async {
        sleep(SECOND / 2).await;
        store.settle(&KEY, LEASE).await.unwrap().had_no_effect().await
    });
    assert!(first.is_ok());
    assert!(matches!(late.map(drop), Err(SettleError::NotUnknown)));
    assert!(matches!(handle.status(&KEY).await.unwrap(), Status::Released { .. }));
    assert_eq!(run(&handle, &KEY, 2).await.unwrap().prior(), None);
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_first_lock_was_ended_by_another_begins_anew() {
    for (effect, told) in [(Effect::None, false), (Effect::Unknown, true)] {
        let (store, handle) = faulty();
        store.next(Method::Acquire, [Fault::LOST]);
        let (ran, ()) = tokio::join!(run(&handle, &KEY, 1), async {
            tokio::task::yield_now().await;
            let lock = store.record(&KEY).unwrap().lock;
            store.release_lock(&KEY, &lock, effect).await.unwrap();
        });
        let ran = ran.unwrap();
        assert_eq!((*ran, ran.attempt(), ran.prior().is_some()), (1, 2, told));
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_key_whose_lost_lock_was_ended_unknown_stays_refused() {
    let (store, handle) = faulty();
    let handle = handle.with_on_unknown(OnUnknown::Refuse);
    store.next(Method::Acquire, [Fault::LOST]);
    let (ran, ()) = tokio::join!(run(&handle, &KEY, 1), async {
        tokio::task::yield_now().await;
        let lock = store.record(&KEY).unwrap().lock;
        store.release_lock(&KEY, &lock, Effect::Unknown).await.unwrap();
    });
    assert!(matches!(ran, Err(Error::OutcomeUnknown { .. })));
}

#[tokio::test(start_paused = true)]
async fn an_operator_whose_lock_lapsed_still_settles_where_nobody_took_over() {
    let (store, handle) = faulty();
    let _ = fail(&handle.clone().with_on_unknown(OnUnknown::Refuse), &KEY, Failed::TimedOut).await;
    let settling = store.settle(&KEY, SECOND).await.unwrap();
    sleep(SECOND * 2).await;
    settling.had_no_effect().await.unwrap();
    let freed = run(&handle, &KEY, 3).await.unwrap();
    assert_eq!((*freed, freed.prior()), (3, None));
}
