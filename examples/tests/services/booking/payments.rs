//! Payments: charged once a key, also over crashes; and what the trail and the log say of it.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use idempotency_examples::client;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{BOOKING, Booking, SHORT, assert_problem, assert_retry, on_both, text};
use crate::support::Program;

on_both!(
    a_payment_that_is_asked_for_twice_is_one,
    a_decline_is_replayed_and_a_new_key_pays,
    a_failure_without_effect_frees_the_key_and_the_booking,
    a_booking_is_paid_under_one_key,
    a_crash_in_mid_payment_charges_once,
    a_provider_that_does_not_deduplicate_charges_once_too,
    a_payment_that_was_abandoned_uncharged_is_barred,
    a_payment_too_slow_for_its_booking_is_barred,
    a_charge_that_the_job_found_first_is_no_retry,
    a_booking_is_given_back_though_a_retry_has_barred_its_payment,
    a_barred_payment_leaves_its_booking_to_others,
);

async fn a_payment_that_is_asked_for_twice_is_one(store: Option<&str>) {
    let booking = Booking::start(BOOKING, store, 100).await;
    let id = booking.booked("k", 5).await;
    let asking = |correlation: &'static str| {
        booking.paying("alice", "test-payment-123", &id, 500, "success").header("x-correlation-id", correlation).send()
    };
    let first = asking("first-asked").await.expect("an answer");
    let again = asking("asked-again").await.expect("an answer");
    assert_eq!((first.status.as_u16(), text(&first, "status")), (201, "succeeded".into()));
    assert_retry(&first, &again);
    assert_eq!(first.header("idempotency-remaining"), Some("86400"), "24 hours");
    assert_eq!(again.header("x-correlation-id"), Some("asked-again"), "a replay has its own request's");
    assert_eq!(booking.0.ledger().len(), 1);
    assert_eq!(booking.state(&id).await, "CONFIRMED");

    // The trail tells the original from the retry, and which was which request.
    let trail = booking.look("operator", &format!("/api/audit?bookingId={id}")).await;
    let told: Vec<_> = trail
        .as_array()
        .expect("entries")
        .iter()
        .map(|entry| {
            let text = |name: &str| entry[name].as_str().expect("a text");
            (text("action"), text("fromState"), text("toState"), entry["metadata"]["isRetry"] == true)
        })
        .collect();
    assert_eq!(
        told,
        [
            ("BOOKING_CREATED", "LOCKED", "PAYMENT_PENDING", false),
            ("PAYMENT_STARTED", "PAYMENT_PENDING", "PAYING", false),
            ("PAYMENT_SUCCEEDED", "PAYING", "CONFIRMED", false),
            ("PAYMENT_RETRY", "PAYMENT_RETRY", "PAYMENT_RETRY", true),
        ]
    );
    let (made, retry) = (&trail[2], &trail[3]);
    assert_eq!((&made["correlationId"], &retry["correlationId"]), (&json!("first-asked"), &json!("asked-again")));
    assert_eq!(retry["metadata"]["originalAttemptId"], made["metadata"]["attemptId"]);
    assert_eq!(retry["metadata"]["originalCorrelationId"], made["correlationId"]);
    assert_eq!(made["metadata"]["transactionId"], booking.0.ledger()[0].id);
    // And so does the log.
    let log = booking.0.log();
    let retried = log.lines().find(|line| line.contains("PAYMENT_RETRY")).expect("a line");
    assert!(retried.contains("correlation_id=asked-again") && retried.contains("isRetry=true"), "{retried}");
}

async fn a_decline_is_replayed_and_a_new_key_pays(store: Option<&str>) {
    let booking = Booking::start(BOOKING, store, 100).await;
    let id = booking.booked("k", 5).await;
    let failing = || booking.paying("alice", "p1", &id, 500, "failure").send();
    let first = failing().await.expect("an answer");
    assert_eq!((first.status.as_u16(), text(&first, "status")), (402, "failed".into()));
    assert_retry(&first, &failing().await.expect("an answer"));
    assert_eq!(booking.state(&id).await, "PAYMENT_PENDING");
    assert_eq!(booking.pay("p2", &id).await.status, 201);
    assert_eq!((booking.state(&id).await, booking.0.ledger().len()), (json!("CONFIRMED"), 1));
    assert_eq!(booking.audited("PAYMENT_FAILED").await.len(), 1);
}

async fn a_failure_without_effect_frees_the_key_and_the_booking(store: Option<&str>) {
    let booking = Booking::start(BOOKING, store, 100).await;
    let id = booking.booked("k", 5).await;
    booking.0.tell_provider("/next/fail").await;
    assert_problem(&booking.pay("p", &id).await, 503, "provider-unavailable");
    assert_eq!(booking.state(&id).await, "PAYMENT_PENDING");
    let paid: Value = booking.pay("p", &id).await.json().expect("JSON");
    assert_eq!((&paid["status"], &paid["isRetry"]), (&json!("succeeded"), &json!(false)), "{paid}");
    assert_eq!(booking.0.ledger().len(), 1);
}

async fn a_booking_is_paid_under_one_key(store: Option<&str>) {
    let booking = Booking::start(BOOKING, store, 100).await;
    let id = booking.paying_still("p1", 5).await;
    assert_problem(&booking.pay("p2", &id).await, 409, "being-paid");
    assert_eq!(booking.pay("p1", &id).await.status, 201);
    assert_problem(&booking.pay("p2", &id).await, 409, "already-paid");
    assert_eq!(booking.0.ledger().len(), 1);
}

/// The charge is made, and the service killed before it hears of it.
async fn a_crash_in_mid_payment_charges_once(store: Option<&str>) {
    crash_in_mid_payment(BOOKING, store).await;
}

/// The provider would charge again, so it is asked first what it did.
async fn a_provider_that_does_not_deduplicate_charges_once_too(store: Option<&str>) {
    const NO_DEDUP: Program = Program { options: &["--jobs-every", "never", "--no-dedup"], ..BOOKING };
    crash_in_mid_payment(NO_DEDUP, store).await;
}

async fn crash_in_mid_payment(program: Program, store: Option<&str>) {
    let mut booking = Booking::start(program, store, 100).await;
    let id = booking.booked("k", 5).await;
    booking.0.tell_provider("/next/charge-then-hold").await;
    let asked = tokio::spawn(booking.paying("alice", "p", &id, 500, "success").send());
    booking.0.until_provider(|seen| seen.held > 0).await;
    booking.0.kill_and_restart().await;
    asked.await.expect("no panic").expect_err("it is dead");
    booking.0.tell_provider("/release").await;
    let paid = loop {
        let reply = booking.pay("p", &id).await;
        // Until the lease of the one that died is over.
        if reply.header("retry-after").is_none() {
            break reply;
        }
    };
    let body: Value = paid.json().expect("JSON");
    let made = &booking.0.ledger()[0];
    let attempt_id = format!("{}-{}", made.instruction.key, made.instruction.fence);
    assert_eq!((paid.status.as_u16(), &body["transactionId"]), (201, &json!(made.id)), "{body}");
    assert_eq!((&body["isRetry"], &body["originalAttemptId"]), (&json!(true), &json!(attempt_id)), "{body}");
    assert_eq!((booking.0.ledger().len(), booking.state(&id).await), (1, json!("CONFIRMED")));
    let made: BTreeSet<_> =
        booking.audited("PAYMENT_SUCCEEDED").await.iter().map(|e| e["metadata"]["attemptId"].to_string()).collect();
    assert_eq!(made, BTreeSet::from([json!(attempt_id).to_string()]), "the trail names the attempt that charged");
}

/// The charge is on its way when its time is over: it is barred, and then the seats are given back.
async fn a_payment_that_was_abandoned_uncharged_is_barred(store: Option<&str>) {
    let mut booking = Booking::start(SHORT, store, 10).await;
    let id = booking.booked("k", 5).await;
    booking.0.tell_provider("/next/hold").await;
    let asked = tokio::spawn(booking.paying("alice", "p", &id, 500, "success").send());
    booking.0.until_provider(|seen| seen.held > 0).await;
    booking.0.kill_and_restart().await;
    asked.await.expect("no panic").expect_err("it is dead");
    booking.run_until("expire-bookings", 1).await;
    assert_eq!((booking.seats().await, booking.state(&id).await), ((10, 0, 0), json!("BOOKING_EXPIRED")));
    // It arrives after all, and does nothing.
    booking.0.tell_provider("/release").await;
    booking.0.until_provider(|seen| seen.in_flight == 0).await;
    assert_eq!((booking.0.seen_by_provider().await.barred, booking.0.ledger().len()), (1, 0));
    assert_problem(&booking.pay("p2", &id).await, 409, "booking-expired");
    assert_eq!(booking.0.ledger().len(), 0);
}

/// Nobody died: the provider is slow, and the booking's time over before it charged.
async fn a_payment_too_slow_for_its_booking_is_barred(store: Option<&str>) {
    let booking = Booking::start(SHORT, store, 10).await;
    let id = booking.booked("k", 5).await;
    booking.0.tell_provider("/next/hold").await;
    let asked = tokio::spawn(booking.paying("alice", "p", &id, 500, "success").send());
    booking.0.until_provider(|seen| seen.held > 0).await;
    booking.run_until("expire-bookings", 1).await;
    booking.0.tell_provider("/release").await;
    assert_problem(&asked.await.expect("no panic").expect("an answer"), 409, "overtaken");
    assert_problem(&booking.pay("p", &id).await, 409, "booking-expired");
    assert_eq!((booking.seats().await, booking.0.ledger().len()), ((10, 0, 0), 0));
}

/// The provider has charged, and answers late; the job has asked it meanwhile, and confirmed the booking.
async fn a_charge_that_the_job_found_first_is_no_retry(store: Option<&str>) {
    let booking = Booking::start(SHORT, store, 10).await;
    let id = booking.booked("k", 5).await;
    booking.0.tell_provider("/next/charge-then-hold").await;
    let asked = tokio::spawn(booking.paying("alice", "p", &id, 500, "success").send());
    booking.0.until_provider(|seen| seen.held > 0).await;
    booking.run_until("expire-bookings", 1).await;
    assert_eq!((booking.state(&id).await, booking.seats().await), (json!("CONFIRMED"), (5, 0, 5)));
    booking.0.tell_provider("/release").await;
    let paid: Value = asked.await.expect("no panic").expect("an answer").json().expect("JSON");
    assert_eq!((&paid["status"], &paid["isRetry"]), (&json!("succeeded"), &json!(false)), "{paid}");
    let (made, retries) = (booking.audited("PAYMENT_SUCCEEDED").await, booking.audited("PAYMENT_RETRY").await);
    assert_eq!((made.len(), retries.len(), booking.0.ledger().len()), (1, 0, 1));
}

/// The payer asks again when the time is over: the provider is asked under a later fence than the job knows of.
async fn a_booking_is_given_back_though_a_retry_has_barred_its_payment(store: Option<&str>) {
    let mut booking = Booking::start(SHORT, store, 10).await;
    let id = booking.booked("k", 5).await;
    booking.0.tell_provider("/next/hold").await;
    let asked = tokio::spawn(booking.paying("alice", "p", &id, 500, "success").send());
    booking.0.until_provider(|seen| seen.held > 0).await;
    booking.0.kill_and_restart().await;
    asked.await.expect("no panic").expect_err("it is dead");
    let over = booking.look("alice", &format!("/api/bookings/{id}")).await["expiresAt"].as_u64().expect("a time");
    while SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() <= u128::from(over) {
        sleep(Duration::from_millis(20)).await;
    }
    for _ in 0..2 {
        let late = loop {
            let reply = booking.pay("p", &id).await;
            // Until the lease of the one that died is over.
            if reply.header("retry-after").is_none() {
                break reply;
            }
        };
        assert_problem(&late, 409, "booking-expired");
    }
    let ran = booking.run_job("expire-bookings").await;
    let results = &ran["execution"]["results"];
    assert_eq!((&results["processed"], &results["errors"]), (&json!(1), &json!(0)), "{ran}");
    assert_eq!((booking.seats().await, booking.state(&id).await), ((10, 0, 0), json!("BOOKING_EXPIRED")));
    booking.0.tell_provider("/release").await;
    booking.0.until_provider(|seen| seen.in_flight == 0).await;
    assert_eq!((booking.0.seen_by_provider().await.barred, booking.0.ledger().len()), (1, 0));
}

/// Barred, it has done nothing, and never will.
async fn a_barred_payment_leaves_its_booking_to_others(store: Option<&str>) {
    let booking = Booking::start(BOOKING, store, 10).await;
    let id = booking.booked("k", 5).await;
    booking.0.tell_provider("/next/fail").await;
    assert_problem(&booking.pay("p1", &id).await, 503, "provider-unavailable");
    let attempt = booking.audited("PAYMENT_STARTED").await[0]["metadata"]["attemptId"].clone();
    let (key, _) = attempt.as_str().and_then(|id| id.rsplit_once('-')).expect("key and fence");
    let look = format!("/transactions?key={key}&fence={}", i64::MAX);
    assert_eq!(client::get(booking.0.provider(), &look).send().await.expect("an answer").status, 200);
    assert_problem(&booking.pay("p1", &id).await, 409, "overtaken");
    assert_eq!(booking.state(&id).await, "PAYMENT_PENDING");
    assert_eq!(booking.pay("p2", &id).await.status, 201);
    assert_eq!((booking.0.ledger().len(), booking.state(&id).await), (1, json!("CONFIRMED")));
}
