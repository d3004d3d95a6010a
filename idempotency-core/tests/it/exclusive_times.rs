//! Exclusive runs: how long they hold others off, and what happens when they lose their lock.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use idempotency_core::{
    Acquired, Attempt, Claim, Error, Exclusively, Fingerprint, Idempotency, IdempotencyStore, Key, LeaseLost, Owner,
    State, Status,
};
use tokio::time::{Instant, sleep};

use crate::support::{Fault, LEASE, LONG, Method, faulty, settle_down};

const SECOND: Duration = Duration::from_secs(1);

fn job() -> Key {
    Key::new("exclusive", "expire").build().unwrap()
}

async fn quick(handle: &Idempotency) -> Exclusively<u32> {
    handle.run_exclusively("expire", async { Ok::<u32, Error>(1) }).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_success_holds_others_off_from_its_start_for_as_long_as_was_asked() {
    let (_, handle) = faulty();
    let begun = Instant::now();
    let run = handle.exclusive("expire").at_least_for(SECOND * 20).run(async |_| {
        sleep(SECOND * 5).await;
        Ok::<u32, Error>(1)
    });
    assert!(matches!(run.await.unwrap(), Exclusively::Ran(_)));
    let Exclusively::TooSoon { last } = quick(&handle).await else { panic!("it ran") };
    assert_eq!(last.remaining, SECOND * 15);
    sleep(SECOND * 15 - Duration::from_millis(1)).await;
    assert!(matches!(quick(&handle).await, Exclusively::TooSoon { .. }));
    sleep(Duration::from_millis(1)).await;
    assert_eq!(begun.elapsed(), SECOND * 20);
    assert!(matches!(quick(&handle).await, Exclusively::Ran(_)));
}

#[tokio::test(start_paused = true)]
async fn a_success_that_took_longer_holds_nobody_off() {
    let (store, handle) = faulty();
    let run = handle.exclusive("expire").at_least_for(SECOND * 20).run(async |_| {
        sleep(SECOND * 20).await;
        Ok::<u32, Error>(1)
    });
    assert!(matches!(run.await.unwrap(), Exclusively::Ran(_)));
    assert_eq!(store.count(Method::Store), 0);
    assert!(matches!(quick(&handle).await, Exclusively::Ran(_)));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_did_not_succeed_holds_nobody_off() {
    let (_, handle) = faulty();
    let held_off = || handle.exclusive("expire").at_least_for(LONG);
    let failed = held_off().run(async |_| Err::<u32, _>(Error::Mismatch { key: job() })).await;
    assert!(matches!(failed, Err(Error::Mismatch { .. })));
    let dropped = held_off().run(|_| pending::<Result<u32, Error>>());
    assert!(tokio::time::timeout(SECOND, dropped).await.is_err());
    settle_down(&handle).await;
    assert!(matches!(quick(&handle).await, Exclusively::Ran(_)));
}

#[tokio::test(start_paused = true)]
async fn a_run_is_renewed_for_as_long_as_it_goes_on() {
    let (store, handle) = faulty();
    let running = handle.clone();
    let run = tokio::spawn(async move {
        let run = running.exclusive("expire").run(async |attempt| {
            sleep(LEASE * 10).await;
            assert_eq!(attempt.is_lost(), None);
            Ok::<u32, Error>(1)
        });
        run.await.unwrap()
    });
    tokio::task::yield_now().await;
    while !run.is_finished() {
        let other = quick(&handle).await;
        assert!(matches!(other, Exclusively::Busy { attempt: 1, retry_after } if retry_after <= LEASE), "{other:?}");
        sleep(SECOND).await;
    }
    assert!(matches!(run.await.unwrap(), Exclusively::Ran(_)));
    assert!((20..=31).contains(&store.count(Method::Extend)), "{}", store.count(Method::Extend));
}

/// Also where that is less than a lease, or no whole number of renewals.
#[tokio::test(start_paused = true)]
async fn a_run_is_stopped_when_it_ran_too_long_and_holds_nobody_off_after() {
    for at_most in [SECOND, LEASE, LEASE + SECOND, LEASE * 3 - SECOND, LEASE * 20 + SECOND * 7] {
        let (store, handle) = faulty();
        let (begun, start) = (Instant::now(), store.now());
        let run = handle.exclusive("expire").at_most_for(at_most).run(|_| pending::<Result<u32, Error>>());
        let watching = store.clone();
        let watch = tokio::spawn(async move {
            loop {
                if let Some(State::InProgress { lease_until, .. }) = watching.record(&job()).map(|record| record.state)
                {
                    assert!(lease_until <= start.plus(at_most), "it holds others off for too long");
                }
                sleep(SECOND / 2).await;
            }
        });
        let error = run.await.unwrap_err();
        assert_eq!(begun.elapsed(), at_most, "{error}");
        let Error::LockLost { key, attempt: 1, why: LeaseLost::RanTooLong } = error else { panic!("{error:?}") };
        assert_eq!(key, job());
        assert!(!watch.is_finished());
        watch.abort();
        let Exclusively::Ran(next) = quick(&handle).await else { panic!("not free after {at_most:?}") };
        assert_eq!(next.prior(), None);
    }
}

/// The lock of another, taken when the store says that this one's is over.
async fn taken(store: &impl IdempotencyStore) {
    let claim = Claim { owner: Owner::from_u128(7), ..Claim::new(Fingerprint::NONE) };
    let taken = store.acquire_lock(&job(), &claim).await.unwrap();
    assert!(matches!(taken, Acquired::Acquired(grant) if grant.prior.is_some()), "{taken:?}");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_to_go_on_is_told_and_goes_on() {
    for is_taken in [false, true] {
        let (store, handle) = faulty();
        let run = handle.exclusive("expire").at_most_for(LEASE).keep_running_when_lost().run(async |attempt| {
            assert_eq!(attempt.lost().await, LeaseLost::RanTooLong);
            assert_eq!((attempt.is_lost(), attempt.lease_remaining()), (Some(LeaseLost::RanTooLong), Duration::ZERO));
            if is_taken {
                taken(&store).await;
            }
            sleep(LONG).await;
            Ok::<u32, Error>(7)
        });
        match run.await.unwrap() {
            Exclusively::Ran(report) if !is_taken => assert_eq!(report.recorded(), Ok(7)),
            Exclusively::Overtaken(report) if is_taken => assert_eq!(report.recorded(), Err(7)),
            other => panic!("{other:?}"),
        }
    }
}

/// As [`taken`], of a slot's run: its report is recorded all the same.
#[tokio::test(start_paused = true)]
async fn a_slots_run_that_was_overtaken_is_said_to_be_and_its_report_is_recorded() {
    let (store, handle) = faulty();
    let run = || handle.exclusive("expire").slot("1").keep_running_when_lost();
    let overtaken = run().at_most_for(LEASE).run(async |attempt| {
        attempt.lost().await;
        taken(&store).await;
        Ok::<u32, Error>(7)
    });
    let overtaken = overtaken.await.unwrap();
    let Exclusively::Overtaken(report) = overtaken else { panic!("{overtaken:?}") };
    assert_eq!(report.recorded(), Ok(7));
    let again = run().run(async |_| Ok::<u32, Error>(8)).await.unwrap();
    assert!(matches!(again, Exclusively::AlreadyDone { report: 7, .. }), "{again:?}");
}

/// As [`taken`], where the store cannot say at the end whether it was.
#[tokio::test(start_paused = true)]
async fn a_run_that_may_have_been_overtaken_is_said_to_be() {
    let (store, handle) = faulty();
    let run = handle.exclusive("expire").at_most_for(LEASE).keep_running_when_lost().run(async |attempt| {
        attempt.lost().await;
        store.always(Method::Release, Fault::DOWN);
        Ok::<u32, Error>(7)
    });
    let overtaken = run.await.unwrap();
    let Exclusively::Overtaken(report) = overtaken else { panic!("{overtaken:?}") };
    assert_eq!(report.recorded(), Err(7));
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_is_taken_from_a_run_stops_it() {
    let slot = Key::new("exclusive", "expire").part("1").build().unwrap();
    for of in [job(), slot] {
        let (store, handle) = faulty();
        let began = Arc::new(AtomicBool::new(false));
        let begins = began.clone();
        let running = handle.clone();
        let run = tokio::spawn(async move {
            let run = running.exclusive("expire").slot("1").run(|_| async move {
                begins.store(true, Ordering::SeqCst);
                pending::<Result<u32, Error>>().await
            });
            run.await
        });
        while !began.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
        store.tamper(&of, |record| record.lock.owner = Owner::from_u128(7));
        let error = run.await.unwrap().unwrap_err();
        assert!(matches!(error, Error::LockLost { why: LeaseLost::Taken, .. }), "{error:?}");
        let says = "/exclusive/expire lost its lock, as another took it, and was stopped; another may be running";
        assert_eq!(error.to_string(), format!("run 1 of {says}"));
        assert_eq!(error.key(), Some(&job()));
    }
}

/// A pause of the whole process: the renewer has no chance to say anything before the job is polled again.
#[test]
fn a_job_is_not_polled_after_a_pause_in_which_its_lease_ran_out() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let lease = Duration::from_millis(30);
    for (of_slot, at_most, lost) in [
        (false, LONG, LeaseLost::NotRenewed),
        (true, LONG, LeaseLost::NotRenewed),
        (false, lease, LeaseLost::RanTooLong),
    ] {
        let handle = faulty().1.with_lease(lease).unwrap();
        let went_on = AtomicBool::new(false);
        let run = handle.exclusive("expire").at_most_for(at_most);
        let run = if of_slot { run.slot("1") } else { run };
        let run = run.run(async |_: Attempt| {
            std::thread::sleep(lease * 2);
            tokio::task::yield_now().await;
            went_on.store(true, Ordering::SeqCst);
            Ok::<u32, Error>(1)
        });
        let error = runtime.block_on(run).unwrap_err();
        assert!(matches!(error, Error::LockLost { why, .. } if why == lost), "{error:?}");
        assert!(!went_on.load(Ordering::SeqCst));
    }
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_died_holds_others_off_for_its_lease_and_is_told_of_until_a_run_ends_well() {
    let (store, handle) = faulty();
    store.acquire_lock(&job(), &Claim::new(Fingerprint::NONE)).await.unwrap();
    assert!(matches!(quick(&handle).await, Exclusively::Busy { attempt: 1, .. }));
    sleep(LEASE).await;
    // One that fails does not end that.
    for run in 2..4 {
        let failed = handle.exclusive("expire").run(async |attempt| {
            assert_eq!((attempt.number(), attempt.prior().map(|prior| prior.attempt)), (run, Some(1)));
            Err::<u32, _>(Error::Mismatch { key: job() })
        });
        failed.await.unwrap_err();
    }
    for prior in [Some(1), None] {
        let Exclusively::Ran(report) = quick(&handle).await else { panic!("it did not run") };
        assert_eq!(report.prior().map(|prior| prior.attempt), prior);
    }
    assert!(matches!(handle.status(&job()).await.unwrap(), Status::Released { attempt: 5 }));
}
