//! Leases are renewed, whatever the store and the run do meanwhile.

use std::future::poll_fn;
use std::sync::{Arc, OnceLock, Weak};
use std::task::Poll;
use std::time::Duration;

use idempotency_core::{Error, How, Idempotency, LeaseLost};
use tokio::time::{Instant, sleep, timeout};

use crate::support::{Fault, Faulty, KEY, LEASE, LONG, Method, faulty, key_of, run, settle_down, start};

const SECOND: Duration = Duration::from_secs(1);

/// Asserts, once a second, that nobody else could have taken the key.
async fn held_for(handle: &Idempotency, time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        sleep(SECOND).await;
        let other = run(handle, &KEY, 99).await;
        assert!(
            matches!(other, Err(Error::InProgress { attempt: 1, .. })),
            "{other:?} at {:?}",
            until - Instant::now()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_short_run_is_two_calls_and_a_replay_one() {
    let (store, handle) = faulty();
    let _ = run(&handle, &KEY, 1).await.unwrap();
    assert_eq!(store.calls(), [Method::Acquire, Method::Store]);
    let _ = run(&handle, &KEY, 2).await.unwrap();
    assert_eq!(store.calls()[2..], [Method::Acquire]);
    // Nothing is renewed for what has ended.
    sleep(LONG).await;
    assert_eq!(store.calls().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn renewal_begins_when_a_third_of_the_lease_is_over() {
    let (store, handle) = faulty();
    let running = start(&handle, &KEY, LEASE * 2, 1);
    sleep(LEASE / 3 - SECOND * 2).await;
    assert_eq!(store.count(Method::Extend), 0);
    sleep(SECOND * 3).await;
    assert_eq!(store.count(Method::Extend), 1);
    assert!(matches!(running.await.unwrap().how(), How::Executed));
    assert!(store.count(Method::Extend) <= 7);
}

#[tokio::test(start_paused = true)]
async fn three_of_four_renewals_fail_and_the_lock_is_held_for_many_leases() {
    for fault in
        [Fault::DOWN, Fault::LOST, Fault::PanicsAt(1), Fault::Before(idempotency_core::StoreErrorKind::Internal)]
    {
        let (store, handle) = faulty();
        for _ in 0..1000 {
            store.next(Method::Extend, [fault, fault, fault, Fault::Works]);
        }
        let running = start(&handle, &KEY, LEASE * 20, 1);
        held_for(&handle, LEASE * 20 - SECOND).await;
        assert!(matches!(running.await.unwrap().how(), How::Executed));
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_back_a_tenth_of_the_lease_before_its_end_is_back_in_time() {
    let (store, handle) = faulty();
    store.always(Method::Extend, Fault::DOWN);
    let held: Vec<_> = (0..20)
        .map(|n| {
            handle.call(&key_of(&n.to_string())).spawn(async |attempt| {
                sleep(LEASE * 2).await;
                Ok::<_, Error>(attempt.is_lost().is_none())
            })
        })
        .collect();
    sleep(LEASE * 9 / 10 - SECOND / 10).await;
    store.heal();
    for held in held {
        assert!(*held.await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_hangs_does_not_lose_the_lock() {
    let (store, handle) = faulty();
    for _ in 0..100 {
        store.next(Method::Extend, [Fault::Hangs, Fault::HangsAfter, Fault::Works]);
    }
    let running = start(&handle, &KEY, LEASE * 10, 1);
    held_for(&handle, LEASE * 10 - SECOND).await;
    assert!(matches!(running.await.unwrap().how(), How::Executed));
}

#[tokio::test(start_paused = true)]
async fn renewal_does_not_need_the_run_to_be_polled() {
    let (_, handle) = faulty();
    let mut waiting = Box::pin(handle.execute_once(&KEY, async {
        sleep(SECOND).await;
        Ok::<u32, Error>(1)
    }));
    let pending = poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx).is_pending())).await;
    assert!(pending);
    held_for(&handle, LEASE * 5).await;
    assert!(matches!(waiting.await.unwrap().how(), How::Executed));
}

#[tokio::test(start_paused = true)]
async fn every_run_of_a_handle_is_renewed_whenever_it_began() {
    let (_, handle) = faulty();
    let short = handle.clone().with_lease(SECOND * 3).unwrap();
    let keys: Vec<_> = (0..20).map(|n| key_of(&n.to_string())).collect();
    let mut running = Vec::new();
    for (n, key) in keys.iter().enumerate() {
        running.push(start(if n % 2 == 0 { &handle } else { &short }, key, LEASE * 5, 1));
        sleep(Duration::from_millis(730)).await;
    }
    for _ in 0..60 {
        sleep(SECOND).await;
        for key in &keys {
            assert!(matches!(run(&handle, key, 2).await, Err(Error::InProgress { .. })));
        }
    }
    for running in running {
        assert!(matches!(running.await.unwrap().how(), How::Executed));
    }
}

#[tokio::test(start_paused = true)]
async fn a_longer_lease_of_a_call_does_not_delay_the_renewal_of_a_shorter_one() {
    let (_, handle) = faulty();
    let (slow, fast) = (key_of("slow"), key_of("fast"));
    let slow = handle.call(&slow).lease(LEASE * 10).spawn(async |_| {
        sleep(LEASE * 20).await;
        Ok::<u32, Error>(1)
    });
    sleep(SECOND).await;
    let running = handle.call(&fast).lease(SECOND * 10).spawn(async |attempt| {
        sleep(LEASE * 5).await;
        Ok::<_, Error>(attempt.is_lost().is_none())
    });
    assert!(running.await.unwrap().into_inner());
    assert!(matches!(slow.await.unwrap().how(), How::Executed));
}

#[tokio::test(start_paused = true)]
async fn the_operation_can_see_its_lease_grow() {
    let (_, handle) = faulty();
    let outcome = handle.call(&KEY).run(async |attempt| {
        let mut least = attempt.lease_remaining();
        for _ in 0..200 {
            sleep(SECOND).await;
            least = least.min(attempt.lease_remaining());
        }
        Ok::<_, Error>(least)
    });
    assert!(*outcome.await.unwrap() >= LEASE * 2 / 3 - SECOND * 2);
}

#[tokio::test(start_paused = true)]
async fn a_holder_counts_its_lease_from_before_it_asked() {
    let (store, handle) = faulty();
    let handle = handle.with_store_limit(LEASE).unwrap();
    store.next(Method::Acquire, [Fault::LateAfter(SECOND * 4)]);
    store.next(Method::Extend, [Fault::LateAfter(SECOND * 3)]);
    let asked_at = Instant::now();
    let outcome = handle.call(&KEY).run(async |attempt| {
        assert_eq!(attempt.lease_remaining(), LEASE - SECOND * 4);
        sleep(SECOND * 10).await;
        // Renewed at a third of the lease, answered three seconds later.
        let renewed = asked_at + LEASE / 3 + LEASE;
        let believed = Instant::now() + attempt.lease_remaining();
        assert!(
            believed <= renewed + Duration::from_millis(5) && believed >= renewed - SECOND,
            "{:?}",
            renewed - believed
        );
        Ok::<u32, Error>(1)
    });
    assert_eq!(*outcome.await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn no_run_is_renewed_longer_than_it_may_run() {
    let (_, handle) = faulty();
    let handle = handle.with_max_run(LEASE * 4).unwrap();
    let began = Instant::now();
    let outcome = handle.call(&KEY).run(async |attempt| {
        let why = timeout(LONG, attempt.lost()).await.unwrap();
        assert_eq!((why, attempt.is_lost()), (LeaseLost::RanTooLong, Some(LeaseLost::RanTooLong)));
        assert!(began.elapsed() >= LEASE * 4 && began.elapsed() <= LEASE * 5 + SECOND, "{:?}", began.elapsed());
        // Told once the lease is over, not before: nobody else held it until now.
        Ok::<_, Error>(run(&handle, &KEY, 2).await.unwrap().prior().unwrap().attempt)
    });
    assert_eq!(*outcome.await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_may_run_longer_than_its_handle_allows() {
    let (_, handle) = faulty();
    let handle = handle.with_max_run(LEASE).unwrap();
    let call = handle.call(&KEY).max_run(LEASE * 50);
    let lost = call.run(async |attempt| {
        sleep(LEASE * 40).await;
        Ok::<_, Error>(attempt.is_lost().is_some())
    });
    assert!(!lost.await.unwrap().into_inner());
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_may_not_be_renewed_once_is_lost_when_it_is_over() {
    let (store, handle) = faulty();
    for max_run in [SECOND, LEASE / 3] {
        let handle = handle.clone().with_max_run(max_run).unwrap();
        let key = key_of(&format!("{max_run:?}"));
        let outcome = handle.call(&key).run(async |attempt| {
            assert_eq!(timeout(LONG, attempt.lost()).await, Ok(LeaseLost::RanTooLong));
            Ok::<_, Error>(store.count(Method::Extend))
        });
        assert_eq!(*outcome.await.unwrap(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_no_renewal_reached_is_told_when_it_is_over() {
    for fault in [Fault::DOWN, Fault::Hangs] {
        let (store, handle) = faulty();
        store.always(Method::Extend, fault);
        let began = Instant::now();
        let lost = handle.call(&KEY).run(async |attempt| {
            assert_eq!(attempt.lost().await, LeaseLost::NotRenewed);
            Ok::<_, Error>((began.elapsed(), attempt.lease_remaining()))
        });
        let (after, remaining) = lost.await.unwrap().into_inner();
        assert!(after >= LEASE && after < LEASE + Duration::from_millis(10), "{after:?}");
        assert_eq!(remaining, Duration::ZERO);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_another_took_is_told_at_the_next_renewal() {
    let (store, handle) = faulty();
    let lost = handle.call(&KEY).run(async |attempt| {
        // As after a failover that forgot the lock.
        store.tamper(&KEY, |record| record.lock.fence = record.lock.fence.next());
        assert_eq!((attempt.lost().await, attempt.lease_remaining()), (LeaseLost::Taken, Duration::ZERO));
        // Whoever asks later is told, too.
        Ok::<_, Error>(attempt.lost().await == LeaseLost::Taken && attempt.clone().is_lost().is_some())
    });
    assert!(lost.await.unwrap().into_inner());
}

#[tokio::test(start_paused = true)]
async fn however_many_short_runs_there_are_one_task_renews_for_them_and_ends_after_them() {
    let (_, handle) = faulty();
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    for n in 0..100 {
        let _ = run(&handle, &key_of(&n.to_string()), n).await.unwrap();
    }
    assert_eq!(tasks(), 1);
    sleep(LEASE).await;
    assert_eq!(tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_ends_while_all_are_being_renewed_takes_no_other_with_it() {
    let (store, handle) = faulty();
    store.next(Method::Extend, [Fault::Late(SECOND), Fault::Late(SECOND)]);
    let other = start(&handle, &key_of("other"), LEASE / 3 + SECOND / 2, 1);
    let running = start(&handle, &KEY, LEASE * 5, 1);
    sleep(LEASE / 3 + SECOND / 4).await;
    assert_eq!(store.count(Method::Extend), 2);
    assert!(matches!(other.await.unwrap().how(), How::Executed));
    held_for(&handle, LEASE * 4).await;
    assert!(matches!(running.await.unwrap().how(), How::Executed));
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_fails_is_tried_no_longer_once_its_run_has_ended() {
    let (store, handle) = faulty();
    store.always(Method::Extend, Fault::DOWN);
    let _ = start(&handle, &KEY, LEASE / 2, 1).await.unwrap();
    let tried = store.count(Method::Extend);
    assert!(tried > 0);
    sleep(LONG).await;
    assert_eq!(store.count(Method::Extend), tried);
}

#[tokio::test(start_paused = true)]
async fn an_operation_that_has_finished_is_not_told_that_its_own_end_took_the_lock() {
    let (store, handle) = faulty();
    // The result is stored, but nobody is told: to a renewal the lock is gone.
    store.always(Method::Store, Fault::HangsAfter);
    let kept = OnceLock::new();
    let outcome = handle.call(&KEY).run(async |attempt| {
        kept.set(attempt).unwrap();
        Ok::<u32, Error>(1)
    });
    assert!(matches!(outcome.await.unwrap().how(), How::Unrecorded(_)));
    settle_down(&handle).await;
    assert!(store.count(Method::Extend) > 0);
    assert_eq!(kept.get().unwrap().is_lost(), None);
}

#[test]
fn a_handle_outlives_one_of_its_runtimes() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let (first, second) = (runtime(), runtime());
    let (store, handle) = second.block_on(async { faulty() });
    let doomed = key_of("doomed");
    first.block_on(async {
        drop(start(&handle, &doomed, LONG, 1));
        sleep(SECOND).await;
    });
    second.block_on(async {
        drop(start(&handle, &KEY, LEASE * 3, 1));
        sleep(SECOND).await;
    });
    drop(first);
    second.block_on(async {
        held_for(&handle, LEASE * 3 - SECOND * 2).await;
        sleep(SECOND * 2).await;
        assert_eq!(*run(&handle, &KEY, 2).await.unwrap(), 1);
        // The dropped runtime's run is not renewed, and lapses.
        assert!(run(&handle, &doomed, 2).await.unwrap().prior().is_some());
        assert!(store.count(Method::Extend) > 0);
    });
    // And another runtime after it, with a lane of its own.
    let third = runtime();
    third.block_on(async {
        let running = start(&handle, &key_of("third"), LEASE * 3, 3);
        assert!(matches!(running.await.unwrap().how(), How::Executed));
    });
}

#[tokio::test(start_paused = true)]
async fn a_handle_that_is_dropped_lets_its_store_go_while_the_renewer_sleeps() {
    let (store, handle) = faulty();
    let _ = run(&handle, &KEY, 1).await.unwrap();
    // The renewer's task has begun to sleep.
    sleep(SECOND).await;
    let weak: Weak<Faulty> = Arc::downgrade(&store);
    drop((store, handle));
    assert!(weak.upgrade().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_run_that_has_ended_leaves_nothing_in_memory() {
    let (_store, handle) = faulty();
    let key = key_of("ended");
    let text = key.to_shared_str();
    for takes in [LEASE * 2, Duration::ZERO] {
        let _ = start(&handle, &key, takes, 1).await.unwrap();
    }
    sleep(LEASE).await;
    // The key's own, and this.
    assert_eq!(Arc::strong_count(&text), 2);
}

#[tokio::test(start_paused = true)]
async fn a_run_keeps_its_store_though_the_handle_is_dropped() {
    let (store, handle) = faulty();
    let running = start(&handle, &KEY, LEASE * 5, 1);
    let weak = Arc::downgrade(&store);
    drop((store, handle));
    assert!(matches!(running.await.unwrap().how(), How::Executed));
    settle_down(&faulty().1).await;
    assert!(weak.upgrade().is_none());
}
