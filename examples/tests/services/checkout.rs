//! Checkout: its document's curl lines, what the document forgot, and a crowd that kills it; counted in the provider's
//! ledger and in the stock.

mod crowd;
mod kills;
mod page_client;
mod stock;

use std::collections::BTreeSet;

use idempotency_examples::client::{self, Ask, Reply};
use serde::Serialize;
use serde_json::{Value, json};

use crate::support::{Program, Service};

const CHECKOUT: Program = Program { path: env!("CARGO_BIN_EXE_checkout"), options: &[], provider: true };
const STOCK: i64 = 100;
const PRICE: u64 = 1_499;
const SESSION: &str = "session=0123456789abcdef0123456789abcdef";
const OTHER_SESSION: &str = "session=fedcba9876543210fedcba9876543210";

/// A cart whose fields are not in the order of the alphabet, as [`cart`]'s are.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Reordered {
    quantity: u64,
    variant_id: &'static str,
    amount: u64,
}

fn cart(variant: &str, quantity: u64) -> Value {
    json!({ "variantId": variant, "quantity": quantity, "amount": PRICE * quantity })
}

fn order(shop: &Service, cart: &Value) -> Ask {
    shop.post("/api/checkout/create-order", cart)
}

async fn order_with(shop: &Service, key: &str, cart: &Value) -> Reply {
    order(shop, cart).header("idempotency-key", key).send().await.expect("an answer")
}

async fn left(shop: &Service, variant: &str) -> i64 {
    let variants: Vec<Value> = shop.look("/api/checkout/variants").await;
    let variant = variants.iter().find(|known| known["id"] == variant).expect("a variant");
    variant["left"].as_i64().expect("a number")
}

fn json_of(reply: &Reply) -> Value {
    reply.json().unwrap_or_else(|error| panic!("{error}: {reply:?}"))
}

/// Asks with a key until there is an answer, as the document's client does: it waits where it is told to.
async fn patiently(shop: &Service, key: &str, cart: &Value) -> Reply {
    loop {
        let reply = order_with(shop, key, cart).await;
        match reply.header("retry-after") {
            Some(seconds) => {
                let seconds: u64 = seconds.parse().expect("seconds");
                assert!(seconds >= 1, "0 is no time to wait");
                tokio::time::sleep(std::time::Duration::from_secs(seconds)).await;
            }
            None => return reply,
        }
    }
}

/// The document's manual test.
#[tokio::test]
async fn the_documents_two_curl_lines_make_one_order() {
    let shop = CHECKOUT.start(None).await;
    let first = order_with(&shop, "test-123", &cart("test", 1)).await;
    assert_eq!((first.status.as_u16(), first.header("idempotency-remaining")), (201, Some("86400")), "{first:?}");
    let second = order_with(&shop, "test-123", &cart("test", 1)).await;
    assert_eq!((second.status, second.header("idempotency-replayed")), (first.status, Some("true")));
    assert_eq!(json_of(&first), json_of(&second));
    // The same content in another order is the same request.
    let other = Reordered { quantity: 1, variant_id: "test", amount: PRICE };
    let third = shop.post("/api/checkout/create-order", &other).header("idempotency-key", "test-123").send().await;
    assert_eq!(json_of(&third.expect("an answer")), json_of(&first));
    assert_eq!((shop.ledger().len(), left(&shop, "test").await), (1, STOCK - 1));

    let order: Value =
        shop.look(&format!("/api/checkout/orders/{}", json_of(&first)["orderId"].as_str().expect("an id"))).await;
    assert_eq!((&order["status"], &order["idempotencyKey"]), (&json!("paid"), &json!("test-123")), "{order}");
    // "Stores keys in Razorpay order notes": an entry at the provider is found by the client's key.
    let found = client::get(shop.provider(), "/transactions?reference=test-123").send().await.expect("an answer");
    assert_eq!(json_of(&found)[0]["id"], json_of(&first)["transactionId"]);
}

/// The document's concurrent request flow.
#[tokio::test(flavor = "multi_thread")]
async fn while_it_runs_others_are_told_when_to_come_back_and_get_its_answer_then() {
    let shop = CHECKOUT.start(None).await;
    shop.tell_provider("/next/hold").await;
    let first = tokio::spawn(order(&shop, &cart("test", 2)).header("idempotency-key", "k").send());
    shop.until_provider(|seen| seen.held == 1).await;
    let second = order_with(&shop, "k", &cart("test", 2)).await;
    assert_eq!((second.status.as_u16(), second.header("retry-after")), (409, Some("1")), "{second:?}");
    let body = cart("test", 2);
    let (third, ()) = tokio::join!(patiently(&shop, "k", &body), shop.tell_provider("/release"));
    let first = first.await.expect("no panic").expect("an answer");
    assert_eq!((third.status.as_u16(), json_of(&third)), (201, json_of(&first)));
    assert_eq!((shop.ledger().len(), left(&shop, "test").await), (1, STOCK - 2));
}

#[tokio::test]
async fn another_cart_under_the_same_key_is_refused_and_a_key_is_one_sessions() {
    let shop = CHECKOUT.start(None).await;
    assert_eq!(order_with(&shop, "k", &cart("test", 1)).await.status, 201);
    let other = order_with(&shop, "k", &cart("test", 2)).await;
    assert_eq!((other.status.as_u16(), &json_of(&other)["type"]), (422, &json!("/problems/key-reused")));
    assert_eq!(shop.ledger().len(), 1);
    for session in [SESSION, OTHER_SESSION] {
        let ask = order(&shop, &cart("test", 1)).header("idempotency-key", "k").header("cookie", session);
        let reply = ask.send().await.expect("an answer");
        assert_eq!((reply.status.as_u16(), reply.header("idempotency-replayed")), (201, None));
    }
    assert_eq!((shop.ledger().len(), left(&shop, "test").await), (3, STOCK - 3));
}

/// The document's fallback key.
#[tokio::test]
async fn who_sends_no_key_is_given_the_one_of_its_session_and_cart() {
    let shop = CHECKOUT.start(None).await;
    let ask = |session: &'static str, cart: Value| order(&shop, &cart).header("cookie", session).send();
    let first = ask(SESSION, cart("test", 1)).await.expect("an answer");
    assert_eq!(first.status, 201, "{first:?}");
    let again = ask(SESSION, cart("test", 1)).await.expect("an answer");
    assert_eq!((json_of(&again), again.header("idempotency-replayed")), (json_of(&first), Some("true")));
    // What it was given is a key like any other.
    let key = json_of(&first)["idempotencyKey"].as_str().expect("a key").to_owned();
    let sent = order(&shop, &cart("test", 1)).header("cookie", SESSION).header("idempotency-key", &key).send().await;
    assert_eq!(json_of(&sent.expect("an answer")), json_of(&first));
    assert_eq!(shop.ledger().len(), 1);
    // Another cart, another session, and a key of one's own are other orders.
    let more = ask(SESSION, cart("test", 2)).await.expect("an answer");
    let other = ask(OTHER_SESSION, cart("test", 1)).await.expect("an answer");
    let meant =
        order(&shop, &cart("test", 1)).header("cookie", SESSION).header("idempotency-key", "again").send().await;
    let orders: BTreeSet<_> =
        [first, more, other, meant.expect("an answer")].map(|reply| json_of(&reply)["orderId"].to_string()).into();
    assert_eq!((orders.len(), shop.ledger().len(), left(&shop, "test").await), (4, 4, STOCK - 5));
    // Two customers without a session are not to share an order because they wish for the same.
    let nobody = order(&shop, &cart("test", 1)).send().await.expect("an answer");
    assert_eq!((nobody.status.as_u16(), &json_of(&nobody)["type"]), (400, &json!("/problems/key-missing")));
    assert_eq!(shop.ledger().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_requests_without_a_key_are_one_order() {
    let shop = CHECKOUT.start(None).await;
    let asks: Vec<_> = (0..20)
        .map(|_| {
            let ask = order(&shop, &cart("test", 1)).header("cookie", SESSION);
            tokio::spawn(ask.send())
        })
        .collect();
    for ask in asks {
        let reply = ask.await.expect("no panic").expect("an answer");
        assert!(matches!(reply.status.as_u16(), 201 | 409), "{reply:?}");
    }
    assert_eq!((shop.ledger().len(), left(&shop, "test").await), (1, STOCK - 1));
}

#[tokio::test]
async fn the_page_gives_a_browser_without_one_a_session_of_its_own() {
    let shop = CHECKOUT.start(None).await;
    let mut sessions = BTreeSet::new();
    for _ in 0..2 {
        let page = shop.get("/").send().await.expect("an answer");
        let cookie = page.header("set-cookie").expect("a session");
        let (session, settings) = cookie.split_once("; ").expect("settings");
        assert_eq!(settings, "Path=/; HttpOnly; SameSite=Strict");
        let again = shop.get("/").header("cookie", format!("other=1; {session}")).send().await.expect("an answer");
        assert_eq!(again.header("set-cookie"), None);
        let ordered = order(&shop, &cart("test", 1)).header("cookie", session).send().await.expect("an answer");
        assert_eq!(ordered.status, 201, "{ordered:?}");
        sessions.insert(session.to_owned());
    }
    assert_eq!((sessions.len(), shop.ledger().len()), (2, 2));
    let page = shop.get("/").header("cookie", "session=mine").send().await.expect("an answer");
    assert!(page.header("set-cookie").is_some(), "a cookie that is none of ours");
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_told_and_frees_its_key() {
    let shop = CHECKOUT.start(None).await;
    for (body, status, problem) in [
        (json!({ "variantId": "test", "quantity": 1, "amount": 1 }), 422, "wrong-amount"),
        (json!({ "variantId": "test", "quantity": 0, "amount": 0 }), 400, "bad-body"),
        (json!({ "variantId": "test", "quantity": 101, "amount": PRICE * 101 }), 400, "bad-body"),
        (json!({ "variantId": "none", "quantity": 1, "amount": PRICE }), 404, "variant-not-found"),
        (json!({ "variantId": "test" }), 422, "bad-body"),
        (cart("test", 1), 201, ""),
    ] {
        let reply = order_with(&shop, "k", &body).await;
        assert_eq!(reply.status, status, "{reply:?}");
        if status != 201 {
            assert_eq!(json_of(&reply)["type"], json!(format!("/problems/{problem}")));
        }
    }
    assert_eq!((shop.ledger().len(), left(&shop, "test").await), (1, STOCK - 1));
}
