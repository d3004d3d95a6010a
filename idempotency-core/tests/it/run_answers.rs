//! What a run and its duplicates are answered, where nothing fails but the operation.

use std::time::Duration;

use idempotency_core::{Attributes, Context, Effect, Error, How, IdempotencyStore, OnUnknown, Status, execute_once};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use crate::support::{
    Failed, Fault, KEY, LEASE, Method, OTHER_REQUEST, TokioClock, abandon, effect_of, fail, faulty, run, settle_down,
    start,
};

#[tokio::test(start_paused = true)]
async fn a_duplicate_is_given_the_first_value_and_told_where_it_came_from() {
    let (store, handle) = faulty();
    sleep(Duration::from_secs(3)).await;
    let context = Context::default().with_trace_parent("00-aa-bb-01").unwrap();
    let call = handle.call(&KEY).context(context).correlation_id("c-1").attribute("source", "web");
    let first = call.run(async |_| Ok::<u32, Error>(7)).await.unwrap();
    assert!(matches!(first.how(), How::Executed) && !first.is_replay() && first.origin().is_none());
    assert_eq!((*first, first.attempt(), first.prior()), (7, 1, None));

    sleep(Duration::from_secs(60)).await;
    let again = handle.call(&KEY).attribute("source", "retry").run(async |_| Ok::<u32, Error>(8)).await.unwrap();
    let origin = again.origin().unwrap();
    assert_eq!((*again, again.attempt(), again.is_replay()), (7, 1, true));
    assert_eq!((origin.attempt, origin.completed_at), (1, TokioClock::START.plus(Duration::from_secs(3))));
    assert_eq!(origin.remaining, Duration::from_secs(24 * 60 * 60 - 60));
    assert_eq!((origin.context.trace_parent(), origin.context.correlation_id()), (Some("00-aa-bb-01"), Some("c-1")));
    assert_eq!(origin.attributes.iter().collect::<Vec<_>>(), [("source", "web")]);
    assert_eq!(store.count(Method::Acquire), 2);
    assert_eq!(again.map(|value| value + 1).recorded(), Ok(8));
}

#[tokio::test(start_paused = true)]
async fn attributes_given_together_are_all_there_are() {
    let (store, handle) = faulty();
    let together = Attributes::default().with("type", "order").unwrap();
    let call = handle.call(&KEY).attribute("source", "web").attributes(together).attribute("order", "42");
    let _ = call.run(async |_| Ok::<u32, Error>(7)).await.unwrap();
    let kept = store.get(&KEY).await.unwrap().unwrap().record.attributes;
    assert_eq!(kept.iter().collect::<Vec<_>>(), [("order", "42"), ("type", "order")]);
}

#[tokio::test(start_paused = true)]
async fn after_its_retention_the_key_runs_anew() {
    let (_, handle) = faulty();
    let handle = handle.with_retention(Duration::from_secs(60)).unwrap();
    let _ = run(&handle, &KEY, 1).await.unwrap();
    sleep(Duration::from_secs(59)).await;
    assert!(run(&handle, &KEY, 2).await.unwrap().is_replay());
    sleep(Duration::from_secs(1)).await;
    let anew = run(&handle, &KEY, 3).await.unwrap();
    assert_eq!((*anew, anew.attempt(), anew.is_replay()), (3, 1, false));
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_meanwhile_is_told_when_to_come_back() {
    let (_, handle) = faulty();
    let first = start(&handle, &KEY, Duration::from_secs(5), 1);
    sleep(Duration::from_secs(1)).await;
    match run(&handle, &KEY, 2).await {
        Err(Error::InProgress { key: of, attempt: 1, retry_after }) => {
            assert_eq!((of, retry_after), (KEY.clone(), LEASE - Duration::from_secs(1)));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(first.await.unwrap().into_inner(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_gets_the_value_as_soon_as_it_is_stored() {
    let (_, handle) = faulty();
    let began = Instant::now();
    let first = start(&handle, &KEY, Duration::from_millis(5_210), 1);
    sleep(Duration::from_millis(10)).await;
    let waited = handle.call(&KEY).wait(Duration::from_secs(20)).run(async |_| Ok::<u32, Error>(2)).await.unwrap();
    assert_eq!((*waited, waited.is_replay()), (1, true));
    // Told, not found at the next poll.
    assert_eq!(began.elapsed(), Duration::from_millis(5_210));
    assert_eq!(first.await.unwrap().into_inner(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_is_never_notified_asks_at_least_every_second() {
    let (store, handle) = faulty();
    store.deaf();
    let began = Instant::now();
    let first = start(&handle, &KEY, Duration::from_millis(5_210), 1);
    sleep(Duration::from_millis(10)).await;
    let waited = handle.call(&KEY).wait(Duration::from_secs(20)).run(async |_| Ok::<u32, Error>(2)).await.unwrap();
    assert_eq!(*waited, 1);
    assert!(began.elapsed() > Duration::from_millis(5_210) && began.elapsed() <= Duration::from_millis(6_215));
    assert!(store.count(Method::Acquire) < 20);
    assert_eq!(first.await.unwrap().into_inner(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_waits_no_longer_than_it_said() {
    let (_, handle) = faulty();
    let first = start(&handle, &KEY, Duration::from_secs(60), 1);
    sleep(Duration::from_millis(10)).await;
    let began = Instant::now();
    let waited = handle.call(&KEY).wait(Duration::from_secs(2)).run(async |_| Ok::<u32, Error>(2)).await;
    assert!(matches!(waited, Err(Error::InProgress { attempt: 1, .. })), "{waited:?}");
    assert!(began.elapsed() >= Duration::from_secs(2) && began.elapsed() < Duration::from_millis(2_010));
    drop(first);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_runs_a_key_that_becomes_free() {
    let (_, handle) = faulty();
    let failing = handle.call(&KEY).effect_of(effect_of).spawn(async |_| {
        sleep(Duration::from_secs(1)).await;
        Err::<u32, _>(Failed::NotSent)
    });
    sleep(Duration::from_millis(10)).await;
    let waited = handle.call(&KEY).wait(Duration::from_secs(20)).run(async |_| Ok::<u32, Error>(2)).await.unwrap();
    assert_eq!((*waited, waited.attempt(), waited.prior()), (2, 2, None));
    assert!(matches!(failing.await, Err(Failed::NotSent)));
}

#[tokio::test(start_paused = true)]
async fn a_waiter_takes_over_when_the_lease_runs_out() {
    let (_, handle) = faulty();
    abandon(&handle, &KEY).await;
    let waited = handle.call(&KEY).wait(LEASE * 2).run(async |_| Ok::<u32, Error>(2)).await.unwrap();
    assert_eq!((*waited, waited.prior().unwrap().attempt), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn an_error_leaves_the_attempt_unknown_at_once() {
    let (_, handle) = faulty();
    assert!(matches!(fail(&handle, &KEY, Failed::TimedOut).await, Failed::TimedOut));
    assert!(matches!(handle.status(&KEY).await.unwrap(), Status::Unknown { .. }));
    let again = run(&handle, &KEY, 2).await.unwrap();
    assert_eq!((*again, again.attempt(), again.prior().unwrap().attempt), (2, 2, 1));
}

#[tokio::test(start_paused = true)]
async fn without_a_classification_every_error_is_unknown() {
    let (_, handle) = faulty();
    let failed = handle.execute_once(&KEY, async { Err::<u32, _>(Failed::NotSent) }).await;
    assert!(matches!(failed, Err(Failed::NotSent)));
    assert!(run(&handle, &KEY, 2).await.unwrap().prior().is_some());
}

#[tokio::test(start_paused = true)]
async fn an_error_without_effect_frees_the_key() {
    let (_, handle) = faulty();
    assert!(matches!(fail(&handle, &KEY, Failed::NotSent).await, Failed::NotSent));
    assert_eq!(handle.status(&KEY).await.unwrap(), Status::Released { attempt: 1 });
    let again = run(&handle, &KEY, 2).await.unwrap();
    assert_eq!((*again, again.attempt(), again.prior()), (2, 2, None));
}

#[tokio::test(start_paused = true)]
async fn an_error_without_effect_after_an_unknown_attempt_leaves_that_unknown() {
    let (_, handle) = faulty();
    let _ = fail(&handle, &KEY, Failed::TimedOut).await;
    let _ = fail(&handle, &KEY, Failed::NotSent).await;
    let again = run(&handle, &KEY, 3).await.unwrap();
    assert_eq!((again.attempt(), again.prior().unwrap().attempt), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn a_decline_is_an_answer() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Payment {
        Paid(u64),
        Declined { reason: String },
    }
    let (_, handle) = faulty();
    let declined = || Payment::Declined { reason: "no funds".into() };
    let first = handle.execute_once(&KEY, async { Ok::<_, Error>(declined()) }).await.unwrap();
    assert!(matches!(first.how(), How::Executed));
    let again = execute_once(&handle, &KEY, async { Ok::<_, Error>(Payment::Paid(1)) }).await.unwrap();
    assert!(again.is_replay());
    assert_eq!(again.into_inner(), declined());
}

#[tokio::test(start_paused = true)]
async fn another_request_is_a_mismatch_whether_the_first_runs_is_unknown_or_done() {
    let (_, handle) = faulty();
    let first = start(&handle, &KEY, Duration::from_secs(1), 1);
    sleep(Duration::from_millis(10)).await;
    let mismatch = |answer| matches!(answer, Err(Error::Mismatch { .. }));
    assert!(mismatch(run(&handle, &OTHER_REQUEST, 2).await));
    assert!(mismatch(handle.call(&OTHER_REQUEST).wait(LEASE).run(async |_| Ok::<u32, Error>(2)).await));
    assert_eq!(first.await.unwrap().into_inner(), 1);
    assert!(mismatch(run(&handle, &OTHER_REQUEST, 2).await));
    assert_eq!(handle.status(&OTHER_REQUEST).await.unwrap(), Status::Mismatch);
    // Without a fingerprint, too.
    assert!(mismatch(run(&handle, &KEY.clone().with_fingerprint(idempotency_core::Fingerprint::NONE), 2).await));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_compare_fingerprints_does_not_show_anothers_result() {
    let (store, handle) = faulty();
    let _ = run(&handle, &KEY, 1).await.unwrap();
    let confused = handle.with_codec(idempotency_core::Bincode);
    let answers = crate::layers::Careless::over(store);
    let careless = idempotency_core::Idempotency::new(answers);
    assert!(run(&confused, &KEY, 2).await.unwrap().is_replay());
    assert!(matches!(run(&careless, &OTHER_REQUEST, 2).await, Err(Error::Mismatch { .. })));
}

#[tokio::test(start_paused = true)]
async fn the_operation_is_told_of_its_attempt() {
    let (store, handle) = faulty();
    let handle = handle.with_on_unknown(OnUnknown::RunAgain);
    abandon(&handle, &KEY).await;
    sleep(LEASE).await;
    let told = handle.call(&KEY).run(async |attempt| {
        let prior = attempt.prior().unwrap();
        assert_eq!((attempt.number(), prior.attempt, attempt.key()), (2, 1, &*KEY));
        assert!(attempt.fence() > prior.fence);
        assert_eq!(attempt.allowed_by(), OnUnknown::RunAgain);
        assert_eq!(attempt.downstream(), KEY.downstream());
        assert_eq!((attempt.lease_remaining(), attempt.is_lost()), (LEASE, None));
        Ok::<_, Error>(attempt.fence().get())
    });
    let fence = told.await.unwrap().into_inner();
    assert_eq!(store.record(&KEY).unwrap().lock.fence.get(), fence);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_polled_before_the_lock_is_held() {
    let (store, handle) = faulty();
    store.next(Method::Acquire, [Fault::Late(Duration::from_secs(1))]);
    let ran = handle.execute_once(&KEY, async { Ok::<_, Error>(store.record(&KEY).is_some()) }).await.unwrap();
    assert!(ran.into_inner());
    settle_down(&handle).await;
    assert_eq!(effect_of(&Failed::TimedOut), Effect::Unknown);
}
