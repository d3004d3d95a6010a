//! A crowd that asks twice, hangs up and kills: what seats, ledger and audit trail say then.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{BOOKING, Booking, on_both, original, text};
use crate::support::{Crowd, Wish};

/// Of the whole crowd: 5,000 requests for 2,000 wishes in three acts, with two kills.
const LOCKS: usize = 800;
const LOCKING: Crowd = Crowd { requests: 2_000, wishes: LOCKS, kills: 1, ..Crowd::WHOLE };
const BOOKINGS: Crowd = Crowd { requests: 1_500, wishes: 600, kills: 0, ..Crowd::WHOLE };
const PAYING: Crowd = Crowd { requests: 1_500, wishes: 600, kills: 1, ..Crowd::WHOLE };
const EVENTS: usize = 8;
const CAPACITY: u64 = 400;

on_both!(a_crowd_neither_oversells_nor_charges_twice);

/// Every second wish is bob's, under the same key as alice's before it.
const fn user_of(wish: usize) -> &'static str {
    if wish.is_multiple_of(2) { "alice" } else { "bob" }
}

fn wish(user: &str, path: &str, body: Value) -> Wish {
    Wish { path: path.into(), headers: vec![("authorization", format!("Bearer {user}-token"))], body }
}

async fn a_crowd_neither_oversells_nor_charges_twice(store: Option<&str>) {
    let mut booking = Booking::start(BOOKING, store, 1).await;
    for event in 0..EVENTS {
        booking.open(&format!("event-{event}"), CAPACITY).await;
    }
    let locking = LOCKING.ask(&mut booking.0, |number| {
        let (user, pair) = (user_of(number), number / 2);
        let (event, key) = (format!("event-{}", pair % EVENTS), format!("key-{pair}"));
        let body = json!({ "eventId": event, "userId": user, "seats": 1 + pair % 4, "idempotencyKey": key });
        wish(user, "/api/locks", body)
    });
    let locked = locking.await;
    let locks: Vec<String> = (0..LOCKS).map(|number| text(&locked.of[&number][0], "seatLockId")).collect();
    assert_eq!(locks.iter().collect::<BTreeSet<_>>().len(), LOCKS, "users shared a key");

    let to_book = locks.clone();
    let booked = BOOKINGS
        .ask(&mut booking.0, move |number| {
            wish(user_of(number), "/api/bookings", json!({ "seatLockId": to_book[number] }))
        })
        .await;
    let bookings: Vec<String> = (0..600).map(|number| text(&booked.of[&number][0], "bookingId")).collect();

    let to_pay = bookings.clone();
    let paid = PAYING
        .ask(&mut booking.0, move |number| {
            let force = if number % 10 == 9 { "failure" } else { "success" };
            let (key, amount) = (format!("key-{}", number / 2), 100 + number);
            let body = json!({ "bookingId": to_pay[number], "amount": amount, "force": force, "idempotencyKey": key });
            wish(user_of(number), "/api/payments/intent", body)
        })
        .await;
    for (number, replies) in &paid.of {
        assert_eq!(replies[0].status, if number % 10 == 9 { 402 } else { 201 }, "{:?}", replies[0]);
    }

    // One charge for each that was to be paid, and each what was asked.
    let charged: BTreeMap<_, _> =
        booking.0.ledger().into_iter().map(|entry| (entry.instruction.order.clone(), entry)).collect();
    assert_eq!(booking.0.ledger().len(), charged.len(), "a booking was charged twice");
    assert_eq!(charged.len(), 540);
    for (number, id) in bookings.iter().enumerate().filter(|(number, _)| number % 10 != 9) {
        assert_eq!(charged[id].instruction.amount, 100 + number as u64);
    }

    // Seats add up.
    let mut sums = (0, 0);
    for event in 0..EVENTS {
        let event = booking.look("alice", &format!("/api/events/event-{event}")).await;
        let count = |name: &str| event[name].as_u64().expect("a count");
        assert_eq!(count("free") + count("locked") + count("booked"), CAPACITY, "{event}");
        sums = (sums.0 + count("locked"), sums.1 + count("booked"));
    }
    let seats = |numbers: std::ops::Range<usize>| numbers.map(|number| 1 + (number as u64 / 2) % 4).sum::<u64>();
    assert_eq!(sums, (seats(600..800), seats(0..600)));

    // The trail agrees with the ledger, and tells originals from retries.
    let audit = booking.audit().await;
    let of = |action: &str| audit.iter().filter(|entry| entry["action"] == action).collect::<Vec<_>>();
    let attempts = |entries: &[&Value]| -> BTreeSet<String> {
        entries.iter().map(|entry| entry["metadata"]["attemptId"].as_str().expect("an attempt").to_owned()).collect()
    };
    let made: BTreeSet<_> =
        charged.values().map(|entry| format!("{}-{}", entry.instruction.key, entry.instruction.fence)).collect();
    assert_eq!(attempts(&of("PAYMENT_SUCCEEDED")), made);
    assert_eq!(of("PAYMENT_SUCCEEDED").len(), 540);
    assert_eq!((of("LOCK_CREATED").len(), of("BOOKING_CREATED").len()), (800, 600));
    // An attempt that is killed once its decline is noted, and before its key is done, is followed by another, which
    // the provider declines as well: each is noted once.
    let failed = attempts(&of("PAYMENT_FAILED"));
    assert_eq!(of("PAYMENT_FAILED").len(), failed.len(), "a decline is noted twice");
    let declined: BTreeSet<_> =
        failed.iter().filter_map(|attempt| attempt.rsplit_once('-')).map(|(key, _)| key).collect();
    assert_eq!(declined.len(), 60);
    for (answers, retry, originals) in [
        (&locked, "LOCK_RETRY", ["LOCK_CREATED", "LOCK_CREATED"]),
        (&booked, "BOOKING_RETRY", ["BOOKING_CREATED", "BOOKING_CREATED"]),
        (&paid, "PAYMENT_RETRY", ["PAYMENT_SUCCEEDED", "PAYMENT_FAILED"]),
    ] {
        answers.assert_each_the_same(original);
        assert!(answers.replayed() > 0 && answers.lost > 0, "a tame crowd shows nothing");
        let known: BTreeSet<_> = originals.into_iter().flat_map(|action| attempts(&of(action))).collect();
        let retries = of(retry);
        assert!(retries.len() >= answers.replayed(), "a retry was answered that is not in the trail");
        for retry in retries {
            assert_eq!(retry["metadata"]["isRetry"], true, "{retry}");
            let original = retry["metadata"]["originalAttemptId"].as_str().expect("an attempt");
            assert!(known.contains(original), "{retry} is of no original");
        }
    }
    assert!(audit.iter().all(|entry| entry["correlationId"].as_str().is_some_and(|id| !id.is_empty())));
}
