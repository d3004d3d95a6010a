//! A crowd that kills it, and what its ledger and its statistics say then.

use std::collections::BTreeSet;

use idempotency::postgres::sqlx::PgPool;
use serde_json::{Value, json};

use super::{WEBHOOK, WEBHOOKS, created, database, ledger, now, signature};
use crate::support::{Crowd, Wish};

/// Half of them make orders, the other half pay them, some before there is an order.
fn event(wish: usize) -> Value {
    let order = format!("o_{}", wish / 2);
    if wish % 2 == 1 {
        return created(&format!("evt_{wish}"), &order);
    }
    let order = json!({ "id": order, "amount": 999, "currency": "EUR" });
    json!({ "id": format!("evt_{wish}"), "type": "payment.received", "order": order })
}

async fn a_crowd_is_booked_once_a_key(store: Option<&str>, database: Option<&PgPool>) {
    let mut service = WEBHOOKS.start(store).await;
    let answers = Crowd::WHOLE
        .ask(&mut service, |wish| {
            let body = event(wish);
            let mut headers = vec![("x-webhook-signature", signature("secret-1", now(), &body))];
            // By the sender's own key, or by the event's id.
            if wish % 3 == 0 {
                headers.push(("x-idempotency-key", format!("key-{wish}")));
            }
            Wish { path: WEBHOOK.into(), headers, body }
        })
        .await;
    answers.assert_each_the_same(|reply| reply.json().expect("JSON"));
    for reply in answers.of.values().flatten() {
        assert_eq!(reply.status, 200, "{reply:?}");
    }
    assert!(answers.replayed() > 0 && answers.lost > 0 && answers.put_off > 0, "a tame crowd shows nothing");

    let wishes = Crowd::WHOLE.wishes;
    let booked = ledger(&service, database).await;
    let events: BTreeSet<&str> = booked.iter().map(|(_, event, _)| event.as_str()).collect();
    assert_eq!((booked.len(), events.len()), (wishes, wishes), "an event was lost, or booked twice");
    for order in 0..wishes / 2 {
        let order: Value = service.look(&format!("/api/v1/orders/whatsapp/o_{order}")).await;
        assert_eq!(order, json!({ "amount": 1999, "currency": "EUR", "paid": 999 }));
    }
    let seen: Value = service.look("/api/v1/webhooks/statistics").await;
    assert_eq!(seen["records"]["active"], json!(wishes), "{seen}");
    let by_type = json!({ "order.created": wishes / 2, "payment.received": wishes / 2 });
    assert_eq!(seen["records"]["by_type"], by_type);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_is_booked_once_a_key_on_sled() {
    a_crowd_is_booked_once_a_key(None, None).await;
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_is_booked_once_a_key_on_postgres() {
    let (url, pool) = database().await;
    a_crowd_is_booked_once_a_key(Some(&url), Some(&pool)).await;
    let orders: (i64, i64) =
        idempotency::postgres::sqlx::query_as("SELECT count(*), sum(paid)::bigint FROM webhooks_orders")
            .fetch_one(&pool)
            .await
            .expect("orders");
    let half = i64::try_from(Crowd::WHOLE.wishes / 2).expect("a number");
    assert_eq!(orders, (half, half * 999));
}
