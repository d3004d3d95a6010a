//! Payments: a crowd that kills it, and what its provider's ledger and its own orders say then.

use std::collections::BTreeMap;

use idempotency_examples::provider::ledger::Kind;
use idempotency_testkit::servers;
use serde_json::{Value, json};

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
