//! A server that was started again without its data: as if it had never been asked.

use std::time::Duration;

use idempotency_core::{Effect, Held, IdempotencyStore, Upkeep};

use crate::support::{acquired, in_the_end, key, open, runtime, server, value};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[test]
fn calls_after_all_was_forgotten() {
    let (runtime, server) = (runtime(), server());
    let store = open(&runtime, &server);
    let ask = |asked: u32| {
        runtime.block_on(async {
            let name = |what: &str| key(format!("{what} {asked}"));
            let held = ["stored", "extended", "released", "again"];
            let mut locks = Vec::new();
            for what in held {
                locks.push(acquired(&store, &name(what)).await.lock);
            }
            let done = acquired(&store, &name("done")).await.lock;
            assert_eq!(store.store_result(&name("done"), &done, &value(b"v"), DAY).await.unwrap(), Held::Held);
            let watch = store.watch(&name("again"));
            (locks, done, watch)
        })
    };
    let (locks, done, watch) = ask(0);
    server.restart().unwrap();
    runtime.block_on(async {
        let name = |what: &str| key(format!("{what} 0"));
        // The first call may find its connection broken.
        let gone = name("done");
        assert!(in_the_end(|| store.get(&gone)).await.is_none());
        assert_eq!(store.store_result(&name("stored"), &locks[0], &value(b"v"), DAY).await.unwrap(), Held::Lost);
        assert_eq!(store.extend_lock(&name("extended"), &locks[1], DAY).await.unwrap(), Held::Lost);
        assert_eq!(store.release_lock(&name("released"), &locks[2], Effect::None).await.unwrap(), Held::Lost);
        assert_eq!(store.store_result(&name("done"), &done, &value(b"w"), DAY).await.unwrap(), Held::Lost);
        // Who waits hears that things have changed, and the next holder has a higher fence.
        tokio::time::timeout(Duration::from_secs(2), watch).await.expect("nobody was told");
        let again = acquired(&store, &name("again")).await;
        assert_eq!(again.attempt, 1);
        assert!(again.lock.fence > locks[3].fence);
        assert_eq!(store.store_result(&name("again"), &locks[3], &value(b"w"), DAY).await.unwrap(), Held::Lost);
        assert_eq!(store.store_result(&name("again"), &again.lock, &value(b"v"), DAY).await.unwrap(), Held::Held);
        let stats = store.stats().await.unwrap();
        assert_eq!((stats.completed, stats.in_progress), (1, 0));
    });
    drop(ask(1));
}

#[test]
fn calls_after_it_was_emptied() {
    let (runtime, server) = (runtime(), server());
    let store = open(&runtime, &server);
    runtime.block_on(async {
        let lock = acquired(&store, &key("held")).await.lock;
        let watch = store.watch(&key("held"));
        server.command(&["FLUSHALL"]).unwrap();
        assert_eq!(store.store_result(&key("held"), &lock, &value(b"v"), DAY).await.unwrap(), Held::Lost);
        tokio::time::timeout(Duration::from_secs(2), watch).await.expect("nobody was told");
        assert!(acquired(&store, &key("held")).await.lock.fence > lock.fence);
    });
}
