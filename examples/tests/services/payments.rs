//! Payments: its document's requests, a kill in mid-charge, and a crowd; and what its provider's ledger and its own
//! orders say then.

use std::collections::BTreeMap;
use std::time::Duration;

use idempotency_examples::provider::ledger::Kind;
use idempotency_testkit::servers;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::support::{Crowd, Program, Service, Wish};

const PAYMENTS: Program = Program { path: env!("CARGO_BIN_EXE_payments"), options: &["service"], provider: true };
const ORDERS: usize = 1_000;
/// Each half of the crowd, with a kill in it.
const HALF: Crowd = Crowd { requests: 2_500, wishes: ORDERS, kills: 1, ..Crowd::WHOLE };

async fn a_crowd_moves_money_once_a_key(store: Option<&str>) {
    let mut payments = PAYMENTS.start(store).await;
    let run = payments.run().to_owned();
    let order_of = move |wish: usize| format!("{run}-{wish}");
    let (key, order) = (order_of.clone(), order_of.clone());
    let paid = HALF
        .ask(&mut payments, move |wish| Wish {
            path: "/payments".into(),
            headers: vec![("idempotency-key", key(wish))],
            body: json!({ "order_id": order(wish), "amount": 100 + wish, "currency": "EUR" }),
        })
        .await;
    paid.assert_each_the_same(|reply| reply.json().expect("JSON"));
    for reply in paid.of.values().flatten() {
        assert_eq!(reply.status, 201, "{reply:?}");
    }
    let charges = moved(&payments, Kind::Charge);
    assert_eq!(charges.keys().cloned().collect::<Vec<_>>(), sorted((0..ORDERS).map(&order_of)));
    assert!(charges.values().all(|moved| moved.len() == 1), "an order was charged twice");

    // Then callbacks for the even ones, and for the odd ones refunds: two of each order, of the same amount.
    let order = order_of.clone();
    let done = HALF
        .ask(&mut payments, move |wish| {
            let (path, body) = if wish % 2 == 0 {
                ("/callbacks/mock".into(), json!({ "transaction_id": charges[&order(wish)][0].0 }))
            } else {
                let of = order(wish - (wish / 2) % 2 * 2);
                (format!("/orders/{of}/refunds"), json!({ "refund_id": format!("refund-{wish}"), "amount": 10 }))
            };
            Wish { path, headers: Vec::new(), body }
        })
        .await;
    done.assert_each_the_same(|reply| reply.json().expect("JSON"));
    let refunds: usize = moved(&payments, Kind::Refund).values().map(Vec::len).sum();
    assert_eq!(refunds, ORDERS / 2, "a refund was lost, or paid twice");
    for wish in 0..ORDERS {
        let order: Value = payments.look(&format!("/orders/{}", order_of(wish))).await;
        assert_eq!(order["confirmations"], json!(u8::from(wish % 2 == 0)), "{order}");
        let refunds = order["refunds"].as_object().expect("refunds");
        let expected = if wish % 4 == 1 { 2 } else { 0 };
        assert_eq!(refunds.len(), expected, "{order}");
        assert!(refunds.values().all(|refund| refund["transaction_id"].is_string()), "{order}");
    }
    for answers in [paid, done] {
        assert!(answers.replayed() > 0 && answers.lost > 0, "a tame crowd shows nothing");
    }
}

/// What the ledger says of each order: transaction and amount.
fn moved(payments: &Service, kind: Kind) -> BTreeMap<String, Vec<(String, u64)>> {
    let mut moved: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for entry in payments.ledger().into_iter().filter(|entry| entry.instruction.kind == kind) {
        moved.entry(entry.instruction.order).or_default().push((entry.id, entry.instruction.amount));
    }
    moved
}

fn sorted(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

/// The document's own requests, which send no key: the order and the transaction are their keys.
async fn each_request_of_the_document_acts_once(store: Option<&str>) {
    let mut payments = PAYMENTS.start(store).await;
    let order = format!("{}-123", payments.run());
    let create = json!({ "order_id": order, "amount": 1999, "currency": "EUR" });

    // Two at once: the provider holds the first while the second comes.
    payments.tell_provider("/next/hold").await;
    let first = tokio::spawn(payments.post("/payments", &create).send());
    payments.until_provider(|seen| seen.held > 0).await;
    let second = payments.post("/payments", &create).send().await.expect("an answer");
    assert_eq!((second.status.as_u16(), second.header("retry-after").is_some()), (409, true), "{second:?}");
    payments.tell_provider("/release").await;
    let first = first.await.expect("a client").expect("an answer");
    let again = payments.post("/payments", &create).send().await.expect("an answer");
    assert_eq!((first.status.as_u16(), again.status.as_u16()), (201, 201));
    assert_eq!((again.header("idempotency-replayed"), &again.body), (Some("true"), &first.body));
    let other = payments.post("/payments", &json!({ "order_id": order, "amount": 1, "currency": "EUR" }));
    assert_eq!(other.send().await.expect("an answer").status, 422);

    // The same callback thrice, with a kill before the last.
    let callback = json!({ "transaction_id": first.json::<Value>().expect("JSON")["transaction_id"] });
    for kill in [false, false, true] {
        if kill {
            payments.kill_and_restart().await;
        }
        let confirmed = payments.post("/callbacks/mock", &callback).send().await.expect("an answer");
        assert_eq!(confirmed.status, 200, "{confirmed:?}");
    }
    let found: Value = payments.look(&format!("/orders/{order}")).await;
    assert_eq!(found["confirmations"], 1);
    let events: Vec<Value> = payments.journal("orders.jsonl");
    assert_eq!(events.iter().filter(|event| event["event"] == "confirmed").count(), 1, "in its own books, too");

    // Two partial refunds, each asked for twice.
    for refund in ["one", "one", "two", "two"] {
        let body = json!({ "refund_id": refund, "amount": 500 });
        let refunded = payments.post(&format!("/orders/{order}/refunds"), &body).send().await.expect("an answer");
        assert_eq!(refunded.status, 201, "{refunded:?}");
    }
    let back = moved(&payments, Kind::Refund).remove(&order).expect("refunds");
    assert_eq!(back.iter().map(|(_, amount)| *amount).collect::<Vec<_>>(), [500, 500]);
    assert_eq!(moved(&payments, Kind::Charge)[&order].len(), 1);
}

/// A kill in mid-charge: the charge is made, and its answer is lost with the process.
async fn a_charge_under_way_at_a_kill_is_not_made_again(store: Option<&str>) {
    let mut payments = PAYMENTS.start(store).await;
    let order = format!("{}-killed", payments.run());
    let create = json!({ "order_id": order, "amount": 1999, "currency": "EUR" });
    payments.tell_provider("/next/charge-then-hold").await;
    let cut_off = tokio::spawn(payments.post("/payments", &create).send());
    payments.until_provider(|seen| seen.held > 0).await;
    payments.kill_and_restart().await;
    cut_off.await.expect("a client").expect_err("its service was killed");
    let retried = async {
        loop {
            let reply = payments.post("/payments", &create).send().await.expect("an answer");
            match reply.status.as_u16() {
                // Until the lease of the killed process is over.
                409 => sleep(Duration::from_millis(50)).await,
                _ => break reply,
            }
        }
    };
    let reply = timeout(Duration::from_secs(30), retried).await.expect("the lease ends");
    assert_eq!(reply.status, 201, "{reply:?}");
    assert_eq!(moved(&payments, Kind::Charge)[&order].len(), 1);
}

/// Declined after an attempt of which nobody knows, whose charge is on its way still: it must not come when another
/// key has paid the order.
async fn a_decline_bars_the_attempt_before_it(store: Option<&str>) {
    let mut payments = PAYMENTS.start(store).await;
    let order = format!("{}-declined", payments.run());
    let create = json!({ "order_id": order, "amount": 1_000_001, "currency": "EUR" });
    payments.tell_provider("/next/hold").await;
    let cut_off = tokio::spawn(payments.post("/payments", &create).send());
    payments.until_provider(|seen| seen.held > 0).await;
    payments.kill_and_restart().await;
    cut_off.await.expect("a client").expect_err("its service was killed");
    let declined = async {
        loop {
            let reply = payments.post("/payments", &create).send().await.expect("an answer");
            if reply.header("retry-after").is_none() {
                return reply;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    let declined = timeout(Duration::from_secs(30), declined).await.expect("the lease ends");
    assert_eq!(declined.status, 402, "{declined:?}");
    payments.tell_provider("/release").await;
    let seen = payments.until_provider(|seen| seen.in_flight == 0).await;
    assert_eq!((seen.barred, payments.ledger().len()), (1, 0), "the first attempt was not barred");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decline_bars_the_attempt_before_it_on_sled() {
    a_decline_bars_the_attempt_before_it(None).await;
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_decline_bars_the_attempt_before_it_on_postgres() {
    a_decline_bars_the_attempt_before_it(Some(&servers::Postgres::shared().expect("a server").url())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_of_the_document_acts_once_on_sled() {
    each_request_of_the_document_acts_once(None).await;
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn each_request_of_the_document_acts_once_on_redis() {
    each_request_of_the_document_acts_once(Some(&servers::Redis::shared().expect("a server").url())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_charge_under_way_at_a_kill_is_not_made_again_on_sled() {
    a_charge_under_way_at_a_kill_is_not_made_again(None).await;
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_charge_under_way_at_a_kill_is_not_made_again_on_redis() {
    a_charge_under_way_at_a_kill_is_not_made_again(Some(&servers::Redis::shared().expect("a server").url())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_moves_money_once_a_key_on_sled() {
    a_crowd_moves_money_once_a_key(None).await;
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_moves_money_once_a_key_on_redis() {
    a_crowd_moves_money_once_a_key(Some(&servers::Redis::shared().expect("a server").url())).await;
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_moves_money_once_a_key_on_postgres() {
    a_crowd_moves_money_once_a_key(Some(&servers::Postgres::shared().expect("a server").url())).await;
}
