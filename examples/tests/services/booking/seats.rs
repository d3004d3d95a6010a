//! Seats: locked once a key, booked once a lock, never sold twice, given back once.

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{BOOKING, Booking, SHORT, assert_problem, assert_retry, on_both, text};

on_both!(
    a_lock_that_is_asked_for_twice_is_one,
    a_lock_becomes_one_booking,
    another_payload_under_a_key_is_refused,
    users_never_share_keys,
    seats_are_never_sold_twice,
    an_expired_lock_is_not_booked_and_given_back_once,
    an_unpaid_booking_is_given_back_once,
);

async fn a_lock_that_is_asked_for_twice_is_one(store: Option<&str>) {
    let booking = Booking::start(BOOKING, store, 100).await;
    let first = booking.lock("alice", "test-lock-123", 5).await;
    let again = booking.lock("alice", "test-lock-123", 5).await;
    assert_eq!(first.status, 201);
    assert_retry(&first, &again);
    assert_eq!(booking.seats().await, (95, 5, 0));
    let retry = &booking.audited("LOCK_RETRY").await[0];
    assert_eq!(retry["metadata"]["originalAttemptId"], json!(text(&first, "attemptId")), "{retry}");
    assert_eq!(booking.audited("LOCK_CREATED").await.len(), 1);
}

async fn a_lock_becomes_one_booking(store: Option<&str>) {
    let booking = Booking::start(BOOKING, store, 100).await;
    let lock = text(&booking.lock("alice", "k", 5).await, "seatLockId");
    let mut confirms = JoinSet::new();
    for _ in 0..8 {
        let body = json!({ "seatLockId": lock });
        confirms.spawn(booking.ask("alice", "/api/bookings", &body).send());
    }
    let mut bookings = Vec::new();
    for confirmed in confirms.join_all().await {
        let confirmed = confirmed.expect("an answer");
        match confirmed.status.as_u16() {
            201 => bookings.push(text(&confirmed, "bookingId")),
            // While the first runs.
            _ => assert_problem(&confirmed, 409, "in-progress"),
        }
    }
    let again = booking.book("alice", &lock).await;
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert!(!bookings.is_empty() && bookings.iter().all(|id| *id == text(&again, "bookingId")), "{bookings:?}");
    assert_eq!(booking.seats().await, (95, 0, 5));
    assert_eq!(booking.audited("BOOKING_CREATED").await.len(), 1);
}

async fn another_payload_under_a_key_is_refused(store: Option<&str>) {
    let booking = Booking::start(BOOKING, store, 100).await;
    let lock = booking.lock("alice", "k", 5).await;
    assert_problem(&booking.lock("alice", "k", 6).await, 422, "key-reused");
    let id = text(&booking.book("alice", &text(&lock, "seatLockId")).await, "bookingId");
    assert_eq!(booking.pay("p", &id).await.status, 201);
    let other = booking.paying("alice", "p", &id, 501, "success").send().await.expect("an answer");
    assert_problem(&other, 422, "key-reused");
    assert_eq!(booking.seats().await, (95, 0, 5));
    assert_eq!(booking.0.ledger().len(), 1);
}

async fn users_never_share_keys(store: Option<&str>) {
    let booking = Booking::start(BOOKING, store, 100).await;
    let of_alice = booking.lock("alice", "k", 5).await;
    let of_bob = booking.lock("bob", "k", 5).await;
    assert_eq!((of_bob.status.as_u16(), of_bob.header("idempotency-replayed")), (201, None));
    assert_ne!(text(&of_alice, "seatLockId"), text(&of_bob, "seatLockId"));
    // What is hers is not his, by whatever key.
    assert_problem(&booking.book("bob", &text(&of_alice, "seatLockId")).await, 404, "not-found");
    let hers = text(&booking.book("alice", &text(&of_alice, "seatLockId")).await, "bookingId");
    let by_bob = booking.paying("bob", "p", &hers, 500, "success").send().await.expect("an answer");
    assert_problem(&by_bob, 404, "not-found");
    // Whoever asks is who the token says, and not the body.
    let body = json!({ "eventId": "concert", "userId": "alice", "seats": 5, "idempotencyKey": "other" });
    assert_problem(&booking.ask("bob", "/api/locks", &body).send().await.expect("an answer"), 403, "another-user");
    assert_problem(&booking.ask("eve", "/api/locks", &body).send().await.expect("an answer"), 401, "token-missing");
    assert_problem(&booking.0.post("/api/locks", &body).send().await.expect("an answer"), 401, "token-missing");
    let run = booking.ask("alice", "/api/jobs/expire-locks", &json!(null)).send().await.expect("an answer");
    assert_problem(&run, 403, "not-an-operator");
    assert_eq!(booking.seats().await, (90, 5, 5));
    assert!(booking.0.ledger().is_empty());
}

async fn seats_are_never_sold_twice(store: Option<&str>) {
    let booking = Booking::start(BOOKING, store, 10).await;
    let mut asked = JoinSet::new();
    for number in 0..24 {
        asked.spawn(booking.locking("alice", &format!("k-{number}"), 3).send());
    }
    let replies: Vec<_> = asked.join_all().await.into_iter().map(|reply| reply.expect("an answer")).collect();
    assert_eq!(replies.iter().filter(|reply| reply.status == 201).count(), 3);
    for refused in replies.iter().filter(|reply| reply.status != 201) {
        assert_problem(refused, 409, "too-few-seats");
    }
    assert_eq!(booking.seats().await, (1, 9, 0));
}

async fn an_expired_lock_is_not_booked_and_given_back_once(store: Option<&str>) {
    let booking = Booking::start(SHORT, store, 10).await;
    let lock = text(&booking.lock("alice", "k", 5).await, "seatLockId");
    assert_eq!(booking.seats().await, (5, 5, 0));
    booking.run_until("expire-locks", 1).await;
    assert_eq!(booking.seats().await, (10, 0, 0));
    assert_problem(&booking.book("alice", &lock).await, 409, "lock-expired");
    let again = booking.run_job("expire-locks").await;
    assert_eq!(again["execution"]["results"]["processed"], 0, "{again}");
    assert_eq!((booking.seats().await, booking.audited("LOCK_EXPIRED").await.len()), ((10, 0, 0), 1));
    // Its key still gives the lock that was, and no seats.
    let again: Value = booking.lock("alice", "k", 5).await.json().expect("JSON");
    assert_eq!(again["isRetry"], true, "{again}");
    assert_eq!(booking.seats().await, (10, 0, 0));
}

async fn an_unpaid_booking_is_given_back_once(store: Option<&str>) {
    let booking = Booking::start(SHORT, store, 10).await;
    let id = booking.booked("k", 5).await;
    assert_eq!(booking.seats().await, (5, 0, 5));
    booking.run_until("expire-bookings", 1).await;
    assert_eq!(booking.run_job("expire-bookings").await["execution"]["results"]["processed"], 0);
    assert_eq!((booking.seats().await, booking.state(&id).await), ((10, 0, 0), json!("BOOKING_EXPIRED")));
    assert_problem(&booking.pay("p", &id).await, 409, "booking-expired");
    assert!(booking.0.ledger().is_empty());
    assert_eq!(booking.audited("BOOKING_EXPIRED").await.len(), 1);
}
