//! Every await point of a run, dropped in turn and panicked in turn.
//!
//! Whatever happened: never two live runs, never an unknown attempt that is freed, never a value
//! lost that the operation had returned.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use idempotency_core::{Error, How, Idempotency, Outcome, Status};
use tokio::time::sleep;

use crate::support::{Fault, Faulty, Ghost, KEY, LEASE, Method, faulty, polled, settle_down, yields};

type Answer = Result<Outcome<u32>, Error>;

/// One way in which a store makes things hard.
struct Case {
    name: &'static str,
    faults: Vec<(Method, Vec<Fault>)>,
    /// Whether an attempt before this one is unknown.
    prior: bool,
    confirms: bool,
}

fn cases() -> Vec<Case> {
    let case = |name, faults| Case { name, faults, prior: false, confirms: false };
    let lost = [Fault::LOST, Fault::HangsAfter];
    vec![
        case("no fault", vec![]),
        case("acquire's answer lost", vec![(Method::Acquire, lost.to_vec())]),
        case("acquire fails at first", vec![(Method::Acquire, vec![Fault::DOWN, Fault::Hangs])]),
        case("store's answer lost", vec![(Method::Store, lost.to_vec())]),
        case("store fails at first", vec![(Method::Store, vec![Fault::DOWN, Fault::Hangs])]),
        case(
            "all answers lost at first",
            vec![(Method::Acquire, lost.to_vec()), (Method::Store, lost.to_vec()), (Method::Release, lost.to_vec())],
        ),
        Case { prior: true, ..case("after an unknown attempt", vec![(Method::Acquire, vec![Fault::LOST])]) },
        Case { confirms: true, ..case("confirmed", vec![]) },
    ]
}

async fn prepared(case: &Case) -> (Arc<Faulty>, Idempotency, Ghost) {
    let (store, handle) = faulty();
    if case.prior {
        let _ = handle.execute_once(&KEY, async { Err::<u32, _>(Error::Mismatch { key: KEY.clone() }) }).await;
    }
    store.yields(2);
    for (method, faults) in &case.faults {
        store.next(*method, faults.iter().copied());
    }
    (store, handle, Ghost::default())
}

async fn called(handle: &Idempotency, ghost: &Ghost, case: &Case) -> Answer {
    let call = handle.call(&KEY);
    let call = if case.confirms { call.confirm() } else { call };
    // The operation, too, is pending for a while.
    call.run(|_| ghost.clone().operation(3)).await
}

/// Asks for what must hold after a run that was cut off somewhere.
async fn nothing_is_wrong(handle: &Idempotency, store: &Faulty, ghost: &Ghost, case: &Case, at: &str) {
    let at = format!("{}, cut off at {at}", case.name);
    settle_down(handle).await;
    store.heal();
    let (begun, returned) = (ghost.begun(), ghost.returned());
    assert!(begun <= 1, "{at}: {begun} runs");
    let status = handle.status(&KEY).await.unwrap();
    if begun == 0 {
        // Nothing happened: as before.
        match (case.prior, &status) {
            (false, Status::Absent | Status::Released { .. }) | (true, Status::Unknown { .. }) => {}
            other => panic!("{at}: {other:?}"),
        }
    } else if returned == 0 {
        assert!(matches!(status, Status::InProgress { .. }), "{at}: {status:?}");
        sleep(LEASE).await;
    } else {
        assert!(matches!(status, Status::Completed { .. }), "{at}: {status:?}");
    }
    let next = handle.execute_once(&KEY, ghost.clone().operation(0)).await.unwrap();
    match (begun, returned) {
        (0, _) => assert_eq!((next.prior().is_some(), next.is_replay()), (case.prior, false), "{at}"),
        (_, 0) => assert!(next.prior().is_some() && matches!(next.how(), How::Executed), "{at}"),
        _ => assert!(next.is_replay() && *next == 1, "{at}"),
    }
}

#[tokio::test(start_paused = true)]
async fn dropped_at_every_poll() {
    let mut points = 0;
    for case in cases() {
        for polls in 0.. {
            let (store, handle, ghost) = prepared(&case).await;
            match polled(polls, called(&handle, &ghost, &case)).await {
                None => nothing_is_wrong(&handle, &store, &ghost, &case, &format!("poll {polls}")).await,
                Some(answer) => {
                    assert_eq!(*answer.unwrap(), 1, "{}", case.name);
                    assert!(polls > 10, "{}: {polls} polls", case.name);
                    points += polls;
                    break;
                }
            }
        }
    }
    assert!(points > 150, "{points} points");
}

#[tokio::test(start_paused = true)]
async fn a_waiter_dropped_at_every_poll_takes_nothing_with_it() {
    for polls in 0..40 {
        let (store, handle, ghost) = prepared(&cases()[0]).await;
        let first = handle.call(&KEY).spawn({
            let ghost = ghost.clone();
            move |_| ghost.operation(20)
        });
        yields(10).await;
        let waiter = handle.call(&KEY).wait(LEASE).run(async |_| -> Result<u32, Error> { panic!("ran") });
        let waited = polled(polls, waiter).await;
        assert!(waited.is_none_or(|value| *value.unwrap() == 1));
        assert!(matches!(first.await.unwrap().how(), How::Executed));
        settle_down(&handle).await;
        assert_eq!((ghost.begun(), store.count(Method::Release)), (1, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_look_dropped_at_every_poll_leaves_the_key_unknown_or_done() {
    for polls in 0.. {
        let case = Case { prior: true, ..cases().remove(0) };
        let (store, handle, ghost) = prepared(&case).await;
        let look = handle.call(&KEY).reconcile(async |_| {
            yields(3).await;
            Ok(Some(7u32))
        });
        let found = polled(polls, look.run(|_| ghost.clone().operation(0))).await;
        settle_down(&handle).await;
        assert_eq!(ghost.begun(), 0);
        match handle.status(&KEY).await.unwrap() {
            Status::Unknown { prior, .. } => assert_eq!((prior.attempt, found.is_none()), (1, true)),
            Status::Completed { .. } => assert!(store.count(Method::Store) > 0),
            other => panic!("{other:?} after {polls} polls"),
        }
        if let Some(found) = found {
            assert_eq!(*found.unwrap(), 7);
            break;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_look_that_finds_nothing_dropped_at_every_poll_frees_nothing() {
    for confirms in [false, true] {
        for polls in 0.. {
            let case = Case { prior: true, ..cases().remove(0) };
            let (_store, handle, ghost) = prepared(&case).await;
            let look = handle.call(&KEY).reconcile(async |_| {
                yields(2).await;
                Ok(None)
            });
            let look = if confirms { look.confirm() } else { look };
            let ran = polled(polls, look.run(|_| ghost.clone().operation(2))).await;
            settle_down(&handle).await;
            match (handle.status(&KEY).await.unwrap(), ghost.begun(), ghost.returned()) {
                (Status::Unknown { .. }, 0, 0)
                | (Status::InProgress { .. }, 1, 0)
                | (Status::Completed { .. }, 1, 1) => {}
                other => panic!("{other:?} after {polls} polls"),
            }
            if let Some(ran) = ran {
                assert_eq!(*ran.unwrap(), 1);
                break;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_dropped_at_every_poll_is_told_to_the_store_all_the_same() {
    for polls in 0.. {
        let (store, handle, ghost) = prepared(&cases()[5]).await;
        let failing = handle.call(&KEY).run(async |_| {
            let _ = ghost.clone().operation(2).await;
            Err::<u32, _>(Error::Mismatch { key: KEY.clone() })
        });
        let failed = polled(polls, failing).await;
        settle_down(&handle).await;
        store.heal();
        match (ghost.begun(), ghost.returned(), handle.status(&KEY).await.unwrap()) {
            (0, _, Status::Absent | Status::Released { .. })
            | (1, 0, Status::InProgress { .. })
            | (1, 1, Status::Unknown { .. }) => {}
            other => panic!("{other:?} after {polls} polls"),
        }
        if failed.is_some() {
            break;
        }
    }
}

/// Polls a future that panics at its `nth` poll, counted from 1.
async fn panicking<F: Future>(nth: usize, future: F) -> F::Output {
    let mut future = pin!(future);
    let mut polls = 0;
    std::future::poll_fn(move |cx| {
        polls += 1;
        assert_ne!(polls, nth, "the operation panics as told");
        future.as_mut().poll(cx)
    })
    .await
}

/// The answer, or nothing after a panic.
async fn unpanicked<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    std::future::poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(Poll::Ready(output)) => Poll::Ready(Some(output)),
        Ok(Poll::Pending) => Poll::Pending,
        Err(_) => Poll::Ready(None),
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn an_operation_that_panics_at_every_poll() {
    for case in cases() {
        for nth in 1..=4 {
            let (store, handle, ghost) = prepared(&case).await;
            let call = handle.call(&KEY);
            let call = if case.confirms { call.confirm() } else { call };
            let answer = unpanicked(call.run(|_| panicking(nth, ghost.clone().operation(3)))).await;
            assert!(answer.is_none(), "{}: {answer:?}", case.name);
            // Panicked at its first poll, the operation had no time to count itself.
            settle_down(&handle).await;
            store.heal();
            let status = handle.status(&KEY).await.unwrap();
            assert!(matches!(status, Status::InProgress { .. }), "{}, poll {nth}: {status:?}", case.name);
            sleep(LEASE).await;
            let next = handle.execute_once(&KEY, ghost.operation(0)).await.unwrap();
            assert!(next.prior().is_some(), "{}, poll {nth}", case.name);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_whose_call_panics_at_every_poll() {
    for case in cases() {
        for method in [Method::Acquire, Method::Extend, Method::Store, Method::Release] {
            // Two polls before what it does, two after it, and the last.
            for nth in 1..=6 {
                let (store, handle, ghost) = prepared(&case).await;
                store.heal();
                store.next(method, [Fault::PanicsAt(nth)]);
                let at = format!("{method:?}, poll {nth}");
                let answer = called(&handle, &ghost, &case).await;
                match (answer, ghost.returned()) {
                    (Ok(outcome), 1) => assert_eq!(*outcome, 1, "{at}"),
                    (Err(Error::Store { .. }), 0) => {}
                    other => panic!("{}, {at}: {other:?}", case.name),
                }
                settle_down(&handle).await;
                store.heal();
                let status = handle.status(&KEY).await.unwrap();
                match (ghost.begun(), &status) {
                    (0, Status::Absent | Status::Released { .. }) => assert!(!case.prior, "{at}"),
                    (0, Status::Unknown { .. }) => assert!(case.prior, "{at}"),
                    (1, Status::Completed { .. }) => {}
                    // Panicked before it was stored: not free before its lease is over.
                    (1, Status::InProgress { .. }) => {
                        sleep(LEASE).await;
                        let next = handle.execute_once(&KEY, ghost.clone().operation(0)).await.unwrap();
                        assert!(next.prior().is_some(), "{at}");
                    }
                    other => panic!("{}, {at}: {other:?}", case.name),
                }
            }
        }
    }
}
