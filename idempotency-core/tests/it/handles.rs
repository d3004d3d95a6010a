//! The rest of a handle: status, requirements, draining; and what stores report.

use std::time::Duration;

use idempotency_core::{
    Answer, ClockSource, Error, FenceSource, Guarantees, OnUnknown, RequireError, Requirements, Stats, Status,
    StillRunning, StoreError, StoreErrorKind, Upkeep,
};
use tokio::time::{Instant, sleep};

use crate::support::{
    Failed, Fault, KEY, LEASE, Method, OTHER_REQUEST, TokioClock, abandon, fail, faulty, key_of, run, start,
};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_status_says_how_things_stand() {
    let (_, handle) = faulty();
    assert_eq!(handle.status(&KEY).await.unwrap(), Status::Absent);
    let running = handle.call(&KEY).effect_of(crate::support::effect_of).spawn(async |_| {
        sleep(SECOND * 2).await;
        Err::<u32, _>(Failed::NotSent)
    });
    sleep(SECOND).await;
    let in_progress = Status::InProgress { attempt: 1, age: SECOND, remaining: LEASE - SECOND };
    assert_eq!(handle.status(&KEY).await.unwrap(), in_progress);
    assert_eq!(handle.status(&OTHER_REQUEST).await.unwrap(), Status::Mismatch);
    assert!(running.await.is_err());
    assert_eq!(handle.status(&KEY).await.unwrap(), Status::Released { attempt: 1 });
    assert_eq!(handle.status(&OTHER_REQUEST).await.unwrap(), Status::Released { attempt: 1 });
    let refusing = handle.clone().with_on_unknown(OnUnknown::Refuse);
    abandon(&refusing, &KEY).await;
    sleep(LEASE).await;
    match handle.status(&KEY).await.unwrap() {
        Status::Unknown { prior, on_unknown: OnUnknown::Refuse } => assert_eq!(prior.attempt, 2),
        other => panic!("{other:?}"),
    }
    let done = key_of("done");
    let _ = handle.call(&done).correlation_id("c").run(async |_| Ok::<u32, Error>(1)).await.unwrap();
    match handle.status(&done).await.unwrap() {
        Status::Completed { origin, omitted: None } => {
            assert_eq!((origin.attempt, origin.context.correlation_id()), (1, Some("c")));
            assert!(origin.completed_at > TokioClock::START);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn draining_waits_for_detached_runs_and_says_what_still_runs() {
    let (store, handle) = faulty();
    let (one, other) = (start(&handle, &KEY, SECOND * 3, 1), start(&handle, &key_of("other"), SECOND * 9, 2));
    assert_eq!(handle.drain(SECOND).await, Err(StillRunning { tasks: 2 }));
    let still = handle.drain(SECOND * 4).await.unwrap_err();
    assert_eq!(still.to_string(), "1 detached runs or endings are still under way");
    // Others may begin meanwhile, on any clone of the handle.
    let third = start(&handle.clone(), &key_of("third"), SECOND, 3);
    let began = Instant::now();
    handle.drain(SECOND * 60).await.unwrap();
    assert!(began.elapsed() <= SECOND * 5);
    assert_eq!(store.count(Method::Store), 3);
    for running in [one, other, third] {
        assert!(running.await.is_ok());
    }
    handle.drain(SECOND).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_gives_up_does_not_disturb_another() {
    let (_, handle) = faulty();
    let running = start(&handle, &KEY, SECOND * 3, 1);
    let (patient, hasty) = tokio::join!(handle.drain(SECOND * 60), handle.drain(SECOND));
    assert_eq!((patient, hasty), (Ok(()), Err(StillRunning { tasks: 1 })));
    assert!(running.await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn draining_waits_for_what_is_told_after_its_caller_is_gone() {
    let (store, handle) = faulty();
    store.next(Method::Release, [Fault::Late(SECOND)]);
    assert!(crate::support::polled(1, fail(&handle, &KEY, Failed::TimedOut)).await.is_none());
    handle.drain(LEASE).await.unwrap();
    assert!(matches!(handle.status(&KEY).await.unwrap(), Status::Unknown { .. }));
}

fn strong() -> Guarantees {
    let mut found = Guarantees::none("test");
    found.shared = Answer::Yes;
    found.survives_process_crash = Answer::Yes;
    found.survives_machine_crash = Answer::Yes;
    found.survives_failover = Answer::Yes;
    found.clock = ClockSource::Server;
    found.fences = FenceSource::Clock { tolerates: SECOND };
    found
}

#[test]
fn a_store_too_weak_is_refused_with_what_to_change() {
    type Weaken = fn(&mut Guarantees, Answer);
    let all: [(Requirements, &str, Weaken); 4] = [
        (Requirements::new().shared(), "shared between processes", |found, answer| found.shared = answer),
        (Requirements::new().survives_process_crash(), "survives a process crash", |found, answer| {
            found.survives_process_crash = answer;
        }),
        (Requirements::new().survives_machine_crash(), "survives a machine crash", |found, answer| {
            found.survives_machine_crash = answer;
        }),
        (Requirements::new().survives_failover(), "survives a failover", |found, answer| {
            found.survives_failover = answer;
        }),
    ];
    let everything = Requirements::new().shared().survives_process_crash().survives_machine_crash().survives_failover();
    assert!(everything.check(&strong()).is_ok());
    for (requirement, what, weaken) in all {
        let mut found = strong();
        weaken(&mut found, Answer::No("set `fsync` to on".into()));
        for requirement in [requirement, everything] {
            let refused = requirement.check(&found).unwrap_err().to_string();
            assert_eq!(
                refused,
                format!("the test store is too weak for this service: \"{what}\" does not hold: set `fsync` to on")
            );
        }
        assert!(Requirements::new().check(&found).is_ok());
        weaken(&mut found, Answer::CannotTell("may not read settings".into()));
        let refused = requirement.check(&found).unwrap_err().to_string();
        assert!(refused.ends_with(&format!("cannot tell whether it {what}: may not read settings")), "{refused}");
    }
    let refused = everything.check(&Guarantees::none("test")).unwrap_err().to_string();
    assert_eq!(refused.matches("cannot tell").count(), 4);
    assert_eq!(refused.matches("; ").count(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_handle_is_not_made_over_a_store_too_weak_or_that_cannot_be_asked() {
    let (store, handle) = faulty();
    assert!(handle.require(Requirements::new()).await.is_ok());
    let refused = handle.require(Requirements::new().shared()).await.unwrap_err();
    assert!(matches!(refused, RequireError::TooWeak(_)));
    store.next(Method::Other, [Fault::DOWN]);
    let refused = handle.require(Requirements::new()).await.unwrap_err();
    assert!(matches!(refused, RequireError::Store(_)));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_never_says_what_it_guarantees_is_an_error_within_the_limit() {
    let (store, handle) = faulty();
    store.always(Method::Other, Fault::Hangs);
    let asked = tokio::time::timeout(SECOND * 6, handle.require(Requirements::new())).await.unwrap();
    assert!(matches!(asked, Err(RequireError::Store(error)) if error.kind() == StoreErrorKind::InDoubt));
}

#[tokio::test(start_paused = true)]
async fn every_record_is_counted_once_as_it_stands() {
    let (store, handle) = faulty();
    let _ = run(&handle, &key_of("done"), 1).await.unwrap();
    let _ = run(&handle.clone().with_retention(SECOND).unwrap(), &key_of("expired"), 1).await.unwrap();
    let _ = fail(&handle, &key_of("free"), Failed::NotSent).await;
    let _ = fail(&handle, &key_of("unknown"), Failed::TimedOut).await;
    abandon(&handle, &key_of("lapsed")).await;
    sleep(LEASE).await;
    abandon(&handle, &key_of("live")).await;
    let oldest = Some(TokioClock::START);
    let expected = Stats { in_progress: 1, unknown: 2, released: 1, completed: 1, expired: 1, oldest };
    assert_eq!(store.stats().await.unwrap(), expected);
    assert_eq!(store.purge(10).await.unwrap().removed, 1);
    assert_eq!(store.stats().await.unwrap(), Stats { expired: 0, ..expected });
}

#[test]
fn a_stores_error_says_what_failed_and_keeps_its_source() {
    let kinds = [
        (StoreErrorKind::Unavailable, true),
        (StoreErrorKind::InDoubt, true),
        (StoreErrorKind::Full, false),
        (StoreErrorKind::TooLarge, false),
        (StoreErrorKind::Damaged, false),
        (StoreErrorKind::Closed, false),
        (StoreErrorKind::Misconfigured, false),
        (StoreErrorKind::Internal, false),
    ];
    for (kind, passing) in kinds {
        let error = StoreError::new(kind, "get").with_message("look there").with_source("the driver's own");
        assert_eq!((error.kind(), error.is_passing(), error.operation()), (kind, passing, "get"));
        assert_eq!(error.to_string(), format!("{kind} (get): look there"));
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source == "the driver's own" && !error.to_string().contains(&source));
    }
    assert_eq!(StoreError::new(StoreErrorKind::Full, "get").to_string(), "the store is full (get)");
}
