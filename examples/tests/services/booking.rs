//! Booking: its document's scenarios and the ones that it forgot, its jobs, and a crowd that kills it.

mod crowd;
mod jobs;
mod page;
mod payments;
mod seats;

use std::net::SocketAddr;
use std::time::Duration;

use idempotency_examples::client::{self, Ask, Reply};
use idempotency_testkit::servers;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::support::{Program, Service, assert_problem};

const PATH: &str = env!("CARGO_BIN_EXE_booking");
/// Jobs run when they are asked to, and nothing is over by itself.
const BOOKING: Program = Program { path: PATH, options: &["--jobs-every", "never"], provider: true };
/// Locks and bookings are over soon.
const SHORT: Program = Program {
    path: PATH,
    options: &["--jobs-every", "never", "--lock-for", "3s", "--pay-within", "3s"],
    provider: true,
};

/// After it, what a test waits for does not come.
const PATIENCE: Duration = Duration::from_secs(300);

/// The service, and what its clients do.
struct Booking(Service);

/// A database of its own: the jobs are for all that is in it.
#[cfg(unix)]
fn database() -> String {
    servers::Postgres::shared().expect("a server").fresh_database().expect("a database")
}

impl Booking {
    /// With an event `concert`.
    async fn start(program: Program, store: Option<&str>, seats: u64) -> Self {
        let booking = Self(program.start(store).await);
        booking.open("concert", seats).await;
        booking
    }

    fn at(&self) -> SocketAddr {
        self.0.address
    }

    async fn open(&self, event: &str, seats: u64) {
        let opened = self.ask("operator", "/api/events", &json!({ "eventId": event, "seats": seats }));
        assert_eq!(opened.send().await.expect("an answer").status, 201);
    }

    fn ask(&self, user: &str, path: &str, body: &Value) -> Ask {
        self.0.post(path, body).header("authorization", format!("Bearer {user}-token"))
    }

    fn locking(&self, user: &str, key: &str, seats: u64) -> Ask {
        let body = json!({ "eventId": "concert", "userId": user, "seats": seats, "idempotencyKey": key });
        self.ask(user, "/api/locks", &body)
    }

    async fn lock(&self, user: &str, key: &str, seats: u64) -> Reply {
        self.locking(user, key, seats).send().await.expect("an answer")
    }

    async fn book(&self, user: &str, seat_lock: &str) -> Reply {
        let body = json!({ "seatLockId": seat_lock });
        self.ask(user, "/api/bookings", &body).send().await.expect("an answer")
    }

    fn paying(&self, user: &str, key: &str, booking: &str, amount: u64, force: &str) -> Ask {
        let body = json!({ "bookingId": booking, "amount": amount, "force": force, "idempotencyKey": key });
        self.ask(user, "/api/payments/intent", &body)
    }

    async fn pay(&self, key: &str, booking: &str) -> Reply {
        self.paying("alice", key, booking, 500, "success").send().await.expect("an answer")
    }

    /// Seats of alice's, locked and booked: the booking's id.
    async fn booked(&self, key: &str, seats: u64) -> String {
        let lock = self.lock("alice", key, seats).await;
        assert_eq!(lock.status, 201, "{lock:?}");
        let booking = self.book("alice", &text(&lock, "seatLockId")).await;
        assert_eq!(booking.status, 201, "{booking:?}");
        text(&booking, "bookingId")
    }

    /// A booking of alice's whose payment's answer was lost; the charge was made.
    async fn paying_still(&self, key: &str, seats: u64) -> String {
        let booking = self.booked(key, seats).await;
        self.0.tell_provider("/next/charge-then-drop").await;
        assert_problem(&self.pay(key, &booking).await, 502, "outcome-unknown");
        booking
    }

    async fn look(&self, user: &str, path: &str) -> Value {
        let ask = self.0.get(path).header("authorization", format!("Bearer {user}-token"));
        ask.send().await.expect("an answer").json().expect("JSON")
    }

    async fn state(&self, booking: &str) -> Value {
        self.look("alice", &format!("/api/bookings/{booking}")).await["state"].clone()
    }

    /// Free, locked and booked seats of `concert`.
    async fn seats(&self) -> (u64, u64, u64) {
        let event = self.look("alice", "/api/events/concert").await;
        let count = |name: &str| event[name].as_u64().expect("a count");
        assert_eq!(count("free") + count("locked") + count("booked"), count("capacity"), "{event}");
        (count("free"), count("locked"), count("booked"))
    }

    async fn audit(&self) -> Vec<Value> {
        self.look("operator", "/api/audit").await.as_array().expect("entries").clone()
    }

    /// The entries of the audit trail with this action.
    async fn audited(&self, action: &str) -> Vec<Value> {
        self.audit().await.into_iter().filter(|entry| entry["action"] == action).collect()
    }

    async fn run_job(&self, job: &str) -> Value {
        run_job(self.at(), job).await
    }

    /// Runs a job until it has processed so many, in all its runs.
    async fn run_until(&self, job: &str, processed: u64) {
        let mut sum = 0;
        while sum < processed {
            let ran = self.run_job(job).await;
            sum += ran["execution"]["results"]["processed"].as_u64().unwrap_or_default();
            sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(sum, processed);
    }

    async fn executions(&self) -> Vec<Value> {
        self.look("operator", "/api/jobs").await.as_array().expect("executions").clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_meant_is_refused_at_the_start() {
    for (options, says) in [
        (&["--jobs-every", "0s"][..], "--jobs-every 0s: "),
        (&["--lock-for", "soon"][..], "--lock-for soon: "),
        (&["--pay-within", "500000000years"][..], "--pay-within 500000000years: "),
        (&["--tokens", "alice=one,bob=one"][..], "two users have the same token"),
    ] {
        let refused = Program { options, ..BOOKING }.refused().await;
        assert!(refused.contains(says), "{options:?}: {refused}");
    }
}

/// Runs a job at the process that listens there.
async fn run_job(at: SocketAddr, job: &str) -> Value {
    let ask = client::post(at, &format!("/api/jobs/{job}"), &json!(null));
    let ran = ask.header("authorization", "Bearer operator-token").send().await.expect("an answer");
    assert_eq!(ran.status, 200, "{ran:?}");
    ran.json().expect("JSON")
}

/// A text in an answer's body.
#[track_caller]
fn text(reply: &Reply, field: &str) -> String {
    let body: Value = reply.json().expect("JSON");
    body[field].as_str().unwrap_or_else(|| panic!("no {field}: {body}")).to_owned()
}

/// An answer's body without what says that it is a retry's.
fn original(reply: &Reply) -> Value {
    let mut body: Value = reply.json().expect("JSON");
    let fields = body.as_object_mut().expect("an object");
    fields.remove("isRetry");
    fields.remove("originalAttemptId");
    body
}

/// The second answer to a request: the first again, marked.
#[track_caller]
fn assert_retry(first: &Reply, again: &Reply) {
    let (was, is): (Value, Value) = (first.json().expect("JSON"), again.json().expect("JSON"));
    assert_eq!((first.status, original(first)), (again.status, original(again)));
    assert_eq!((&was["isRetry"], &is["isRetry"]), (&json!(false), &json!(true)), "{is}");
    assert_eq!(is["originalAttemptId"], was["attemptId"], "{is}");
}

/// Has a test for sled, and for Postgres.
macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {
        mod on_sled {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let test = super::$name(None);
                tokio::time::timeout(crate::booking::PATIENCE, test).await.expect("an end");
            })+
        }
        #[cfg(unix)]
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let database = crate::booking::database();
                let test = super::$name(Some(&database));
                tokio::time::timeout(crate::booking::PATIENCE, test).await.expect("an end");
            })+
        }
    };
}
use on_both;
