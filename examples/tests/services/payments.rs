//! Payments: a crowd that kills it, and what its provider's ledger says then.

use std::collections::BTreeSet;

use idempotency_testkit::servers;
use serde_json::{Value, json};

use crate::support::{Crowd, Program, Wish};

const PAYMENTS: Program = Program { path: env!("CARGO_BIN_EXE_payments"), options: &["service"], provider: true };

async fn a_crowd_leaves_one_charge_a_key(store: Option<&str>) {
    let mut payments = PAYMENTS.start(store).await;
    let run = payments.run().to_owned();
    let answers = Crowd::WHOLE
        .ask(&mut payments, move |wish| Wish {
            path: "/payments".into(),
            headers: vec![("idempotency-key", format!("{run}-{wish}"))],
            body: json!({ "order_id": format!("ord-{wish}"), "amount": 100 + wish, "currency": "EUR" }),
        })
        .await;
    answers.assert_each_the_same(|reply| reply.json().unwrap());

    let charged: Vec<String> = payments.ledger().into_iter().map(|entry| entry.instruction.order).collect();
    let orders: BTreeSet<String> = (0..Crowd::WHOLE.wishes).map(|wish| format!("ord-{wish}")).collect();
    assert_eq!(charged.len(), orders.len(), "an order was charged twice");
    assert_eq!(charged.into_iter().collect::<BTreeSet<_>>(), orders);
    for (wish, replies) in &answers.of {
        let answer: Value = replies[0].json().unwrap();
        assert_eq!((replies[0].status.as_u16(), &answer["status"]), (201, &json!("paid")), "wish {wish}: {answer}");
    }
    assert!(answers.replayed() > 0 && answers.lost > 0 && answers.put_off > 0, "a tame crowd shows nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_leaves_one_charge_a_key_on_sled() {
    a_crowd_leaves_one_charge_a_key(None).await;
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_leaves_one_charge_a_key_on_redis() {
    a_crowd_leaves_one_charge_a_key(Some(&servers::Redis::shared().expect("a server").url())).await;
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_leaves_one_charge_a_key_on_postgres() {
    a_crowd_leaves_one_charge_a_key(Some(&servers::Postgres::shared().expect("a server").url())).await;
}
