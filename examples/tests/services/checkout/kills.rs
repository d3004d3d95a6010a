//! The shop is killed while an order is being paid.

use idempotency_examples::client;
use idempotency_examples::provider::server::Seen;
use serde_json::json;

use super::{CHECKOUT, STOCK, cart, json_of, left, order, order_with, patiently};
use crate::support::Program;

const NO_DEDUP: Program = Program { options: &["--no-dedup"], ..CHECKOUT };

/// Killed while the provider has not charged yet: the stock is reserved already.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_reserved_before_a_kill_is_not_reserved_again() {
    for program in [CHECKOUT, NO_DEDUP] {
        let mut shop = program.start(None).await;
        shop.tell_provider("/next/hold").await;
        let lost = tokio::spawn(order(&shop, &cart("test", 3)).header("idempotency-key", "k").send());
        shop.until_provider(|seen| seen.held == 1).await;
        assert_eq!(left(&shop, "test").await, STOCK - 3);
        shop.kill_and_restart().await;
        assert!(lost.await.expect("no panic").is_err());
        assert_eq!(left(&shop, "test").await, STOCK - 3, "what is reserved outlives a kill");
        let reply = patiently(&shop, "k", &cart("test", 3)).await;
        assert_eq!((reply.status.as_u16(), reply.header("idempotency-prior")), (201, Some("unknown")), "{reply:?}");
        // The first attempt's charge, late: it is deduplicated, or barred.
        shop.tell_provider("/release").await;
        shop.until_provider(|seen| seen.held == 0).await;
        shop.until_provider(|seen| seen.in_flight == 0).await;
        assert_eq!((shop.ledger().len(), left(&shop, "test").await), (1, STOCK - 3), "{program:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_charged_before_a_kill_is_not_charged_again() {
    for program in [CHECKOUT, NO_DEDUP] {
        let mut shop = program.start(None).await;
        shop.tell_provider("/next/charge-then-hold").await;
        let lost = tokio::spawn(order(&shop, &cart("test", 1)).header("idempotency-key", "k").send());
        shop.until_provider(|seen| seen.held == 1).await;
        shop.kill_and_restart().await;
        assert!(lost.await.expect("no panic").is_err());
        let reply = patiently(&shop, "k", &cart("test", 1)).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        let ledger = shop.ledger();
        assert_eq!((ledger.len(), left(&shop, "test").await), (1, STOCK - 1), "{program:?}");
        assert_eq!(json_of(&reply)["transactionId"], json!(ledger[0].id));
        shop.tell_provider("/release").await;
    }
}

/// A decline after an attempt of which nobody knows: its charge may be on the way, and must not come when the stock is
/// somebody else's.
#[tokio::test(flavor = "multi_thread")]
async fn a_decline_after_an_unknown_attempt_bars_it_before_its_stock_is_given_back() {
    let mut shop = CHECKOUT.start(None).await;
    let pen = json!({ "variantId": "gold-pen", "quantity": 1, "amount": 1_200_000 });
    shop.tell_provider("/next/hold").await;
    let lost = tokio::spawn(order(&shop, &pen).header("idempotency-key", "k").send());
    shop.until_provider(|seen| seen.held == 1).await;
    shop.kill_and_restart().await;
    assert!(lost.await.expect("no panic").is_err());
    let reply = patiently(&shop, "k", &pen).await;
    assert_eq!((reply.status.as_u16(), left(&shop, "gold-pen").await), (402, STOCK), "{reply:?}");
    shop.tell_provider("/release").await;
    shop.until_provider(|seen| seen.in_flight == 0).await;
    let seen: Seen = client::get(shop.provider(), "/seen").send().await.expect("an answer").json().expect("JSON");
    assert_eq!((seen.barred, shop.ledger().len()), (1, 0), "the first attempt was not barred");
}

/// This attempt did nothing, but the one before it is on its way to the provider still.
#[tokio::test(flavor = "multi_thread")]
async fn a_failure_without_effect_after_an_unknown_attempt_keeps_its_stock() {
    let mut shop = CHECKOUT.start(None).await;
    shop.tell_provider("/next/hold").await;
    let lost = tokio::spawn(order(&shop, &cart("test", 4)).header("idempotency-key", "k").send());
    shop.until_provider(|seen| seen.held == 1).await;
    shop.tell_provider("/next/fail").await;
    shop.kill_and_restart().await;
    assert!(lost.await.expect("no panic").is_err());
    let failed = loop {
        let reply = order_with(&shop, "k", &cart("test", 4)).await;
        if reply.status != 409 {
            break reply;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    };
    assert_eq!((failed.status.as_u16(), left(&shop, "test").await), (503, STOCK - 4), "{failed:?}");
    shop.tell_provider("/release").await;
    shop.until_provider(|seen| seen.in_flight == 0).await;
    let reply = patiently(&shop, "k", &cart("test", 4)).await;
    assert_eq!((reply.status.as_u16(), shop.ledger().len(), left(&shop, "test").await), (201, 1, STOCK - 4));
}
