//! Exclusive runs that are dropped at any point, whose store fails, or that many want at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use idempotency_core::{Error, Exclusively, How, Idempotency, Key, Status, Unrecorded};
use tokio::time::{Instant, sleep};

use crate::support::{Fault, Faulty, Ghost, LEASE, Method, faulty, polled, settle_down};

fn job() -> Key {
    Key::new("exclusive", "expire").build().unwrap()
}

fn slot() -> Key {
    Key::new("exclusive", "expire").part("1").build().unwrap()
}

async fn run(handle: &Idempotency, ghost: &Ghost, has_slot: bool) -> Result<Exclusively<u32>, Error> {
    let run = handle.exclusive("expire");
    let run = if has_slot { run.slot("1") } else { run };
    run.run(|_| ghost.clone().operation(3)).await
}

/// A store whose calls are pending for a while, and lose the answers of some.
fn hard(lost: &[Method]) -> (Arc<Faulty>, Idempotency) {
    let (store, handle) = faulty();
    store.yields(2);
    for method in lost {
        store.next(*method, [Fault::LOST, Fault::HangsAfter]);
    }
    (store, handle)
}

#[tokio::test(start_paused = true)]
async fn dropped_at_every_poll_the_lock_is_given_back_at_once() {
    let mut seen = [0; 3];
    let all = [Method::Acquire, Method::Store, Method::Release];
    for (has_slot, lost) in [(false, &all[..0]), (true, &all[..0]), (false, &all[..]), (true, &all[..])] {
        for polls in 0.. {
            let (store, handle) = hard(lost);
            let ghost = Ghost::default();
            let ran = polled(polls, run(&handle, &ghost, has_slot)).await;
            settle_down(&handle).await;
            store.heal();
            let what = format!("{has_slot}, {lost:?}, dropped after {polls} polls");
            let status = handle.status(&job()).await.unwrap();
            assert!(matches!(status, Status::Absent | Status::Released { .. }), "{what}: {status:?}");
            let status = handle.status(&slot()).await.unwrap();
            match (ghost.begun(), ghost.returned()) {
                (0, 0) => assert!(matches!(status, Status::Absent | Status::Released { .. }), "{what}: {status:?}"),
                (1, 0) if has_slot => assert!(matches!(status, Status::Unknown { .. }), "{what}: {status:?}"),
                (1, 1) if has_slot => assert!(matches!(status, Status::Completed { .. }), "{what}: {status:?}"),
                (1, _) => assert!(matches!(status, Status::Absent), "{what}: {status:?}"),
                other => panic!("{what}: {other:?}"),
            }
            seen[(ghost.begun() + ghost.returned()) as usize] += 1;
            let next = run(&handle, &ghost, has_slot).await.unwrap();
            let is_done = has_slot && ghost.begun() == 1 && ghost.returned() == 1 && ran.is_none();
            match next {
                Exclusively::AlreadyDone { report: 1, .. } if is_done || (has_slot && ran.is_some()) => {}
                Exclusively::Ran(_) if ghost.returned() > 0 => {}
                other => panic!("{what}: {other:?}"),
            }
            if ran.is_some() {
                break;
            }
        }
    }
    assert!(seen.iter().all(|times| *times > 10), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_cannot_be_reached_before_costs_an_error_and_nothing_runs() {
    let faults = [Fault::DOWN, Fault::Hangs, Fault::HangsAfter];
    for (method, fault) in [Method::Get, Method::Acquire].into_iter().flat_map(|method| faults.map(|it| (method, it))) {
        let (store, handle) = faulty();
        store.always(method, fault);
        let (ghost, begun) = (Ghost::default(), Instant::now());
        let failed = run(&handle, &ghost, true).await;
        let of = if method == Method::Get { slot() } else { job() };
        assert!(matches!(&failed, Err(Error::Store { key, .. }) if *key == of), "{method:?}, {fault:?}: {failed:?}");
        assert!(begun.elapsed() < Duration::from_secs(6));
        assert_eq!(ghost.begun(), 0);
        store.heal();
        settle_down(&handle).await;
        assert!(matches!(run(&handle, &ghost, true).await, Ok(Exclusively::Ran(_))), "{method:?}, {fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_cannot_be_taken_gives_the_jobs_lock_back() {
    let (store, handle) = faulty();
    store.next(Method::Acquire, [Fault::Works, Fault::DOWN, Fault::DOWN, Fault::DOWN]);
    let ghost = Ghost::default();
    let failed = run(&handle, &ghost, true).await;
    assert!(matches!(&failed, Err(Error::Store { key, .. }) if *key == slot()), "{failed:?}");
    assert_eq!(ghost.begun(), 0);
    assert!(matches!(run(&handle, &ghost, false).await, Ok(Exclusively::Ran(_))));
}

#[tokio::test(start_paused = true)]
async fn a_lock_whose_answer_came_after_its_lease_is_not_used() {
    let (store, handle) = faulty();
    let handle = handle.with_lease(Duration::from_secs(1)).unwrap();
    store.next(Method::Acquire, [Fault::LateAfter(Duration::from_millis(1500))]);
    let ghost = Ghost::default();
    let busy = run(&handle, &ghost, false).await.unwrap();
    assert!(matches!(busy, Exclusively::Busy { attempt: 1, retry_after: Duration::ZERO }), "{busy:?}");
    assert_eq!(ghost.begun(), 0);
    let Exclusively::Ran(next) = run(&handle, &ghost, false).await.unwrap() else { panic!("not free") };
    assert_eq!(next.prior(), None);
}

#[tokio::test(start_paused = true)]
async fn an_end_that_cannot_be_told_costs_no_report_and_is_told_later() {
    for (has_slot, at_least_for) in [(false, None), (true, None), (false, Some(LEASE * 5))] {
        let (store, handle) = faulty();
        store.always(Method::Release, Fault::DOWN);
        if !has_slot {
            store.always(Method::Store, Fault::DOWN);
        }
        let run = handle.exclusive("expire");
        let run = if has_slot { run.slot("1") } else { run };
        let run = if let Some(time) = at_least_for { run.at_least_for(time) } else { run };
        let Exclusively::Ran(report) = run.run(async |_| Ok::<_, Error>(7)).await.unwrap() else { panic!("not ran") };
        let unrecorded = matches!(report.how(), How::Unrecorded(Unrecorded::Store(_)));
        assert_eq!((*report, unrecorded), (7, !has_slot));
        // Renewed until the store knows.
        sleep(LEASE * 3).await;
        let next = || handle.run_exclusively("expire", async { Ok::<u32, Error>(8) });
        assert!(matches!(next().await.unwrap(), Exclusively::Busy { .. }));
        store.heal();
        settle_down(&handle).await;
        match (next().await.unwrap(), at_least_for) {
            (Exclusively::Ran(report), None) => assert_eq!(report.prior(), None),
            (Exclusively::TooSoon { .. }, Some(_)) => {}
            (other, _) => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_at_once_never_two_run() {
    const TASKS: usize = 16;
    const RUNS: usize = 200;
    let (_, handle) = faulty();
    let (ghost, ran, busy) = (Ghost::default(), Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let tasks = (0..TASKS).map(|task| {
        let (handle, ghost, ran, busy) = (handle.clone(), ghost.clone(), ran.clone(), busy.clone());
        tokio::spawn(async move {
            for nth in 0..RUNS {
                let run = handle.run_exclusively("expire", ghost.clone().operation(5));
                // Each third is dropped in its midst, or before, or after.
                let polls = if nth % 3 == 0 { 1 + (task + nth) % 7 } else { usize::MAX };
                match polled(polls, run).await {
                    Some(Ok(Exclusively::Ran(_))) => drop(ran.fetch_add(1, Ordering::Relaxed)),
                    Some(Ok(Exclusively::Busy { .. })) => drop(busy.fetch_add(1, Ordering::Relaxed)),
                    Some(other) => panic!("{other:?}"),
                    None => {}
                }
                tokio::task::yield_now().await;
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    settle_down(&handle).await;
    let (ran, busy) = (ran.load(Ordering::Relaxed), busy.load(Ordering::Relaxed));
    assert_eq!(ghost.returned(), ran);
    assert!(ran > 50 && ghost.begun() > ran && busy > 0, "{ran} ran of {} begun, {busy} busy", ghost.begun());
    assert!(matches!(handle.status(&job()).await.unwrap(), Status::Released { .. }));
}
