//! What is told of keys and retries, and to whom.

use serde_json::{Value, json};

use super::{WEBHOOKS, assert_problem, created, database, send, with};

#[tokio::test]
async fn records_are_told_by_type_and_hits_over_what() {
    let (url, pool) = database().await;
    for store in [None, Some(url.as_str())] {
        let service = WEBHOOKS.start(store).await;
        for event in 0..3 {
            assert_eq!(
                send(&service, None, &created(&format!("evt_{event}"), &format!("o_{event}"))).await.status,
                200
            );
        }
        let read = json!({ "id": "evt_9", "type": "message.read" });
        for _ in 0..5 {
            assert_eq!(send(&service, None, &read).await.status, 200);
        }
        // Neither is an answer of a handler's with a key.
        assert_eq!(send(&service, Some("no key"), &read).await.status, 400);
        assert_eq!(send(&service, Some("evt_9"), &created("evt_9", "o_9")).await.status, 422);
        let seen: Value = service.look("/api/v1/webhooks/statistics").await;
        let by_type = json!({ "message.read": 1, "order.created": 3 });
        assert_eq!(seen["records"], json!({ "active": 4, "expired": 0, "by_type": by_type }));
        let rate = &seen["hit_rate"];
        assert_eq!(
            (&rate["answered"], &rate["replayed"], &rate["rate"]),
            (&json!(8), &json!(4), &json!(0.5)),
            "{rate}"
        );
        assert!(rate["over"].as_str().is_some_and(|over| over.contains("this process")), "{rate}");
    }
    // With the record, for whoever looks into the database.
    let kept: Vec<(String, String, Option<String>)> = idempotency::postgres::sqlx::query_as(
        "SELECT attributes->>'type', attributes->>'source', attributes->>'order' FROM idempotency.records_readable
         WHERE id IN ('evt_1', 'evt_9') ORDER BY id",
    )
    .fetch_all(&pool)
    .await
    .expect("records");
    let text = str::to_owned;
    let expected =
        [(text("order.created"), text("whatsapp"), Some(text("o_1"))), (text("message.read"), text("whatsapp"), None)];
    assert_eq!(kept, expected);
}

#[tokio::test]
async fn records_are_not_counted_for_every_request() {
    let service = with(&["--secrets", "whatsapp=secret-1", "--statistics-age", "1h"]).start(None).await;
    assert_eq!(send(&service, None, &created("evt_1", "o_1")).await.status, 200);
    let first: Value = service.look("/api/v1/webhooks/statistics").await;
    assert_eq!(send(&service, None, &created("evt_2", "o_2")).await.status, 200);
    let second: Value = service.look("/api/v1/webhooks/statistics").await;
    assert_eq!((&first["records"]["active"], &second["records"]["active"]), (&json!(1), &json!(1)));
    let age = |seen: &Value| seen["counted"]["seconds_ago"].as_f64().expect("an age");
    assert!(age(&second) > age(&first), "{second}");
    // Answers are counted as they come.
    assert_eq!(second["hit_rate"]["answered"], json!(2));
}

#[tokio::test]
async fn where_a_token_is_set_it_is_asked_for() {
    let service = with(&["--secrets", "whatsapp=secret-1", "--admin-token", "t0ken"]).start(None).await;
    for path in ["/api/v1/webhooks/statistics", "/api/v1/webhooks/cleanup", "/api/v1/orders/whatsapp/o_1"] {
        assert_problem(&service.get(path).send().await.expect("an answer"), 401, "not-admin");
        for wrong in ["Bearer t0ke", "Bearer t0ken2", "t0ken", "Basic t0ken", "Bearer "] {
            let refused = service.get(path).header("authorization", wrong).send().await.expect("an answer");
            assert_problem(&refused, 401, "not-admin");
        }
        let let_in = service.get(path).header("authorization", "Bearer t0ken").send().await.expect("an answer");
        assert_ne!(let_in.status, 401);
    }
    assert_eq!(service.get("/api/v1/whatsapp/test").send().await.expect("an answer").status, 200);
}
