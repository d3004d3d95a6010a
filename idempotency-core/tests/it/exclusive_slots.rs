//! Exclusive runs of a schedule's slots, each of which is done once.

use std::future::pending;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use idempotency_core::{
    Error, Exclusively, Fence, Idempotency, InvalidCall, Key, NotReplayable, Omitted, OnUnknown, Status, StoreExt,
    Timestamp,
};
use tokio::time::{sleep, timeout};

use crate::support::{Failed, LEASE, LONG, faulty, settle_down};

const HOUR: Duration = Duration::from_secs(60 * 60);

async fn done(handle: &Idempotency, slot: &str) -> Exclusively<String> {
    let report = format!("report of {slot}");
    handle.exclusive("bill").slot(slot).run(async move |_| Ok::<_, Error>(report)).await.unwrap()
}

/// Leaves a slot half done.
async fn cut_off(handle: &Idempotency, slot: &str, on_unknown: OnUnknown) {
    let run = handle.exclusive("bill").slot(slot).on_unknown(on_unknown).run(|_| pending::<Result<String, Error>>());
    assert!(timeout(LEASE / 2, run).await.is_err());
    settle_down(handle).await;
}

#[tokio::test(start_paused = true)]
async fn a_slot_is_done_once_and_its_report_told_for_as_long_as_it_is_remembered() {
    let (store, handle) = faulty();
    let run = || handle.exclusive("bill").slot("1").retention(HOUR);
    let first = run().run(async |_| Ok::<_, Error>("first".to_owned())).await.unwrap();
    assert!(matches!(first, Exclusively::Ran(report) if *report == "first"));
    let at = store.now();
    sleep(HOUR - LEASE).await;
    let Exclusively::AlreadyDone { report, origin } = done(&handle, "1").await else { panic!("it ran") };
    assert_eq!((report.as_str(), origin.attempt, origin.completed_at, origin.remaining), ("first", 1, at, LEASE));
    assert!(matches!(done(&handle, "2").await, Exclusively::Ran(report) if *report == "report of 2"));
    sleep(LEASE).await;
    assert!(matches!(done(&handle, "1").await, Exclusively::Ran(report) if *report == "report of 1"));
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_was_cut_off_is_run_again_by_whoever_comes_to_it_and_tells_of_it() {
    let (_, handle) = faulty();
    cut_off(&handle, "1", OnUnknown::RunAgain).await;
    // Another slot's run is not told: the job's lock was given back.
    let other = handle.exclusive("bill").slot("2").run(async |attempt| {
        assert_eq!(attempt.prior(), None);
        Ok::<_, Error>("2".to_owned())
    });
    assert!(matches!(other.await.unwrap(), Exclusively::Ran(_)));
    let again = handle.exclusive("bill").slot("1").run(async |attempt| {
        assert_eq!((attempt.number(), attempt.slot().unwrap().number()), (3, 2));
        assert_eq!(attempt.prior().unwrap().attempt, 1);
        Ok::<_, Error>("1".to_owned())
    });
    let Exclusively::Ran(report) = again.await.unwrap() else { panic!("it did not run") };
    assert_eq!((report.attempt(), report.prior().unwrap().attempt), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_is_done_at_most_once_is_refused_until_it_is_settled() {
    let (store, handle) = faulty();
    cut_off(&handle, "1", OnUnknown::Refuse).await;
    let refused = async || {
        let run = handle.exclusive("bill").slot("1").on_unknown(OnUnknown::Refuse);
        run.run(async |_| -> Result<String, Error> { panic!("it ran") }).await
    };
    let Err(Error::OutcomeUnknown { key, prior, on_unknown: OnUnknown::Refuse }) = refused().await else {
        panic!("not refused")
    };
    assert_eq!((key.as_str(), prior.attempt), ("/exclusive/bill/1", 1));
    // A looser caller is refused, too; and the job is not held up by it.
    let looser = handle.exclusive("bill").slot("1").run(async |_| Ok::<_, Error>(String::new())).await;
    assert!(matches!(looser, Err(Error::OutcomeUnknown { .. })), "{looser:?}");
    assert!(matches!(done(&handle, "2").await, Exclusively::Ran(_)));
    store.settle(&key, LEASE).await.unwrap().had_its_effect().await.unwrap();
    let settled = refused().await;
    let omitted = |why: &NotReplayable| matches!(why, NotReplayable::Omitted(Omitted::Settled));
    assert!(matches!(&settled, Err(Error::NotReplayable { why, .. }) if omitted(why)), "{settled:?}");
}

#[tokio::test(start_paused = true)]
async fn the_handles_policy_is_the_slots_and_never_the_jobs() {
    let (store, handle) = faulty();
    let handle = handle.with_on_unknown(OnUnknown::Refuse);
    assert!(matches!(done(&handle, "1").await, Exclusively::Ran(_)));
    let policy = |key: &Key| store.record(key).unwrap().on_unknown;
    let job = Key::new("exclusive", "bill");
    assert_eq!(policy(&job.build().unwrap()), OnUnknown::RunAgain);
    assert_eq!(policy(&Key::new("exclusive", "bill").part("1").build().unwrap()), OnUnknown::Refuse);
}

#[tokio::test(start_paused = true)]
async fn an_error_frees_even_a_slot_that_is_done_at_most_once() {
    let (_, handle) = faulty();
    let run = || handle.exclusive("bill").slot("1").on_unknown(OnUnknown::Refuse);
    for _ in 0..2 {
        let failed = run().run(async |_| Err::<String, _>(Failed::TimedOut)).await;
        assert!(matches!(failed, Err(Failed::TimedOut)), "{failed:?}");
    }
    let again = run().run(async |attempt| {
        assert_eq!(attempt.prior(), None);
        Ok::<_, Error>("3".to_owned())
    });
    assert!(matches!(again.await.unwrap(), Exclusively::Ran(report) if report.attempt() == 3));
}

#[tokio::test(start_paused = true)]
async fn fences_order_all_runs_and_downstream_keys_tell_slots_apart() {
    let (_, handle) = faulty();
    let seen = Mutex::new(Vec::new());
    for (slot, fails) in [(Some("1"), true), (Some("2"), false), (None, false), (Some("1"), false), (None, false)] {
        let run = handle.exclusive("bill");
        let run = if let Some(slot) = slot { run.slot(slot) } else { run };
        let ended = run.run(async |attempt| {
            assert_eq!(attempt.key().as_str(), "/exclusive/bill");
            let at = attempt.slot().map(|slot| slot.key().as_str().to_owned());
            assert_eq!(at, slot.map(|slot| format!("/exclusive/bill/{slot}")));
            assert_eq!(attempt.lock().unwrap().fence, attempt.fence());
            seen.lock().unwrap().push((attempt.fence(), attempt.downstream()));
            if fails { Err(Failed::NotSent) } else { Ok(1_u32) }
        });
        assert_eq!(ended.await.is_err(), fails);
    }
    let seen = seen.into_inner().unwrap();
    let fences: Vec<Fence> = seen.iter().map(|(fence, _)| *fence).collect();
    assert!(fences.is_sorted_by(|one, next| one < next), "{fences:?}");
    let keys: Vec<String> = seen.iter().map(|(_, key)| key.to_string()).collect();
    for (one, other) in (0..5).flat_map(|one| (0..one).map(move |other| (one, other))) {
        assert_eq!(keys[one] == keys[other], (other, one) == (0, 3), "{keys:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slot_of_a_period_is_done_once_in_it() {
    let (_, handle) = faulty();
    let at = |seconds: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let run = async |moment: SystemTime, every| {
        let run = handle
            .exclusive("clean")
            .slot_of(moment, every)
            .run(async |attempt| Ok::<_, Error>(attempt.slot().unwrap().key().as_str().to_owned()));
        match run.await.unwrap() {
            Exclusively::Ran(report) => (true, report.into_inner()),
            Exclusively::AlreadyDone { report, .. } => (false, report),
            other => panic!("{other:?}"),
        }
    };
    let first = "/exclusive/clean/3600s/1970-01-01T01:00:00.000000Z".to_owned();
    assert_eq!(run(at(3600), HOUR).await, (true, first.clone()));
    assert_eq!(run(at(7199), HOUR).await, (false, first.clone()));
    assert!(run(at(7200), HOUR).await.0);
    assert!(run(at(3600), HOUR / 2).await.0);
    assert_eq!(run(at(3601), HOUR).await, (false, first));
    // Named as it is shown elsewhere.
    let shown = Timestamp::from(at(3600)).to_string();
    assert!(matches!(
        handle.status(&Key::new("exclusive", "clean").part("3600s").part(shown).build().unwrap()).await,
        Ok(Status::Completed { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn a_report_that_cannot_be_told_again_is_not_made_again() {
    let (_, handle) = faulty();
    let fact = handle.exclusive("bill").slot("1").run(async |attempt| {
        attempt.keep_fact_only();
        Ok::<_, Error>(1_u32)
    });
    assert!(matches!(fact.await.unwrap(), Exclusively::Ran(_)));
    assert!(matches!(done(&handle, "2").await, Exclusively::Ran(_)));
    for slot in ["1", "2"] {
        let again = handle.exclusive("bill").slot(slot).run(async |_| -> Result<u32, Error> { panic!("it ran") }).await;
        assert!(matches!(again, Err(Error::NotReplayable { .. })), "{again:?}");
    }
    assert!(matches!(done(&handle, "3").await, Exclusively::Ran(_)));
}

#[tokio::test(start_paused = true)]
async fn a_slot_whose_key_another_run_still_has_is_busy() {
    let (_, handle) = faulty();
    let slot = Key::new("exclusive", "bill").part("1").build().unwrap();
    let running = crate::support::start(&handle, &slot, LEASE, 5);
    tokio::task::yield_now().await;
    let busy = done(&handle, "1").await;
    assert!(matches!(busy, Exclusively::Busy { attempt: 1, retry_after } if retry_after == LEASE), "{busy:?}");
    assert!(matches!(done(&handle, "2").await, Exclusively::Ran(_)));
    let _ = running.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_not_valid_is_told_before_the_store_is_asked() {
    let (store, handle) = faulty();
    let long = "x".repeat(256);
    let never = async |run: idempotency_core::Exclusive<'_>| {
        let error = run.run(async |_| -> Result<u32, Error> { panic!("it ran") }).await.unwrap_err();
        assert_eq!(error.key(), None);
        let Error::Invalid(invalid) = error else { panic!("{error:?}") };
        invalid
    };
    let (idle, zero) = (|| handle.exclusive("bill"), Duration::ZERO);
    for run in [handle.exclusive(""), handle.exclusive(&long), idle().slot(""), idle().slot("\n"), idle().slot(&long)] {
        assert!(matches!(never(run).await, InvalidCall::Key(_)));
    }
    assert!(matches!(never(idle().slot_of(SystemTime::now(), zero)).await, InvalidCall::Key(_)));
    for run in [idle().at_most_for(zero), idle().at_least_for(zero), idle().retention(zero)] {
        assert!(matches!(never(run).await, InvalidCall::Duration(_)));
    }
    let no_slot = never(idle().on_unknown(OnUnknown::Refuse)).await;
    assert_eq!(no_slot.to_string(), "the policy Refuse is about a slot, but the run has none: add `slot(…)`");
    let reconcile = never(idle().slot("1").on_unknown(OnUnknown::Reconcile)).await;
    assert!(matches!(reconcile, InvalidCall::NothingToReconcileWith));
    assert_eq!(store.calls(), []);
    sleep(LONG).await;
}
