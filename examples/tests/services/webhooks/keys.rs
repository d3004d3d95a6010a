//! Which key a webhook has, and what it is answered by it.

use serde::Serialize;
use serde_json::{Value, json};

use super::{WEBHOOK, WEBHOOKS, assert_problem, created, database, ledger, now, said, send, signature, signed, with};

/// The same event, its fields in another order.
#[derive(Serialize)]
struct Turned<'a> {
    #[serde(rename = "type")]
    kind: &'a Value,
    order: &'a Value,
    id: &'a Value,
}

#[tokio::test]
async fn a_retry_is_answered_as_before_and_books_nothing() {
    let service = WEBHOOKS.start(None).await;
    let body = created("evt_1", "o_1");
    let first = send(&service, Some("test-key-123"), &body).await;
    // A provider that writes its fields in another order sends the same.
    let turned = Turned { kind: &body["type"], order: &body["order"], id: &body["id"] };
    let text = serde_json::to_string(&turned).expect("JSON");
    assert!(text.starts_with("{\"type\"") && body.to_string().starts_with("{\"id\""), "{text}");
    let again = service.post(WEBHOOK, &turned).header("x-idempotency-key", "test-key-123");
    let again =
        again.header("x-webhook-signature", signature("secret-1", now(), &text)).send().await.expect("an answer");
    assert_eq!((first.status.as_u16(), said(&first)), (200, Some("recorded")));
    assert_eq!((again.status.as_u16(), said(&again)), (200, Some("replayed")));
    assert_eq!(first.body, again.body);
    assert_eq!(ledger(&service, None).await.len(), 1);
    assert_eq!(service.look::<Value>("/api/v1/orders/whatsapp/o_1").await["amount"], json!(1999));
}

#[tokio::test]
async fn without_the_header_the_events_id_is_the_key() {
    let service = WEBHOOKS.start(None).await;
    assert_eq!(said(&send(&service, None, &created("evt_1", "o_1")).await), Some("recorded"));
    assert_eq!(said(&send(&service, None, &created("evt_1", "o_1")).await), Some("replayed"));
    assert_eq!(said(&send(&service, Some("evt_1"), &created("evt_1", "o_1")).await), Some("replayed"), "one key");
    // Under another key it runs, and the books know the event.
    assert_eq!(said(&send(&service, Some("k2"), &created("evt_1", "o_1")).await), Some("recorded"));
    assert_eq!(ledger(&service, None).await.len(), 1);
    let nameless = json!({ "type": "order.created", "order": { "id": "o_2", "amount": 1, "currency": "EUR" } });
    assert_problem(&send(&service, None, &nameless).await, 400, "bad-body");
    assert_problem(&send(&service, Some("k3"), &nameless).await, 400, "bad-body");
}

#[tokio::test]
async fn a_key_for_another_body_is_refused() {
    let service = WEBHOOKS.start(None).await;
    assert_eq!(send(&service, Some("k"), &created("evt_1", "o_1")).await.status, 200);
    assert_problem(&send(&service, Some("k"), &created("evt_2", "o_2")).await, 422, "key-reused");
    assert_problem(&send(&service, None, &created("evt_2", "o no")).await, 400, "bad-body");
    // The event's id, with another content: under its own key, and under another.
    assert_eq!(send(&service, None, &created("evt_3", "o_3")).await.status, 200);
    assert_problem(&send(&service, None, &created("evt_3", "o_4")).await, 422, "key-reused");
    assert_problem(&send(&service, Some("k4"), &created("evt_3", "o_4")).await, 422, "event-reused");
    assert_eq!(ledger(&service, None).await.len(), 2);
}

#[tokio::test]
async fn a_key_that_is_no_uuid_and_not_alphanumeric_is_refused() {
    let service = WEBHOOKS.start(None).await;
    let body = created("evt_1", "o_1");
    for bad in ["a key with spaces", "\"a key with spaces\"", "k;DROP", "k'--", "k/../l", "ключ", "", &"k".repeat(129)]
    {
        assert_problem(&send(&service, Some(bad), &body).await, 400, "bad-key");
    }
    assert!(ledger(&service, None).await.is_empty());
    for good in ["8e03978e-40d5-43dd-bc93-6894a57f9324", "test-key-123", "wamid.HBgNMTIzNDU2Nzg5MA==", &"k".repeat(128)]
    {
        assert_eq!(send(&service, Some(good), &body).await.status, 200, "{good}");
    }
    assert_eq!(ledger(&service, None).await.len(), 1, "the books know the event");
}

#[tokio::test]
async fn turned_off_every_webhook_runs_and_the_books_still_know_the_event() {
    let service = with(&["--secrets", "whatsapp=secret-1", "--enabled", "false"]).start(None).await;
    for _ in 0..2 {
        let reply = send(&service, Some("a key with spaces"), &created("evt_1", "o_1")).await;
        assert_eq!((reply.status.as_u16(), said(&reply)), (200, None));
    }
    let log = service.log();
    assert_eq!(log.matches("idempotency key is new").count(), 2, "{log}");
    assert_eq!(ledger(&service, None).await.len(), 1);
    let unsigned = service.post(WEBHOOK, &created("evt_2", "o_2")).send().await.expect("an answer");
    assert_problem(&unsigned, 401, "signature-missing");
    let told: Value = service.look("/api/v1/whatsapp/test").await;
    assert_eq!(told["idempotency"]["enabled"], json!(false));
}

#[tokio::test]
async fn what_the_books_refuse_may_come_again() {
    let (url, pool) = database().await;
    for (store, database) in [(None, None), (Some(url.as_str()), Some(&pool))] {
        let service = WEBHOOKS.start(store).await;
        let paid = |event: &str, amount: u64, currency: &str| {
            let order = json!({ "id": "o_1", "amount": amount, "currency": currency });
            json!({ "id": event, "type": "payment.received", "order": order })
        };
        // It came before the event that makes its order.
        let early = send(&service, None, &paid("evt_2", 999, "EUR")).await;
        assert_problem(&early, 409, "order-not-found");
        assert!(early.header("retry-after").is_some() && said(&early) == Some("freed"));
        assert_eq!(send(&service, None, &created("evt_1", "o_1")).await.status, 200);
        assert_eq!(said(&send(&service, None, &paid("evt_2", 999, "EUR")).await), Some("recorded"));
        assert_eq!(said(&send(&service, None, &paid("evt_2", 999, "EUR")).await), Some("replayed"));
        assert_problem(&send(&service, None, &paid("evt_3", 1001, "EUR")).await, 422, "payment-too-large");
        assert_problem(&send(&service, None, &paid("evt_4", 1000, "USD")).await, 422, "payment-too-large");
        assert_problem(&send(&service, None, &created("evt_5", "o_1")).await, 409, "order-taken");
        assert_eq!(send(&service, None, &paid("evt_6", 1000, "EUR")).await.status, 200);
        let order: Value = service.look("/api/v1/orders/whatsapp/o_1").await;
        assert_eq!(order, json!({ "amount": 1999, "currency": "EUR", "paid": 1999 }));
        assert_eq!(ledger(&service, database).await.len(), 3);
        let ignored = send(&service, None, &json!({ "id": "evt_7", "type": "message.read" })).await;
        assert_eq!(ignored.json::<Value>().expect("JSON"), json!({ "status": "ignored", "event": "evt_7" }));
    }
}

#[tokio::test]
async fn bodies_that_are_none_are_refused() {
    let service = WEBHOOKS.start(None).await;
    for bad in [
        json!([]),
        json!({ "id": "evt 1", "type": "order.created" }),
        json!({ "id": "evt_1", "type": "order created" }),
        json!({ "id": "evt_1", "type": "t".repeat(129) }),
        json!({ "id": "evt_1", "type": "order.created", "order": { "id": "o", "amount": 0, "currency": "EUR" } }),
        json!({ "id": "evt_1", "type": "order.created", "order": { "id": "o", "amount": 1_u64 << 53, "currency": "EUR" } }),
        json!({ "id": "evt_1", "type": "order.created", "order": { "id": "o", "amount": 1, "currency": "eur" } }),
    ] {
        assert_problem(&send(&service, Some("k"), &bad).await, 400, "bad-body");
    }
    let large = json!({ "id": "evt_1", "type": "note", "text": "x".repeat(1 << 20) });
    let reply = signed(&service, "secret-1", &large).send().await.expect("an answer");
    assert_problem(&reply, 413, "body-too-large");
    assert_eq!(said(&send(&service, Some("k"), &created("evt_1", "o_1")).await), Some("recorded"));
}
