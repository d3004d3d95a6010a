//! Stock that is given back, kept, and sold out.

use serde_json::json;

use super::{CHECKOUT, STOCK, cart, json_of, left, order, order_with};
use crate::support::Program;

#[tokio::test]
async fn a_lost_answer_of_the_provider_is_asked_for_again() {
    let shop = CHECKOUT.start(None).await;
    shop.tell_provider("/next/charge-then-drop").await;
    let lost = order_with(&shop, "k", &cart("test", 1)).await;
    assert_eq!((lost.status.as_u16(), left(&shop, "test").await), (502, STOCK - 1), "{lost:?}");
    assert_eq!(order_with(&shop, "k", &cart("test", 1)).await.status, 201);
    assert_eq!((shop.ledger().len(), left(&shop, "test").await), (1, STOCK - 1));
}

#[tokio::test]
async fn a_decline_gives_its_stock_back_once_and_is_the_answer_from_then_on() {
    let mut shop = CHECKOUT.start(None).await;
    let pen = json!({ "variantId": "gold-pen", "quantity": 1, "amount": 1_200_000 });
    for replayed in [None, Some("true"), Some("true")] {
        let reply = order_with(&shop, "k", &pen).await;
        assert_eq!((reply.status.as_u16(), reply.header("idempotency-replayed")), (402, replayed), "{reply:?}");
        assert_eq!((shop.ledger().len(), left(&shop, "gold-pen").await), (0, STOCK));
    }
    shop.kill_and_restart().await;
    assert_eq!(left(&shop, "gold-pen").await, STOCK);
}

#[tokio::test]
async fn a_provider_that_did_nothing_frees_key_and_stock() {
    let shop = CHECKOUT.start(None).await;
    shop.tell_provider("/next/fail").await;
    let failed = order_with(&shop, "k", &cart("test", 1)).await;
    assert_eq!((failed.status.as_u16(), failed.header("retry-after")), (503, Some("1")), "{failed:?}");
    assert_eq!(left(&shop, "test").await, STOCK);
    assert_eq!(order_with(&shop, "k", &cart("test", 1)).await.status, 201);
    assert_eq!((shop.ledger().len(), left(&shop, "test").await), (1, STOCK - 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_runs_out_and_no_further() {
    const FEW: Program = Program { options: &["--stock", "7"], ..CHECKOUT };
    let mut shop = FEW.start(None).await;
    let asks: Vec<_> = (0..20)
        .map(|at| tokio::spawn(order(&shop, &cart("test", 2)).header("idempotency-key", format!("k{at}")).send()))
        .collect();
    let mut sold = 0;
    for ask in asks {
        let reply = ask.await.expect("no panic").expect("an answer");
        match reply.status.as_u16() {
            201 => sold += 1,
            409 => assert_eq!(json_of(&reply)["type"], json!("/problems/sold-out"), "{reply:?}"),
            other => panic!("{other}: {reply:?}"),
        }
    }
    assert_eq!((sold, shop.ledger().len(), left(&shop, "test").await), (3, 3, 1));
    // A restart does not stock it anew; and nothing is kept of what was sold out.
    shop.kill_and_restart().await;
    assert_eq!(left(&shop, "test").await, 1);
    let last = order_with(&shop, "one", &cart("test", 1)).await;
    assert_eq!((last.status.as_u16(), left(&shop, "test").await), (201, 0));
}
