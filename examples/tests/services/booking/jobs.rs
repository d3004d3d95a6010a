//! The background jobs: never twice at once, whoever dies, and each seat given back once.

use std::collections::BTreeMap;

use idempotency::postgres::sqlx::{self, PgPool};
use idempotency_examples::client;
use serde_json::json;
use tokio::time::{Duration, sleep};

use super::{Booking, PATH, SHORT, assert_problem, on_both, run_job, text};
use crate::support::Program;

/// As a service runs by itself: its jobs too.
const SCHEDULED: Program = Program {
    path: PATH,
    options: &["--jobs-every", "100ms", "--lock-for", "300ms", "--pay-within", "300ms"],
    provider: true,
};
const ANOTHER: &str = "Another instance is already running";

on_both!(
    of_two_at_once_the_second_is_skipped,
    one_whose_process_dies_in_the_midst_is_taken_over,
    what_cannot_be_taken_back_is_counted_and_tried_again,
);

/// A booking that is being paid is over, and the provider does not answer the job that asks about it: it runs.
async fn until_the_job_is_held(booking: &Booking) -> tokio::task::JoinHandle<()> {
    booking.0.tell_provider("/next/hold-look").await;
    let at = booking.at();
    let asks = tokio::spawn(async move {
        loop {
            let ask = client::post(at, "/api/jobs/expire-bookings", &json!(null));
            // Until its process is killed, or this task ended.
            if ask.header("authorization", "Bearer operator-token").send().await.is_err() {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
    });
    booking.0.until_provider(|seen| seen.held > 0).await;
    asks
}

async fn of_two_at_once_the_second_is_skipped(store: Option<&str>) {
    let booking = Booking::start(SHORT, store, 10).await;
    let id = booking.paying_still("k", 5).await;
    let first = until_the_job_is_held(&booking).await;
    let second = booking.run_job("expire-bookings").await;
    assert_eq!((&second["skipped"], &second["message"]), (&json!(true), &json!(ANOTHER)), "{second}");
    let running = booking.executions().await[0].clone();
    assert_eq!((&running["status"], &running["jobType"]), (&json!("running"), &json!("EXPIRE_BOOKINGS")), "{running}");
    assert_eq!(booking.run_job("expire-locks").await["skipped"], false, "the other job is another");
    // Whoever asked for it hangs up; it goes on.
    first.abort();
    booking.0.tell_provider("/release").await;
    let done = loop {
        let runs = booking.executions().await;
        let run = runs.iter().find(|run| run["executionId"] == running["executionId"]).expect("the run").clone();
        if run["status"] != "running" {
            break run;
        }
    };
    assert_eq!((&done["status"], &done["results"]["processed"]), (&json!("completed"), &json!(1)), "{done}");
    assert!(done["completedAt"].as_u64() >= done["startedAt"].as_u64(), "{done}");
    while booking.run_job("expire-bookings").await["skipped"] == true {}
    // The charge was made, so the booking is kept, though nobody asked again.
    assert_eq!((booking.state(&id).await, booking.seats().await), (json!("CONFIRMED"), (5, 0, 5)));
    assert_eq!(booking.audited("PAYMENT_SUCCEEDED").await[0]["actor"], "expire-bookings");
    assert_eq!(booking.0.ledger().len(), 1);
}

async fn one_whose_process_dies_in_the_midst_is_taken_over(store: Option<&str>) {
    let mut booking = Booking::start(SHORT, store, 50).await;
    for number in 0..8 {
        booking.booked(&format!("k-{number}"), 5).await;
    }
    let paid = booking.paying_still("paid", 5).await;
    let first = until_the_job_is_held(&booking).await;
    // Where processes share a store, another takes over, and else the same when it is there again.
    let other = match store {
        Some(_) => Some(booking.0.beside().await),
        None => None,
    };
    booking.0.kill_and_restart().await;
    first.await.expect("no panic");
    booking.0.tell_provider("/release").await;
    let at = other.as_ref().map_or(booking.at(), |other| other.address);
    let ran = loop {
        let ran = run_job(at, "expire-bookings").await;
        if ran["skipped"] == false {
            break ran;
        }
        // Until the lease of the one that died is over.
        assert_eq!(ran["message"], ANOTHER, "{ran}");
    };
    assert_eq!(ran["execution"]["status"], "completed", "{ran}");
    let runs = booking.executions().await;
    let cut_off: Vec<_> = runs.iter().filter(|run| run["status"] == "failed").collect();
    assert_eq!(cut_off.len(), 1, "{runs:?}");
    assert!(cut_off[0]["results"]["details"].as_str().expect("details").contains("did not end"), "{cut_off:?}");
    let processed: u64 = runs.iter().map(|run| run["results"]["processed"].as_u64().expect("a count")).sum();
    assert_eq!(processed, 9, "{runs:?}");
    assert_eq!(booking.audited("BOOKING_EXPIRED").await.len(), 8);
    assert_eq!((booking.seats().await, booking.state(&paid).await), ((45, 0, 5), json!("CONFIRMED")));
}

async fn what_cannot_be_taken_back_is_counted_and_tried_again(store: Option<&str>) {
    let mut booking = Booking::start(SHORT, store, 20).await;
    let paying = booking.paying_still("k", 5).await;
    let plain = booking.booked("plain", 5).await;
    // Nobody tells the job what became of the payment.
    booking.0.kill_provider().await;
    booking.run_until("expire-bookings", 1).await;
    let ran = loop {
        let ran = booking.run_job("expire-bookings").await;
        if ran["execution"]["results"]["errors"] == 1 {
            break ran;
        }
    };
    assert_eq!(ran["execution"]["status"], "completed", "{ran}");
    assert!(ran["execution"]["results"]["details"].as_str().expect("details").contains("cannot connect"), "{ran}");
    assert_eq!(
        (booking.state(&plain).await, booking.state(&paying).await),
        (json!("BOOKING_EXPIRED"), json!("PAYING"))
    );
    assert_problem(&booking.pay("other", &paying).await, 409, "being-paid");
}

/// It is only paused, for longer than its lease; when it goes on, another runs.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_paused_does_nothing_beside_the_next() {
    let booking = Booking::start(SHORT, Some(&super::database()), 100).await;
    let other = booking.0.beside().await;
    for number in 0..8 {
        booking.booked(&format!("k-{number}"), 5).await;
    }
    for number in 0..2 {
        booking.paying_still(&format!("paid-{number}"), 5).await;
    }
    let paused = until_the_job_is_held(&booking).await;
    booking.0.signal("STOP");
    paused.abort();
    // Its answer is on its way; and the next run is held where this one was, with all that comes after to do.
    booking.0.tell_provider("/release").await;
    booking.0.tell_provider("/next/hold-look").await;
    let at = other.address;
    let next = tokio::spawn(async move { while run_job(at, "expire-bookings").await["skipped"] == true {} });
    booking.0.until_provider(|seen| seen.held > 0).await;
    booking.0.signal("CONT");
    // Once it answers this, it has gone on.
    assert_eq!(booking.run_job("expire-bookings").await["message"], ANOTHER);
    assert!(booking.audited("PAYMENT_SUCCEEDED").await.is_empty(), "the one that was paused still acts");
    let running: Vec<_> = booking.executions().await.into_iter().filter(|run| run["status"] == "running").collect();
    assert_eq!(running.len(), 1, "{running:?}");
    booking.0.tell_provider("/release").await;
    next.await.expect("no panic");
    let runs = booking.executions().await;
    let processed: u64 = runs.iter().map(|run| run["results"]["processed"].as_u64().expect("a count")).sum();
    assert_eq!(processed, 10, "{runs:?}");
    assert_eq!(booking.audited("BOOKING_EXPIRED").await.len(), 8);
    assert_eq!(booking.seats().await, (90, 0, 10));
}

/// A job that writes to all of its tables for as long as it likes holds up no process that starts beside it, and
/// comes to no deadlock with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_starts_while_another_is_at_work() {
    let database = super::database();
    let booking =
        Booking::start(Program { options: &["--jobs-every", "never"], ..SCHEDULED }, Some(&database), 10).await;
    let pool = PgPool::connect(&database).await.expect("a connection");
    let mut works = pool.begin().await.expect("a transaction");
    let writes =
        "LOCK TABLE booking_events, booking_reservations, booking_audit, booking_executions IN ROW EXCLUSIVE MODE";
    sqlx::query(writes).execute(&mut *works).await.expect("a lock");
    let _other = booking.0.beside().await;
    works.rollback().await.expect("it is still there");
}

/// Two processes on one Postgres, each with its schedule and asked besides, and one of them killed and replaced.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn of_two_processes_never_two_run_a_job_at_once() {
    let database = super::database();
    let mut booking = Booking::start(SCHEDULED, Some(&database), 10_000).await;
    let mut other = booking.0.beside().await;
    let mut locks = Vec::new();
    for round in 0..3 {
        for number in 0..40 {
            let at = if number % 2 == 0 { booking.at() } else { other.address };
            let key = format!("k-{round}-{number}");
            let body = json!({ "eventId": "concert", "userId": "alice", "seats": 3, "idempotencyKey": key });
            let ask = client::post(at, "/api/locks", &body).header("authorization", "Bearer alice-token");
            let lock = ask.send().await.expect("an answer");
            assert_eq!(lock.status, 201, "{lock:?}");
            locks.push(text(&lock, "seatLockId"));
            if number % 3 == 0 {
                // Too late for some, which is fine.
                booking.book("alice", &text(&lock, "seatLockId")).await;
            }
            if number % 8 == 0 {
                let (one, two) = (booking.at(), other.address);
                tokio::join!(run_job(one, "expire-locks"), run_job(two, "expire-locks"));
            }
        }
        match round {
            0 => {
                other.kill().await.expect("it is there");
                other = booking.0.beside().await;
            }
            1 => booking.0.kill_and_restart().await,
            _ => {}
        }
    }
    // By itself, with nobody asking.
    while booking.seats().await != (10_000, 0, 0) {
        sleep(Duration::from_millis(50)).await;
    }
    let expired = |action| booking.audited(action);
    let mut given_back: Vec<_> = expired("LOCK_EXPIRED").await;
    given_back.extend(expired("BOOKING_EXPIRED").await);
    let mut ids: Vec<_> = given_back.iter().map(|entry| entry["seatLockId"].as_str().expect("an id")).collect();
    ids.sort_unstable();
    locks.sort_unstable();
    assert_eq!(ids, locks, "each once");

    // By the database's clock.
    let runs = booking.executions().await;
    let mut of_job: BTreeMap<&str, Vec<(u64, Option<u64>)>> = BTreeMap::new();
    for run in &runs {
        let times = (run["startedAt"].as_u64().expect("a time"), run["completedAt"].as_u64());
        of_job.entry(run["jobType"].as_str().expect("a job")).or_default().push(times);
    }
    for (job, mut times) in of_job {
        times.sort_unstable();
        for pair in times.windows(2) {
            assert!(pair[0].1.is_some_and(|end| end <= pair[1].0), "{job}: {pair:?} ran at once");
        }
        assert!(times.len() > 2, "{job} ran but {} times", times.len());
    }
    let processed: u64 = runs.iter().map(|run| run["results"]["processed"].as_u64().expect("a count")).sum();
    assert_eq!(processed as usize, locks.len());
}
