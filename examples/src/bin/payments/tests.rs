//! What the story has no act for: refusals, declines, and clients and providers that go away.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use crate::request::NewPayment;
use crate::service::{Service, Settings};
use idempotency_examples::client::{self, Reply};
use idempotency_examples::journal;
use idempotency_examples::provider::ledger::{CARD_LIMIT, Entry, Instruction, Kind, Ledger, Verdict};
use idempotency_examples::provider::server::{self, Seen};
use idempotency_examples::serve;

/// A service on a memory store and its provider, in this process but over real HTTP.
struct World {
    service: SocketAddr,
    provider: SocketAddr,
    folder: TempDir,
}

impl World {
    async fn start(deduplicates: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&folder.path().join("ledger.jsonl"), deduplicates).unwrap();
        let listener = serve::listen(0).await.unwrap();
        let provider = listener.local_addr().unwrap();
        tokio::spawn(server::serve(listener, server::router(ledger)));
        let orders = folder.path().join("orders.jsonl");
        let settings = Settings {
            store: "memory:",
            lease: Duration::from_secs(10),
            provider,
            provider_deduplicates: deduplicates,
            orders: &orders,
        };
        let router = Service::start(settings).await.unwrap().router();
        let listener = serve::listen(0).await.unwrap();
        let service = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { service, provider, folder }
    }

    fn payment(&self, order: &str, amount: u64) -> client::Ask {
        client::post(self.service, "/payments", &json!({ "order_id": order, "amount": amount, "currency": "EUR" }))
    }

    async fn pay(&self, key: &str, order: &str, amount: u64) -> Reply {
        self.payment(order, amount).header("idempotency-key", key).send().await.unwrap()
    }

    async fn refund(&self, order: &str, refund: &str, amount: u64) -> Reply {
        let body = json!({ "refund_id": refund, "amount": amount });
        client::post(self.service, &format!("/orders/{order}/refunds"), &body).send().await.unwrap()
    }

    async fn order(&self, order: &str) -> Reply {
        client::get(self.service, &format!("/orders/{order}")).send().await.unwrap()
    }

    async fn tell_provider(&self, what: &str) {
        let reply = client::post(self.provider, what, &json!(null)).send().await.unwrap();
        assert_eq!(reply.status, 204);
    }

    async fn until_held(&self) {
        while client::get(self.provider, "/seen").send().await.unwrap().json::<Seen>().unwrap().held == 0 {
            sleep(Duration::from_millis(5)).await;
        }
    }

    fn ledger(&self) -> Vec<Entry> {
        journal::read(&self.folder.path().join("ledger.jsonl")).unwrap()
    }
}

#[track_caller]
fn assert_problem(reply: &Reply, status: u16, kind: &str) {
    let body = reply.json::<Value>().unwrap();
    assert_eq!((reply.status.as_u16(), &body["type"]), (status, &json!(format!("/problems/{kind}"))), "{body}");
    assert_eq!(reply.header("content-type"), Some("application/problem+json"));
}

fn is_replay(reply: &Reply) -> bool {
    reply.header("idempotency-replayed") == Some("true")
}

#[tokio::test]
async fn bad_requests_are_refused_and_nothing_is_charged() {
    let world = World::start(true).await;
    for key in [&b""[..], &b"\xFF"[..], "k".repeat(256).as_bytes()] {
        let reply = world.payment("o", 1).header("idempotency-key", key).send().await.unwrap();
        assert_problem(&reply, 400, "bad-key");
    }
    let two = world.payment("o", 1).header("idempotency-key", "a").header("idempotency-key", "b");
    assert_problem(&two.send().await.unwrap(), 400, "bad-key");
    assert_problem(&world.pay("k", "o", 0).await, 400, "bad-body");
    assert_problem(&world.pay("k", "no good", 1).await, 400, "bad-body");
    let strange = json!({ "order_id": "o", "amount": 1, "currency": "EUR", "tip": 5 });
    let reply = client::post(world.service, "/payments", &strange).header("idempotency-key", "k").send().await.unwrap();
    assert_problem(&reply, 422, "bad-body");
    let unknown = client::post(world.service, "/callbacks/acme", &json!({ "transaction_id": "ch_0" }));
    assert_problem(&unknown.send().await.unwrap(), 400, "bad-body");
    for (path, id) in
        [("/payments", "order_id"), ("/orders/o/refunds", "refund_id"), ("/callbacks/acme", "transaction_id")]
    {
        let body = json!({ "amount": 1, "an id other than": id });
        assert_problem(&client::post(world.service, path, &body).send().await.unwrap(), 400, "key-missing");
    }
    assert_problem(&world.order("o").await, 404, "order-not-found");
    assert!(world.ledger().is_empty());
    assert_eq!(world.pay("k", "o", 1).await.status, 201, "the key is as good as new");
}

#[tokio::test]
async fn a_refused_client_finds_what_holds_for_keys() {
    let world = World::start(true).await;
    let refused = client::post(world.service, "/payments", &json!({})).send().await.unwrap();
    let link = refused.header("link").unwrap();
    let page = link.strip_prefix('<').and_then(|link| link.strip_suffix(">; rel=\"describedby\"")).unwrap();
    let page = client::get(world.service, page).header("accept", "application/json").send().await.unwrap();
    let page: Value = page.json().unwrap();
    let routes: Vec<&Value> = page["policies"].as_array().unwrap().iter().map(|policy| &policy["routes"][0]).collect();
    assert_eq!(routes, ["POST /payments", "POST /orders/{order}/refunds", "POST /callbacks/{provider}"]);
}

#[tokio::test]
async fn the_same_json_in_another_order_is_the_same_payment() {
    let world = World::start(true).await;
    // A struct keeps its order and a `BTreeMap` sorts; what `json!` does depends on a feature of serde_json.
    let payment = NewPayment { order_id: "o".into(), amount: 10, currency: "EUR".into() };
    let turned: BTreeMap<&str, Value> =
        [("order_id", json!("o")), ("amount", json!(10)), ("currency", json!("EUR"))].into();
    assert_ne!(serde_json::to_string(&payment).unwrap(), serde_json::to_string(&turned).unwrap());
    let first = client::post(world.service, "/payments", &payment).header("idempotency-key", "k");
    let first = first.send().await.unwrap();
    let again = client::post(world.service, "/payments", &turned).header("idempotency-key", "\"k\"");
    let again = again.send().await.unwrap();
    assert_eq!((first.status.as_u16(), is_replay(&first)), (201, false));
    assert_eq!((again.status.as_u16(), is_replay(&again)), (201, true));
    assert_eq!(first.body, again.body);
}

#[tokio::test]
async fn a_decline_is_an_answer_and_is_replayed() {
    let world = World::start(true).await;
    let first = world.pay("k", "o", CARD_LIMIT + 1).await;
    let again = world.pay("k", "o", CARD_LIMIT + 1).await;
    assert_eq!((first.status.as_u16(), is_replay(&first)), (402, false));
    assert_eq!((again.status.as_u16(), is_replay(&again)), (402, true));
    assert_eq!(first.body, again.body);
    assert_eq!(world.pay("k2", "o", 10).await.status, 201, "the order may be paid under another key");
    assert_eq!(world.ledger().len(), 1);
}

#[tokio::test]
async fn a_failure_without_effect_frees_key_and_order_at_once() {
    for deduplicates in [true, false] {
        let world = World::start(deduplicates).await;
        world.tell_provider("/next/fail").await;
        let failed = world.pay("k", "o", 10).await;
        assert_problem(&failed, 503, "provider-unavailable");
        assert_eq!(failed.header("retry-after"), Some("1"));
        assert_problem(&world.order("o").await, 404, "order-not-found");
        assert_eq!(world.pay("k", "o", 10).await.status, 201);
        assert_eq!(world.ledger().len(), 1);
    }
}

#[tokio::test]
async fn a_failure_without_effect_says_nothing_of_the_attempt_before_it() {
    for deduplicates in [true, false] {
        let world = World::start(deduplicates).await;
        world.tell_provider("/next/charge-then-drop").await;
        assert_problem(&world.pay("k", "o", 10).await, 502, "outcome-unknown");
        if deduplicates {
            world.tell_provider("/next/fail").await;
            assert_problem(&world.pay("k", "o", 10).await, 503, "provider-unavailable");
        }
        assert_problem(&world.pay("k2", "o", 10).await, 409, "order-taken");
        assert_eq!(world.pay("k", "o", 10).await.status, 201);
        assert_eq!(world.ledger().len(), 1);
    }
}

#[tokio::test]
async fn an_order_is_paid_under_one_key_only() {
    let world = World::start(true).await;
    assert_eq!(world.pay("k", "o", 10).await.status, 201);
    assert_problem(&world.pay("k2", "o", 10).await, 409, "order-taken");
    assert_eq!(world.ledger().len(), 1);
}

#[tokio::test]
async fn no_more_is_refunded_than_was_paid() {
    let world = World::start(true).await;
    assert_problem(&world.refund("o", "r1", 1).await, 404, "order-not-found");
    assert_eq!(world.pay("k", "o", 10).await.status, 201);
    assert_eq!(world.refund("o", "r1", 6).await.status, 201);
    assert_problem(&world.refund("o", "r2", 5).await, 422, "refund-too-large");
    assert_problem(&world.refund("o", "r1", 4).await, 422, "key-reused");
    assert_eq!(world.refund("o", "r2", 4).await.status, 201);
    assert_eq!(world.ledger().len(), 3);
}

#[tokio::test]
async fn a_client_that_hangs_up_does_not_stop_its_charge() {
    let world = World::start(true).await;
    world.tell_provider("/next/hold").await;
    let impatient = world.payment("o", 10).header("idempotency-key", "k").send();
    timeout(Duration::from_millis(300), impatient).await.unwrap_err();
    world.until_held().await;
    assert_problem(&world.pay("k", "o", 10).await, 409, "in-progress");
    world.tell_provider("/release").await;
    let again = loop {
        let again = world.pay("k", "o", 10).await;
        if again.status != 409 {
            break again;
        }
    };
    assert_eq!((again.status.as_u16(), is_replay(&again)), (201, true), "the first run went on, and left its answer");
    assert_eq!(world.ledger().len(), 1);
}

#[tokio::test]
async fn a_slow_charge_is_waited_for() {
    let world = World::start(true).await;
    world.tell_provider("/next/slow?ms=300").await;
    assert_eq!(world.pay("k", "o", 10).await.status, 201);
    assert_eq!(world.ledger().len(), 1);
}

#[tokio::test]
async fn a_callback_tells_of_a_payment_whose_answer_was_lost() {
    for deduplicates in [true, false] {
        let world = World::start(deduplicates).await;
        world.tell_provider("/next/charge-then-drop").await;
        assert_problem(&world.pay("k", "o", 10).await, 502, "outcome-unknown");
        let id = world.ledger()[0].id.clone();
        let callback = client::post(world.service, "/callbacks/acme", &json!({ "transaction_id": id }));
        assert_eq!(callback.send().await.unwrap().status, 200);
        let order: Value = world.order("o").await.json().unwrap();
        assert_eq!((&order["transaction_id"], &order["confirmations"]), (&json!(id), &json!(1)));
        let paid: Value = world.pay("k", "o", 10).await.json().unwrap();
        assert_eq!(paid["transaction_id"], json!(id));
        assert_eq!(world.ledger().len(), 1);
    }
}

#[test]
fn a_look_bars_earlier_attempts_for_good() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.jsonl");
    let charge = |fence| Instruction {
        key: "k".into(),
        fence,
        kind: Kind::Charge,
        order: "o".into(),
        amount: 10,
        currency: "EUR".into(),
    };
    let mut ledger = Ledger::open(&path, false).unwrap();
    assert!(ledger.look("k", Some(7)).unwrap().unwrap().is_empty());
    assert!(matches!(ledger.carry_out(charge(6), None).unwrap(), Verdict::Barred));
    drop(ledger);
    let mut ledger = Ledger::open(&path, false).unwrap();
    assert!(matches!(ledger.carry_out(charge(6), None).unwrap(), Verdict::Barred), "also after a restart");
    assert!(ledger.look("k", Some(6)).unwrap().is_none(), "a barred attempt learns nothing");
    assert!(matches!(ledger.carry_out(charge(7), None).unwrap(), Verdict::Made(_)));
    assert!(matches!(ledger.carry_out(charge(8), None).unwrap(), Verdict::Made(_)), "without a look, it charges twice");
}

#[test]
fn a_line_that_a_crash_cut_off_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("numbers.jsonl");
    std::fs::write(&path, "1\n2\n3").unwrap();
    let (mut journal, numbers) = journal::Journal::<u32>::open(&path).unwrap();
    assert_eq!(numbers, [1, 2]);
    journal.append(&4).unwrap();
    assert_eq!(journal::read::<u32>(&path).unwrap(), [1, 2, 4]);
}
