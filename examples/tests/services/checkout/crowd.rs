//! Many clients at once, with duplicates, hang-ups and two kills.

use std::collections::BTreeSet;

use idempotency_testkit::servers;
use serde_json::{Value, json};

use super::{CHECKOUT, PRICE, cart, json_of, left};
use crate::support::{Crowd, Program, Wish};

async fn a_crowd_buys_once_a_key(store: Option<&str>) {
    const FULL: Program = Program { options: &["--stock", "10000"], ..CHECKOUT };
    let mut shop = FULL.start(store).await;
    let run = shop.run().to_owned();
    let key = move |wish: usize| format!("{run}-{wish}");
    let quantity = |wish: usize| (wish % 3 + 1) as u64;
    let of = key.clone();
    let bought = Crowd::WHOLE
        .ask(&mut shop, move |wish| Wish {
            path: "/api/checkout/create-order".into(),
            headers: vec![("idempotency-key", of(wish))],
            body: cart("test", quantity(wish)),
        })
        .await;
    bought.assert_each_the_same(json_of);
    for reply in bought.of.values().flatten() {
        assert_eq!(reply.status, 201, "{reply:?}");
    }
    let sold: u64 = (0..Crowd::WHOLE.wishes).map(quantity).sum();
    assert_eq!(left(&shop, "test").await, 10_000 - sold as i64, "stock is reserved twice, or lost");
    let events: Vec<Value> = shop.journal("shop.jsonl");
    let reserved: Vec<_> = events.iter().filter(|event| event["event"] == "reserved").collect();
    assert_eq!(reserved.len(), Crowd::WHOLE.wishes, "reserved stock was reserved again");
    // One charge a key, each for its order, and of its amount.
    let ledger = shop.ledger();
    let references: BTreeSet<_> = ledger.iter().filter_map(|entry| entry.reference.clone()).collect();
    assert_eq!(references, (0..Crowd::WHOLE.wishes).map(key).collect());
    assert_eq!(ledger.len(), Crowd::WHOLE.wishes, "a key was charged twice");
    assert_eq!(ledger.iter().map(|entry| entry.instruction.amount).sum::<u64>(), sold * PRICE);
    for entry in ledger {
        let order: Value = shop.look(&format!("/api/checkout/orders/{}", entry.instruction.order)).await;
        assert_eq!((&order["status"], &order["transactionId"]), (&json!("paid"), &json!(entry.id)), "{order}");
    }
    assert!(bought.replayed() > 0 && bought.lost > 0, "a tame crowd shows nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_buys_once_a_key_on_sled() {
    a_crowd_buys_once_a_key(None).await;
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_buys_once_a_key_on_redis() {
    a_crowd_buys_once_a_key(Some(&servers::Redis::shared().expect("a server").url())).await;
}
