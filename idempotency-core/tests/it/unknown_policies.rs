//! What becomes of an unknown attempt: run again, refuse, reconcile, settle.

use std::future::pending;
use std::time::Duration;

use idempotency_core::{
    Acquired, Bincode, Claim, CodecError, Completion, Effect, Error, Grant, How, Idempotency, IdempotencyStore,
    InvalidCall, NotReplayable, Omitted, OnUnknown, SettleError, State, Status, StoreExt,
};
use tokio::time::{sleep, timeout};

use crate::support::{Failed, Fault, Faulty, KEY, LEASE, Method, abandon, fail, faulty, run, settle_down, start};

async fn unknown(policy: OnUnknown) -> (std::sync::Arc<Faulty>, Idempotency) {
    let (store, handle) = faulty();
    let handle = handle.with_on_unknown(policy);
    let _ = handle
        .call(&KEY)
        .on_unknown(policy)
        .reconcile(async |_| Ok(None))
        .on_unknown(policy)
        .run(async |_| Err::<u32, _>(Failed::TimedOut))
        .await;
    assert!(matches!(handle.status(&KEY).await.unwrap(), Status::Unknown { on_unknown, .. } if on_unknown == policy));
    (store, handle)
}

#[tokio::test(start_paused = true)]
async fn run_again_is_told_each_time() {
    let (_, handle) = unknown(OnUnknown::RunAgain).await;
    let _ = fail(&handle, &KEY, Failed::TimedOut).await;
    let third = run(&handle, &KEY, 3).await.unwrap();
    assert_eq!((third.attempt(), third.prior().unwrap().attempt), (3, 2));
    assert!(matches!(third.how(), How::Executed));
}

#[tokio::test(start_paused = true)]
async fn refuse_is_an_error_and_nothing_runs_until_settled() {
    let (store, handle) = unknown(OnUnknown::Refuse).await;
    for _ in 0..3 {
        match run(&handle, &KEY, 2).await.unwrap_err() {
            Error::OutcomeUnknown { key, prior, on_unknown: OnUnknown::Refuse } => {
                assert_eq!((key, prior.attempt), (KEY.clone(), 1));
            }
            other => panic!("{other:?}"),
        }
        sleep(LEASE * 100).await;
    }
    assert_eq!(store.count(Method::Store), 0);
    // Waiting does not help, nor does a looser policy.
    assert!(matches!(
        handle.call(&KEY).wait(LEASE).run(async |_| Ok::<u32, Error>(2)).await,
        Err(Error::OutcomeUnknown { .. })
    ));
    assert!(matches!(
        handle.call(&KEY).on_unknown(OnUnknown::RunAgain).run(async |_| Ok::<u32, Error>(2)).await,
        Err(Error::OutcomeUnknown { on_unknown: OnUnknown::Refuse, .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn refuse_also_refuses_what_lapsed_and_only_that() {
    let (_, handle) = faulty();
    let handle = handle.with_on_unknown(OnUnknown::Refuse);
    abandon(&handle, &KEY).await;
    assert!(matches!(run(&handle, &KEY, 2).await, Err(Error::InProgress { .. })));
    sleep(LEASE).await;
    assert!(matches!(run(&handle, &KEY, 2).await, Err(Error::OutcomeUnknown { .. })));
    let freed = crate::support::key_of("freed");
    let _ = fail(&handle, &freed, Failed::NotSent).await;
    assert_eq!(*run(&handle, &freed, 2).await.unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn settled_as_without_effect_the_key_runs_untold() {
    let (store, handle) = unknown(OnUnknown::Refuse).await;
    let settling = store.settle(&KEY, Duration::from_secs(600)).await.unwrap();
    assert_eq!(settling.prior().attempt, 1);
    let Grant { attempt, lock, .. } = settling.grant();
    assert!(attempt == 2 && lock.fence > settling.prior().fence);
    // Under the operator's own lock meanwhile, for as long as was said.
    sleep(Duration::from_secs(599)).await;
    assert!(matches!(run(&handle, &KEY, 2).await, Err(Error::InProgress { attempt: 2, .. })));
    settling.had_no_effect().await.unwrap();
    let next = run(&handle, &KEY, 3).await.unwrap();
    assert_eq!((*next, next.attempt(), next.prior()), (3, 3, None));
}

#[tokio::test(start_paused = true)]
async fn settled_as_done_the_key_never_runs_again() {
    let (store, handle) = unknown(OnUnknown::Refuse).await;
    store.settle(&KEY, LEASE).await.unwrap().had_its_effect().await.unwrap();
    let again = run(&handle, &KEY, 2).await;
    assert!(matches!(again, Err(Error::NotReplayable { why: NotReplayable::Omitted(Omitted::Settled), .. })));
}

#[tokio::test(start_paused = true)]
async fn settled_with_a_value_it_is_replayed() {
    let (store, handle) = unknown(OnUnknown::Refuse).await;
    let settling = store.settle(&KEY, LEASE).await.unwrap();
    settling.had_its_effect_with(Bincode, &7u32).await.unwrap();
    let again = run(&handle, &KEY, 2).await.unwrap();
    assert_eq!((*again, again.is_replay(), again.attempt()), (7, true, 2));
}

#[tokio::test(start_paused = true)]
async fn what_is_settled_is_remembered_as_long_as_the_unknown_attempt_would_have_been() {
    let year = Duration::from_secs(365 * 24 * 60 * 60);
    for done in [true, false] {
        let (store, handle) = faulty();
        let handle = handle.with_on_unknown(OnUnknown::Refuse).with_unknown_retention(year).unwrap();
        let _ = fail(&handle, &KEY, Failed::TimedOut).await;
        let settling = store.settle(&KEY, LEASE).await.unwrap();
        if done {
            settling.had_its_effect().await.unwrap()
        } else {
            settling.is_still_unknown().await.unwrap()
        }
        sleep(year - LEASE).await;
        let refused = run(&handle, &KEY, 2).await;
        assert!(matches!(refused, Err(Error::NotReplayable { .. } | Error::OutcomeUnknown { .. })), "{refused:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_operator_who_cannot_tell_does_not_have_it_forgotten_earlier() {
    let year = Duration::from_secs(365 * 24 * 60 * 60);
    let (store, handle) = unknown(OnUnknown::Refuse).await;
    // A later attempt, without an effect, asked for longer.
    let claim = Claim { settles: true, unknown_retention: year, ..Claim::new(KEY.fingerprint()) };
    let Acquired::Acquired(grant) = store.acquire_lock(&KEY, &claim).await.unwrap() else { panic!("no lock") };
    store.release_lock(&KEY, &grant.lock, Effect::None).await.unwrap();
    store.settle(&KEY, LEASE).await.unwrap().is_still_unknown().await.unwrap();
    sleep(year - LEASE).await;
    assert!(matches!(run(&handle, &KEY, 2).await, Err(Error::OutcomeUnknown { .. })));
}

#[tokio::test(start_paused = true)]
async fn what_is_settled_still_says_where_it_came_from() {
    let (store, handle) = faulty();
    let call = handle.call(&KEY).correlation_id("c-1").attribute("source", "web");
    assert!(call.run(async |_| Err::<u32, _>(Failed::TimedOut)).await.is_err());
    store.settle(&KEY, LEASE).await.unwrap().had_its_effect_with(Bincode, &7u32).await.unwrap();
    let again = run(&handle, &KEY, 2).await.unwrap();
    let origin = again.origin().unwrap();
    assert_eq!((origin.context.correlation_id(), origin.attributes.get("source")), (Some("c-1"), Some("web")));
}

#[tokio::test(start_paused = true)]
async fn a_value_that_does_not_encode_settles_nothing() {
    let (store, handle) = unknown(OnUnknown::Refuse).await;
    let settling = store.settle(&KEY, LEASE).await.unwrap();
    let error = settling.had_its_effect_with(Bincode, &serde_json::json!(1)).await.unwrap_err();
    assert!(matches!(&error, SettleError::Value(source) if source.is::<CodecError>()), "{error:?}");
    sleep(LEASE).await;
    let settling = store.settle(&KEY, LEASE).await.unwrap();
    let error = settling.had_its_effect_with(Bincode, &"x".repeat(2 << 20)).await.unwrap_err();
    assert!(matches!(&error, SettleError::Value(source) if source.to_string().contains("over the limit")));
    sleep(LEASE).await;
    assert!(matches!(run(&handle, &KEY, 2).await, Err(Error::OutcomeUnknown { .. })));
}

#[tokio::test(start_paused = true)]
async fn still_unknown_or_not_a_word_leaves_the_first_attempt_unknown() {
    let (store, handle) = unknown(OnUnknown::Refuse).await;
    store.settle(&KEY, LEASE).await.unwrap().is_still_unknown().await.unwrap();
    let told = |answer| matches!(answer, Err(Error::OutcomeUnknown { prior, .. }) if prior.attempt == 1);
    assert!(told(run(&handle, &KEY, 2).await));
    drop(store.settle(&KEY, LEASE).await.unwrap());
    assert!(matches!(run(&handle, &KEY, 2).await, Err(Error::InProgress { .. })));
    sleep(LEASE).await;
    assert!(matches!(run(&handle, &KEY, 2).await, Err(Error::OutcomeUnknown { .. })));
}

#[tokio::test(start_paused = true)]
async fn settling_that_took_too_long_changes_nothing() {
    let (store, handle) = unknown(OnUnknown::RunAgain).await;
    let settling = store.settle(&KEY, LEASE).await.unwrap();
    sleep(LEASE).await;
    assert_eq!(*run(&handle, &KEY, 2).await.unwrap(), 2);
    assert!(matches!(settling.had_no_effect().await, Err(SettleError::Lost)));
    assert_eq!(*run(&handle, &KEY, 3).await.unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn only_an_unknown_key_is_settled() {
    let (store, handle) = faulty();
    let refused = |settled: Result<_, _>| matches!(settled.map(drop), Err(SettleError::NotUnknown));
    assert!(refused(store.settle(&KEY, LEASE).await));
    let running = start(&handle, &KEY, LEASE, 1);
    sleep(Duration::from_secs(1)).await;
    assert!(refused(store.settle(&KEY, LEASE).await));
    let _ = running.await.unwrap();
    assert!(refused(store.settle(&KEY, LEASE).await));
    assert_eq!(store.count(Method::Acquire), 1);
    assert!(matches!(store.settle(&KEY, Duration::ZERO).await.map(drop), Err(SettleError::Duration(_))));
    let (store, _) = unknown(OnUnknown::Refuse).await;
    store.next(Method::Acquire, [Fault::DOWN]);
    assert!(matches!(store.settle(&KEY, LEASE).await.map(drop), Err(SettleError::Store(_))));
}

#[tokio::test(start_paused = true)]
async fn reconcile_that_finds_the_effect_records_it_and_runs_nothing() {
    let (store, handle) = unknown(OnUnknown::Reconcile).await;
    let look = handle.call(&KEY).reconcile(async |attempt| {
        assert_eq!((attempt.number(), attempt.prior().unwrap().attempt), (2, 1));
        assert_eq!(attempt.allowed_by(), OnUnknown::Reconcile);
        Ok(Some(7u32))
    });
    let found = look.run(async |_| -> Result<u32, Error> { panic!("ran") }).await.unwrap();
    assert!(matches!(found.how(), How::Reconciled));
    assert_eq!((*found, found.prior().unwrap().attempt), (7, 1));
    assert_eq!(found.recorded(), Ok(7));
    assert!(matches!(store.record(&KEY).unwrap().state, State::Completed { result: Completion::Value(_), .. }));
    let again = handle.call(&KEY).reconcile(async |_| panic!("looked")).run(async |_| Ok::<u32, Error>(8)).await;
    assert_eq!(*again.unwrap(), 7);
}

#[tokio::test(start_paused = true)]
async fn reconcile_that_finds_nothing_runs_told() {
    let (_, handle) = unknown(OnUnknown::Reconcile).await;
    let call = handle.call(&KEY).reconcile(async |_| Ok(None));
    let ran = call.run(async |attempt| Ok::<u32, Error>(attempt.prior().unwrap().attempt)).await.unwrap();
    assert!(matches!(ran.how(), How::Executed));
    assert_eq!((*ran, ran.attempt()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn reconcile_that_fails_leaves_the_key_unknown_at_once() {
    let (_, handle) = unknown(OnUnknown::Reconcile).await;
    let call = handle.call(&KEY).reconcile(async |_| Err::<Option<u32>, _>(Failed::TimedOut));
    assert!(matches!(call.run(async |_| panic!("ran")).await, Err(Failed::TimedOut)));
    assert!(matches!(handle.status(&KEY).await.unwrap(), Status::Unknown { prior, .. } if prior.attempt == 1));
}

#[tokio::test(start_paused = true)]
async fn reconcile_that_panics_or_is_dropped_leaves_the_key_unknown_at_once() {
    let (_, handle) = unknown(OnUnknown::Reconcile).await;
    let call = handle.call(&KEY).reconcile(async |_| -> Result<Option<u32>, Error> { panic!("in the look") });
    assert!(tokio::spawn(call.spawn(async |_| Ok::<u32, Error>(8))).await.unwrap_err().is_panic());
    settle_down(&handle).await;
    assert!(matches!(handle.status(&KEY).await.unwrap(), Status::Unknown { prior, .. } if prior.attempt == 1));

    let call = handle.call(&KEY).reconcile(async |_| pending::<Result<Option<u32>, Error>>().await);
    assert!(timeout(LEASE * 5, call.run(async |_| Ok::<u32, Error>(8))).await.is_err());
    settle_down(&handle).await;
    assert!(matches!(handle.status(&KEY).await.unwrap(), Status::Unknown { prior, .. } if prior.attempt == 1));
}

#[tokio::test(start_paused = true)]
async fn reconcile_is_not_asked_where_nothing_is_unknown() {
    let (_, handle) = faulty();
    let call = handle.call(&KEY).reconcile(async |_| panic!("looked"));
    assert_eq!(*call.run(async |_| Ok::<u32, Error>(1)).await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn reconcile_without_a_way_to_ask_is_refused_before_the_store_is_asked() {
    let (store, handle) = faulty();
    let handle = handle.with_on_unknown(OnUnknown::Reconcile);
    let refused = run(&handle, &KEY, 1).await.unwrap_err();
    assert!(matches!(refused, Error::Invalid(InvalidCall::NothingToReconcileWith)), "{refused:?}");
    assert!(store.calls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_strictest_policy_of_any_attempt_holds_for_all() {
    let (_, handle) = unknown(OnUnknown::Reconcile).await;
    let looser = handle.call(&KEY).on_unknown(OnUnknown::RunAgain).run(async |_| Ok::<u32, Error>(2)).await;
    assert!(matches!(looser, Err(Error::OutcomeUnknown { on_unknown: OnUnknown::Reconcile, .. })));
    let stricter = handle.call(&KEY).on_unknown(OnUnknown::Refuse).run(async |_| Ok::<u32, Error>(2)).await;
    assert!(matches!(stricter, Err(Error::OutcomeUnknown { on_unknown: OnUnknown::Refuse, .. })));
    let same = handle.call(&KEY).reconcile(async |_| Ok(None)).run(async |_| Ok::<u32, Error>(2)).await;
    assert_eq!(*same.unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_confirmed_call_confirms_before_it_runs() {
    let (store, handle) = faulty();
    let outcome = handle.call(&KEY).confirm().run(async |_| Ok::<_, Error>(store.calls().len())).await.unwrap();
    assert_eq!(*outcome, 2);
    assert_eq!(store.calls(), [Method::Acquire, Method::Extend, Method::Store]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_cannot_confirm_runs_nothing_and_frees_the_key() {
    for fault in [Fault::DOWN, Fault::Hangs, Fault::PanicsAt(1)] {
        let (store, handle) = faulty();
        let handle = handle.with_on_unknown(OnUnknown::Refuse);
        store.next(Method::Extend, [fault]);
        let refused = handle.call(&KEY).confirm().run(async |_| -> Result<u32, Error> { panic!("ran") }).await;
        assert!(matches!(refused, Err(Error::Store { .. })));
        settle_down(&handle).await;
        assert_eq!(*run(&handle, &KEY, 2).await.unwrap(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lock_lost_before_it_was_confirmed_runs_nothing() {
    let (store, handle) = faulty();
    store.next(Method::Extend, [Fault::Late(LEASE + Duration::from_secs(1))]);
    store.always(Method::Extend, Fault::DOWN);
    let slow = handle.clone().with_store_limit(LEASE * 2).unwrap();
    let slow = slow.call(&KEY).confirm().spawn(async |_| -> Result<u32, Error> { panic!("ran") });
    sleep(LEASE).await;
    // Nothing ran under it, so nobody is told of it.
    let other = run(&handle, &KEY, 2).await.unwrap();
    assert_eq!((*other, other.prior()), (2, None));
    assert!(matches!(slow.await, Err(Error::InProgress { .. })));
}
