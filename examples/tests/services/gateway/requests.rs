//! Single requests: the document's, and those it forgot.

use std::path::Path;
use std::time::Duration;

use idempotency_examples::audit::Done;
use idempotency_examples::client;
use idempotency_examples::process::Process;
use idempotency_examples::provider::server::Seen;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{
    API_KEY, GATEWAY, OTHER_API_KEY, PATH, PAYMENTS, asks, assert_problem, audit, done, ended, id, in_time, is_replay,
    pay, pay_in_the_end, payment,
};
use crate::support::Program;

/// A payment with its fields in another order than `json!`, which sorts them.
#[derive(Serialize)]
struct Turned {
    payer: &'static str,
    currency: &'static str,
    amount: u64,
}

/// "Retry with SAME key → Same payment ID".
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_has_the_same_payment() {
    let gateway = GATEWAY.start(None).await;
    let key = "550e8400-e29b-41d4-a716-446655440000";
    let first = pay(&gateway, key, 1_000).await;
    assert_eq!((first.header("idempotency-status"), is_replay(&first)), (Some("recorded"), false));
    let remaining = first.header("idempotency-remaining").expect("how long").parse::<u64>().expect("seconds");
    assert_eq!(remaining, 24 * 60 * 60);
    // Quoted, with its fields turned and its tenant named, it is the same request.
    let turned = Turned { payer: "260700000000", currency: "UGX", amount: 1_000 };
    let again = gateway.post(PAYMENTS, &turned).header("x-api-key", API_KEY);
    let again = again.header("idempotency-key", format!("\"{key}\"")).header("x-tenant-id", "my-tenant");
    let again = again.send().await.expect("an answer");
    assert!(is_replay(&again), "{again:?}");
    assert_eq!((id(&again), &again.body), (id(&first), &first.body));
    let [charge] = &gateway.ledger()[..] else { panic!("{:?}", gateway.ledger()) };
    assert_eq!((charge.id.clone(), charge.instruction.amount), (id(&first), 1_000));
    assert_eq!(charge.instruction.order, "my-tenant/260700000000", "the provider is told the payer");
}

/// "Recommended but not required. Without it, you may get duplicates."
#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_each_request_pays_and_says_so() {
    let gateway = GATEWAY.start(None).await;
    for _ in 0..2 {
        let reply = asks(&gateway, API_KEY, &payment(5)).send().await.expect("an answer");
        assert_eq!((reply.status.as_u16(), reply.header("idempotency-status")), (201, Some("no-key")), "{reply:?}");
    }
    assert_eq!(gateway.ledger().len(), 2);
    assert_eq!(done(&gateway), vec![(Done::WithoutKey, "201".to_owned()); 2]);
}

/// Not even a client that hangs up leaves a payment half-way.
#[tokio::test(flavor = "multi_thread")]
async fn a_payment_without_a_key_outlives_its_client() {
    let gateway = GATEWAY.start(None).await;
    gateway.tell_provider("/next/charge-then-hold").await;
    let asked = tokio::spawn(asks(&gateway, API_KEY, &payment(5)).send());
    gateway.until_provider(|seen| seen.held > 0).await;
    asked.abort();
    assert!(asked.await.is_err_and(|error| error.is_cancelled()));
    // Its connection is closed, as the gateway sees before it answers another.
    assert_eq!(pay(&gateway, "other", 6).await.status, 201);
    gateway.tell_provider("/release").await;
    let noted = async {
        while ended(&gateway).len() < 2 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    in_time(noted).await;
    assert!(done(&gateway).contains(&(Done::WithoutKey, "201".to_owned())), "{:?}", ended(&gateway));
}

/// "Same key per tenant = separate payments."
#[tokio::test(flavor = "multi_thread")]
async fn tenants_do_not_share_keys() {
    let gateway = GATEWAY.start(None).await;
    let first = pay(&gateway, "k", 10).await;
    let ask = |api_key, amount| asks(&gateway, api_key, &payment(amount)).header("idempotency-key", "k").send();
    let others = ask(OTHER_API_KEY, 10).await.expect("an answer");
    assert!(!is_replay(&others) && id(&others) != id(&first), "{others:?}");
    let others = ask(OTHER_API_KEY, 10).await.expect("an answer");
    assert!(is_replay(&others) && id(&others) != id(&first), "{others:?}");
    let orders: Vec<_> = gateway.ledger().into_iter().map(|entry| entry.instruction.order).collect();
    assert_eq!(orders, ["my-tenant/260700000000", "other-tenant/260700000000"]);
    let actors: Vec<_> = ended(&gateway).into_iter().map(|entry| (entry.actor, entry.done)).collect();
    let expected = [("my-tenant", Done::Original), ("other-tenant", Done::Original), ("other-tenant", Done::Replay)];
    assert_eq!(actors, expected.map(|(actor, done)| (actor.to_owned(), done)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_key_gives_nothing_away_to_whoever_has_no_api_key() {
    let gateway = GATEWAY.start(None).await;
    let first = pay(&gateway, "known", 10).await;
    for api_key in ["", "tenant_abc12", "tenant_abc1234", "TENANT_ABC123", "my-tenant"] {
        let reply = asks(&gateway, api_key, &payment(10)).header("idempotency-key", "known").send().await.expect("one");
        assert_problem(&reply, 401, "unauthorized");
        assert_eq!(reply.header("www-authenticate"), Some("ApiKey"));
        assert!(!String::from_utf8_lossy(&reply.body).contains(&id(&first)));
        assert_eq!(reply.header("idempotency-status"), None, "not even that there is such a key");
    }
    let none = gateway.post("/api/v1/payments", &payment(10)).header("idempotency-key", "known").send().await;
    assert_problem(&none.expect("an answer"), 401, "unauthorized");
    let two = asks(&gateway, API_KEY, &payment(10)).header("x-api-key", OTHER_API_KEY).send().await;
    assert_problem(&two.expect("an answer"), 401, "unauthorized");
    for named in ["other-tenant", "", "my-tenant2"] {
        let reply =
            asks(&gateway, API_KEY, &payment(10)).header("idempotency-key", "known").header("x-tenant-id", named);
        assert_problem(&reply.send().await.expect("an answer"), 403, "tenant-mismatch");
    }
    assert_eq!(gateway.ledger().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_for_one_payment_alone() {
    let gateway = GATEWAY.start(None).await;
    let first = pay(&gateway, "k", 10).await;
    assert_problem(&pay(&gateway, "k", 11).await, 422, "key-reused");
    assert_eq!(id(&pay(&gateway, "k", 10).await), id(&first), "the first stands");
    assert_eq!(gateway.ledger().len(), 1);
    let refused = &ended(&gateway)[1];
    assert_eq!((refused.done, refused.details["problem"].as_str()), (Done::Refused, Some("key-reused")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_payment_is_refused_and_its_key_stays_free() {
    let gateway = GATEWAY.start(None).await;
    let largest = (1_u64 << 53) - 1;
    for (body, status) in [
        (json!({ "amount": 0, "currency": "UGX", "payer": "260700000000" }), 400),
        (json!({ "amount": largest + 1, "currency": "UGX", "payer": "260700000000" }), 400),
        (json!({ "amount": 1, "currency": "ugx", "payer": "260700000000" }), 400),
        (json!({ "amount": 1, "currency": "UGX", "payer": "+260700000000" }), 400),
        (json!({ "amount": 1.5, "currency": "UGX", "payer": "260700000000" }), 422),
        (json!({ "amount": -1, "currency": "UGX", "payer": "260700000000" }), 422),
        (json!({ "amount": 1, "currency": "UGX" }), 422),
        (json!({ "amount": 1, "currency": "UGX", "payer": "260700000000", "tip": 1 }), 422),
    ] {
        let reply = asks(&gateway, API_KEY, &body).header("idempotency-key", "k").send().await.expect("an answer");
        assert_problem(&reply, status, "bad-body");
        assert_eq!(reply.header("idempotency-status"), Some("freed"), "{body}");
    }
    assert!(gateway.ledger().is_empty());
    // Over the provider's limit: exact to the last digit, and an answer like any other.
    for replay in [false, true] {
        let declined = pay(&gateway, "k", largest).await;
        assert_eq!((declined.status.as_u16(), is_replay(&declined)), (402, replay), "{declined:?}");
        assert_eq!(declined.json::<Value>().expect("JSON")["amount"], json!(largest));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_duplicates_at_once_one_pays() {
    let gateway = GATEWAY.start(None).await;
    gateway.tell_provider("/next/hold").await;
    let asked = asks(&gateway, API_KEY, &payment(10)).header("idempotency-key", "k");
    let first = tokio::spawn(asked.send());
    gateway.until_provider(|seen| seen.held > 0).await;
    let replies: Vec<_> = (0..8)
        .map(|_| tokio::spawn(asks(&gateway, API_KEY, &payment(10)).header("idempotency-key", "k").send()))
        .collect();
    for reply in replies {
        let reply = reply.await.expect("a task").expect("an answer");
        assert_problem(&reply, 409, "in-progress");
        assert!(reply.header("retry-after").is_some());
    }
    gateway.tell_provider("/release").await;
    let first = first.await.expect("a task").expect("an answer");
    let again = pay_in_the_end(&gateway, "k", 10).await;
    assert!(is_replay(&again));
    assert_eq!(id(&again), id(&first));
    assert_eq!(gateway.ledger().len(), 1);
}

/// Killed after the provider has charged, and before anybody heard of it.
async fn killed_in_mid_charge_it_pays_once(options: &'static [&'static str]) {
    let mut gateway = Program { path: PATH, options, provider: true }.start(None).await;
    gateway.tell_provider("/next/charge-then-hold").await;
    let first = tokio::spawn(asks(&gateway, API_KEY, &payment(10)).header("idempotency-key", "k").send());
    gateway.until_provider(|seen| seen.held > 0).await;
    gateway.kill_and_restart().await;
    assert!(first.await.expect("a task").is_err(), "killed, it cannot have answered");
    // Though nobody should ask again, the log says what to look for in the provider's books.
    let (begun, made) = (audit(&gateway), gateway.ledger());
    assert_eq!((begun.len(), begun[0].done, begun[0].attempt), (1, Done::Begun, Some(1)), "{begun:?}");
    assert_eq!(begun[0].key.as_ref(), Some(&made[0].instruction.key));
    gateway.tell_provider("/release").await;
    let again = pay_in_the_end(&gateway, "k", 10).await;
    assert_eq!(again.header("idempotency-prior"), Some("unknown"));
    let [charge] = &gateway.ledger()[..] else { panic!("{:?}", gateway.ledger()) };
    assert_eq!(id(&again), charge.id);
    let entries = audit(&gateway);
    let paid = entries.iter().find(|entry| entry.outcome == "201").expect("the payment");
    assert_eq!((paid.done, paid.attempt), (Done::AfterUnknown, Some(2)), "{entries:?}");
    assert_eq!(paid.details["payment_id"], json!(charge.id));
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_mid_charge_it_pays_once_with_a_provider_that_deduplicates() {
    killed_in_mid_charge_it_pays_once(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_mid_charge_it_pays_once_with_a_provider_that_does_not() {
    killed_in_mid_charge_it_pays_once(&["--no-dedup"]).await;
}

/// Declined after an attempt of which nobody knows: that one may be on its way still, and "declined" must stay true.
#[tokio::test(flavor = "multi_thread")]
async fn a_decline_bars_the_attempt_before_it() {
    let mut gateway = GATEWAY.start(None).await;
    gateway.tell_provider("/next/hold").await;
    let first = tokio::spawn(asks(&gateway, API_KEY, &payment(1_000_001)).header("idempotency-key", "k").send());
    gateway.until_provider(|seen| seen.held > 0).await;
    gateway.kill_and_restart().await;
    assert!(first.await.expect("a task").is_err(), "killed, it cannot have answered");
    assert_eq!(pay_in_the_end(&gateway, "k", 1_000_001).await.status, 402);
    gateway.tell_provider("/release").await;
    let ended = async {
        loop {
            let seen = client::get(gateway.provider(), "/seen").send().await.expect("an answer");
            let seen: Seen = seen.json().expect("JSON");
            if seen.in_flight == 0 {
                return seen;
            }
        }
    };
    let seen = in_time(ended).await;
    assert_eq!((seen.barred, gateway.ledger().len()), (1, 0), "the first attempt was not barred");
}

/// A request is followed from the client's id to the first run of its key.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_is_followed_back_to_its_original() {
    let gateway = GATEWAY.start(None).await;
    let ask = |id: &'static str| {
        let ask = asks(&gateway, API_KEY, &payment(10)).header("idempotency-key", "s3cret-of-the-client");
        ask.header("x-correlation-id", id).send()
    };
    for id in ["req-1", "req-2"] {
        let reply = ask(id).await.expect("an answer");
        assert_eq!(reply.header("x-correlation-id"), Some(id));
    }
    let made = ask("no good id").await.expect("an answer");
    let made = made.header("x-correlation-id").expect("an id").to_owned();
    assert_eq!((made.len(), made.contains(' ')), (32, false));
    let entries = ended(&gateway);
    let told: Vec<_> = entries.iter().map(|entry| (entry.done, entry.correlation_id.as_deref())).collect();
    let expected =
        [(Done::Original, Some("req-1")), (Done::Replay, Some("req-2")), (Done::Replay, Some(made.as_str()))];
    assert_eq!(told, expected);
    for replay in &entries[1..] {
        assert_eq!(replay.details["original_correlation_id"], json!("req-1"));
        assert_eq!((&replay.key, replay.attempt), (&entries[0].key, Some(1)));
    }
    let ledger = gateway.ledger();
    assert_eq!(entries[0].key.as_deref(), Some(ledger[0].instruction.key.as_str()), "the ledger and the audit agree");
    let log = gateway.log();
    assert!(log.lines().any(|line| line.contains("correlation_id=req-2") && line.contains("answered")), "{log}");
    let shown = serde_json::to_string(&entries).expect("JSON") + &log;
    assert!(!shown.contains("s3cret") && !shown.contains(API_KEY), "neither keys nor API keys are written anywhere");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_meant_is_refused_at_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    for (option, value, says) in [
        ("--on-store-down", "ajar", "`open` or `closed`"),
        ("--cleanup-at", "25:00", "from 00:00 to 23:59"),
        ("--tenants", "nowhere.json", "nowhere.json"),
    ] {
        let args = ["--folder".into(), folder.path().into(), option.into(), value.into()];
        let args = args.into_iter().chain(["--provider".into(), "127.0.0.1:9".into()]);
        let log = folder.path().join("log.txt");
        let refused = Process::of(Path::new(PATH), args, None, &log).await.expect_err("it does not start");
        assert!(refused.contains(says), "{refused}");
    }
}
