//! Signature and its time, looked at before anything else.

use serde_json::{Value, json};

use super::{WEBHOOK, WEBHOOKS, assert_problem, created, ledger, now, said, send, signature, signed, with};

#[tokio::test]
async fn what_no_provider_signed_is_refused_before_anything_is_looked_up() {
    let service = WEBHOOKS.start(None).await;
    let body = created("evt_1", "o_1");
    let unsigned = service.post(WEBHOOK, &body).header("x-idempotency-key", "k").send().await.expect("an answer");
    assert_problem(&unsigned, 401, "signature-missing");
    let with_signature = |signature: String| {
        service.post(WEBHOOK, &body).header("x-idempotency-key", "k").header("x-webhook-signature", signature).send()
    };
    for (wrong, kind) in [
        (signature("another-secret", now(), &body), "signature-wrong"),
        (signature("secret-1", now(), &created("evt_2", "o_1")), "signature-wrong"),
        (signature("secret-1", now(), &body).replace("v1=", "v0="), "signature-wrong"),
        ("rubbish".into(), "signature-wrong"),
        (signature("secret-1", now() - 330, &body), "signature-out-of-time"),
        (signature("secret-1", now() + 330, &body), "signature-out-of-time"),
    ] {
        let reply = with_signature(wrong).await.expect("an answer");
        assert_problem(&reply, 401, kind);
        assert_eq!(said(&reply), None, "it came to the layer");
    }
    let seen: Value = service.look("/api/v1/webhooks/statistics").await;
    assert_eq!((&seen["records"]["active"], &seen["hit_rate"]["answered"]), (&json!(0), &json!(0)), "{seen}");
    assert!(ledger(&service, None).await.is_empty());
    // Within the window, however the clocks differ.
    for (event, off) in [("evt_3", -240), ("evt_4", 240)] {
        let body = created(event, event);
        let signature = signature("secret-1", now() + off, &body);
        let reply = service.post(WEBHOOK, &body).header("x-webhook-signature", signature).send().await;
        assert_eq!(reply.expect("an answer").status, 200);
    }
}

#[tokio::test]
async fn an_old_request_sent_again_is_refused_though_its_key_is_known() {
    let service = with(&["--secrets", "whatsapp=secret-1", "--window", "10m"]).start(None).await;
    let body = created("evt_1", "o_1");
    assert_eq!(said(&send(&service, None, &body).await), Some("recorded"));
    // Signed long ago, as one that somebody has listened in on: its answer is not given away.
    let old = signature("secret-1", now() - 630, &body);
    let again = service.post(WEBHOOK, &body).header("x-webhook-signature", old).send().await.expect("an answer");
    assert_problem(&again, 401, "signature-out-of-time");
    // The provider signs anew for each delivery.
    assert_eq!(said(&send(&service, None, &body).await), Some("replayed"));
}

#[tokio::test]
async fn a_source_is_whoever_signed_and_has_keys_and_orders_of_its_own() {
    let service = WEBHOOKS.start(None).await;
    let body = created("evt_1", "o_1");
    for secret in ["secret-1", "secret-2"] {
        for expected in ["recorded", "replayed"] {
            let reply =
                signed(&service, secret, &body).header("x-idempotency-key", "k").send().await.expect("an answer");
            assert_eq!((reply.status.as_u16(), said(&reply)), (200, Some(expected)));
        }
    }
    let mut sources: Vec<String> = ledger(&service, None).await.into_iter().map(|(source, ..)| source).collect();
    sources.sort();
    assert_eq!(sources, ["shop", "whatsapp"]);
}
