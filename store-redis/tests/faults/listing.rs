//! Listing records among many that are kept though they are forgotten.

use std::time::Duration;

use idempotency_core::{IdempotencyStore, Upkeep};

use crate::support::{acquired, key, open, runtime, server, value};

#[test]
fn a_list_goes_on_past_what_is_forgotten() {
    let (runtime, server) = (runtime(), server());
    let store = open(&runtime, &server);
    runtime.block_on(async {
        // So short a retention is over long before the clock's tolerance, for which the key is kept.
        for n in 0..1500 {
            let key = key(format!("a {n}"));
            let lock = acquired(&store, &key).await.lock;
            store.store_result(&key, &lock, &value(b"v"), Duration::from_millis(1)).await.unwrap();
        }
        acquired(&store, &key("z")).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        let page = store.list(None, 10).await.unwrap();
        let listed: Vec<_> = page.records.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(listed, [key("z").as_str()]);
        assert!(page.next.is_none());
    });
}
