//! One handle on runtimes that come and go.

use std::future::{pending, poll_fn};
use std::pin::pin;
use std::sync::mpsc;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use idempotency_core::{Error, How, LeaseLost};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use crate::support::{KEY, LEASE, LONG, faulty, key_of, run, settle_down, yields};

/// For what happens at once, or never.
const BOUND: Duration = Duration::from_secs(30);

fn paused() -> Runtime {
    Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

#[test]
fn a_run_on_a_runtime_without_timers_is_told_that_nobody_renews_its_lease() {
    let (tell, told) = mpsc::channel();
    // A thread of its own, as nothing in such a runtime could end the wait.
    thread::spawn(move || {
        let (_store, handle) = faulty();
        let lost = handle.call(&KEY).run(async |attempt| Ok::<_, Error>(attempt.lost().await == LeaseLost::NotRenewed));
        let runtime = Builder::new_current_thread().build().unwrap();
        tell.send(runtime.block_on(lost).is_ok_and(|lost| *lost))
    });
    assert_eq!(told.recv_timeout(BOUND), Ok(true));
}

#[test]
fn a_run_that_outlives_the_runtime_it_began_on_is_told_that_nobody_renews_its_lease() {
    // With the renewer's task begun, and without.
    for times in [0, 3] {
        let (_store, handle) = faulty();
        let (first, second) = (paused(), paused());
        let (go_on, told) = oneshot::channel::<()>();
        let call = handle.call(&KEY).run(async |attempt| {
            told.await.unwrap();
            Ok::<_, Error>(timeout(LONG, attempt.lost()).await == Ok(LeaseLost::NotRenewed))
        });
        let mut outliving = pin!(call);
        first.block_on(async {
            assert!(poll_fn(|cx| Poll::Ready(outliving.as_mut().poll(cx))).await.is_pending());
            yields(times).await;
        });
        drop(first);
        go_on.send(()).unwrap();
        assert!(*second.block_on(outliving).unwrap(), "{times}");
    }
}

#[test]
fn a_runtime_that_goes_in_mid_run_disturbs_no_run_on_another() {
    let (store, handle) = faulty();
    for n in 0..20 {
        store.yields(n % 3);
        let key = key_of(&n.to_string());
        let first = Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
        let (tell, began) = mpsc::channel();
        first.spawn({
            let (handle, key) = (handle.clone(), key.clone());
            async move {
                let endless = handle.call(&key).run(async |_| {
                    tell.send(()).unwrap();
                    pending::<Result<u32, Error>>().await
                });
                endless.await.map(drop)
            }
        });
        // Gone in its run, or anywhere before.
        if n % 2 == 0 {
            began.recv_timeout(BOUND).unwrap();
        }
        first.shutdown_background();
        paused().block_on(async {
            let long = handle.call(&key).wait(LEASE * 2).run(async |attempt| {
                sleep(LEASE * 3).await;
                Ok::<_, Error>(attempt.is_lost().is_none())
            });
            let long = long.await.unwrap();
            assert!(matches!(long.how(), How::Executed) && *long, "{long:?}");
            settle_down(&handle).await;
            assert!(run(&handle, &key_of("other"), 1).await.is_ok());
        });
    }
}
