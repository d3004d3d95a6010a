//! Every call ends within its limit, however many steps it has.

use std::time::{Duration, Instant};

use idempotency_core::{Acquired, Effect, Held, IdempotencyStore, StoreError, StoreErrorKind};
use idempotency_store_redis::RedisStore;
use idempotency_testkit::proxy::{Direction, Proxy};
use idempotency_testkit::servers::{RedisCluster, RedisReplicas};

use crate::support::{MARGIN, acquired, claim, config, in_the_end, key, open, runtime, server, until, value};

const LIMIT: Duration = Duration::from_secs(2);
/// A step takes twice this: one of them is within the limit, and two are far over it.
const DELAY: Duration = Duration::from_millis(900);

async fn timed<T>(call: impl Future<Output = Result<T, StoreError>>) -> (Result<T, StoreError>, Duration) {
    let begun = Instant::now();
    (call.await, begun.elapsed())
}

#[test]
fn a_call_of_two_steps_has_one_limit() {
    let (runtime, server) = (runtime(), server());
    let proxy = Proxy::start(server.address()).unwrap();
    let through = config(&server.url_through(&proxy)).with_limit(LIMIT);
    let store = runtime.block_on(RedisStore::open(through)).unwrap();
    let other = open(&runtime, &server);
    runtime.block_on(async {
        let (held, lost) = (key("held"), key("lost"));
        acquired(&other, &held).await;
        let lock = acquired(&store, &lost).await.lock;
        assert_eq!(other.release_lock(&lost, &lock, Effect::None).await.unwrap(), Held::Held);
        proxy.delay(Direction::Both, DELAY);
        // What is taken to be new is there: the server has to look. And so for what is taken to be held.
        // Where the server's time is not known to the millisecond, it looks at once, which is soon enough.
        let (answer, took) = timed(store.acquire_lock(&held, &claim())).await;
        assert!(took < LIMIT + MARGIN, "acquiring took {took:?}: {answer:?}");
        match answer {
            Ok(answer) => assert!(matches!(answer, Acquired::InProgress { .. }), "{answer:?}"),
            Err(error) => assert_eq!(error.kind(), StoreErrorKind::InDoubt, "{error}"),
        }
        let (answer, took) = timed(store.store_result(&lost, &lock, &value(b"late"), LIMIT * 100)).await;
        assert!(took < LIMIT + MARGIN, "storing took {took:?}: {answer:?}");
        match answer {
            Ok(answer) => assert_eq!(answer, Held::Lost),
            Err(error) => assert_eq!(error.kind(), StoreErrorKind::InDoubt, "{error}"),
        }
        proxy.heal();
        assert!(matches!(store.acquire_lock(&held, &claim()).await.unwrap(), Acquired::InProgress { .. }));
    });
}

#[test]
fn a_call_that_waits_for_replicas_waits_for_them_once() {
    const WITHIN: Duration = Duration::from_secs(2);
    const LIMIT: Duration = Duration::from_millis(300);
    let (runtime, servers) = (runtime(), RedisReplicas::start(1).unwrap());
    let waits = config(&servers.master().url()).with_limit(LIMIT).with_replicas(1, WITHIN);
    let store = runtime.block_on(RedisStore::open(waits)).unwrap();
    servers.replicas()[0].pause().unwrap();
    let ask = |name: &'static str| {
        let store = store.clone();
        runtime.spawn(async move { timed(store.acquire_lock(&key(name), &claim())).await })
    };
    let first = ask("first");
    let blocked = || servers.master().command(&["INFO", "clients"]).unwrap();
    until("the first waits", || blocked().text().unwrap().contains("blocked_clients:1"));
    // It comes too late for the round that is under way.
    for asked in [first, ask("second")] {
        let (answer, took) = runtime.block_on(asked).unwrap();
        assert_eq!(answer.unwrap_err().kind(), StoreErrorKind::InDoubt);
        assert!(took < WITHIN + LIMIT + MARGIN, "it took {took:?}");
    }
    servers.replicas()[0].resume().unwrap();
    let (third, claim) = (key("third"), claim());
    runtime.block_on(in_the_end(|| store.acquire_lock(&third, &claim)));
}

#[test]
fn a_lone_caller_too_gets_away_from_a_connection_that_is_silent() {
    let (runtime, server) = (runtime(), server());
    let proxy = Proxy::start(server.address()).unwrap();
    let through = config(&server.url_through(&proxy)).with_limit(Duration::from_millis(200));
    let store = runtime.block_on(RedisStore::open(through)).unwrap();
    let before = proxy.counts().connections;
    proxy.black_hole(Direction::ToClient);
    for asked in 1..=3 {
        let (answer, _) = runtime.block_on(timed(store.get(&key("any"))));
        let kind = if asked < 3 { StoreErrorKind::InDoubt } else { StoreErrorKind::Unavailable };
        assert_eq!(answer.unwrap_err().kind(), kind, "call {asked}");
    }
    assert_eq!(proxy.counts().connections, before + 1);
    proxy.heal();
    runtime.block_on(store.get(&key("any"))).unwrap();
}

#[test]
fn who_watches_is_woken_when_the_connection_breaks() {
    let (runtime, server) = (runtime(), server());
    let proxy = Proxy::start(server.address()).unwrap();
    let store = runtime.block_on(RedisStore::open(config(&server.url_through(&proxy)))).unwrap();
    runtime.block_on(async {
        acquired(&store, &key("watched")).await;
        let watch = store.watch(&key("watched"));
        let tracked = || server.command(&["INFO", "stats"]).unwrap().text().unwrap().contains("tracking_total_items:1");
        tokio::task::block_in_place(|| until("it is watched", tracked));
        proxy.cut();
        tokio::time::timeout(LIMIT, watch).await.expect("nobody was told");
    });
}

#[test]
fn who_asks_a_cluster_that_is_silent_waits_for_no_others() {
    const LIMIT: Duration = Duration::from_millis(500);
    let (runtime, servers) = (runtime(), RedisCluster::own().unwrap());
    let store = runtime.block_on(RedisStore::open(config(&servers.url()).with_limit(LIMIT))).unwrap();
    servers.nodes().unwrap().iter().for_each(|server| server.pause().unwrap());
    let mut calls = Vec::new();
    // The second round has to find out anew who has which slots.
    for round in 0..2 {
        for n in 0..20 {
            let store = store.clone();
            let key = key(format!("{round} {n}"));
            calls.push(runtime.spawn(async move { timed(store.acquire_lock(&key, &claim())).await }));
        }
        std::thread::sleep(LIMIT * 3 / 2);
    }
    for call in calls {
        let (answer, took) = runtime.block_on(call).unwrap();
        assert!(took < LIMIT * 2 + MARGIN, "it took {took:?}: {answer:?}");
        assert!(answer.unwrap_err().is_passing());
    }
    servers.nodes().unwrap().iter().for_each(|server| server.resume().unwrap());
    let any = key("any");
    runtime.block_on(in_the_end(|| store.get(&any)));
}

#[test]
fn who_shares_a_store_with_a_runtime_that_stands_still_goes_on() {
    const LIMIT: Duration = Duration::from_millis(300);
    let (runtime, server) = (runtime(), server());
    let still = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let store = still.block_on(RedisStore::open(config(&server.url()).with_limit(LIMIT))).unwrap();
    still.block_on(async {
        // Two at once: the second is to be sent by a task, which never comes to run.
        let (one, two) = (key("one"), key("two"));
        let (mut one, mut two) = (store.get(&one), store.get(&two));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(one.as_mut().poll(&mut context).is_pending());
        assert!(two.as_mut().poll(&mut context).is_pending());
    });
    let ask = |name: String| {
        let store = store.clone();
        async move { timed(store.get(&key(name))).await }
    };
    let calls: Vec<_> = (0..4).map(|n| runtime.spawn(ask(n.to_string()))).collect();
    for call in calls {
        let call = async { tokio::time::timeout(LIMIT * 2 + MARGIN, call).await };
        runtime.block_on(call).expect("it hangs").unwrap().0.unwrap_err();
    }
    let any = key("any");
    runtime.block_on(in_the_end(|| store.get(&any)));
    drop(still);
}
