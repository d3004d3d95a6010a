//! Stores that fail: before the handler, and after it.

use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Extension, Json};
use idempotency::{Attempt, Idempotency, OnUnknown, StoreErrorKind};
use idempotency_http::server::{IdempotencyLayer, Policy};
use idempotency_testkit::Method;
use idempotency_testkit::faults::Fault;
use serde_json::json;
use std::net::SocketAddr;
use std::time::Duration;

use crate::support::wire::Ask;
use crate::support::{Runs, faulty, serve};

async fn started(idempotency: &Idempotency, policy: Policy) -> (SocketAddr, Runs) {
    let runs = Runs::default();
    let counted = runs.clone();
    let handler = move |attempt: Extension<Attempt>| async move {
        Json(json!({ "run": counted.one(), "attempt": attempt.number(), "prior": attempt.prior().is_some() }))
    };
    let layer = IdempotencyLayer::new(idempotency.clone()).with_policy(policy);
    (serve(Router::new().route("/", post(handler)).layer(layer)).await, runs)
}

fn quick(idempotency: Idempotency) -> Idempotency {
    idempotency.with_store_limit(Duration::from_millis(100)).unwrap()
}

/// ikyriak/IdempotentAPI#23: a store that times out lets both run.
#[tokio::test]
async fn without_a_store_nothing_runs() {
    for fault in [Fault::DOWN, Fault::Hangs, Fault::LOST_ON_THE_WAY, Fault::Panics] {
        let (faults, idempotency) = faulty();
        let (to, runs) = started(&quick(idempotency), Policy::new()).await;
        faults.always(Method::Acquire, fault);
        let reply = Ask::post("/", "k", "a").send(to).await;
        reply.assert_problem(503, "store-unavailable");
        assert_eq!(reply.header("retry-after").is_some(), fault != Fault::Panics, "{fault:?}");
        assert_eq!(runs.count(), 0);
        faults.heal();
        assert_eq!(Ask::post("/", "k", "a").send(to).await.run(), 1, "{fault:?}");
    }
}

#[tokio::test]
async fn fail_open_runs_without_protection_and_says_so() {
    let (faults, idempotency) = faulty();
    let (to, runs) = started(&quick(idempotency), Policy::new().with_fail_open()).await;
    faults.always(Method::Acquire, Fault::DOWN);
    for run in 1..=2 {
        let reply = Ask::post("/", "k", "a").send(to).await;
        assert_eq!((reply.status, reply.said(), reply.run()), (200, Some("unprotected"), run));
        assert_eq!(reply.header("idempotency-remaining"), None);
    }
    faults.heal();
    assert_eq!(Ask::post("/", "k", "a").send(to).await.said(), Some("recorded"));
    assert_eq!(runs.count(), 3);
}

/// idempotent 2.0: one completion that fails, and the handler runs again after the lease.
#[tokio::test]
async fn a_completion_that_fails_once_is_tried_again() {
    let (faults, idempotency) = faulty();
    let (to, runs) = started(&idempotency, Policy::new()).await;
    for (key, fault) in [("a", Fault::DOWN), ("b", Fault::LOST)] {
        faults.next(Method::Store, [fault, fault]);
        assert_eq!(Ask::post("/", key, "a").send(to).await.said(), Some("recorded"), "{fault:?}");
        assert!(Ask::post("/", key, "a").send(to).await.is_replay());
    }
    assert_eq!(runs.count(), 2);
}

#[tokio::test]
async fn a_response_that_cannot_be_stored_reaches_its_caller_marked() {
    let (faults, idempotency) = faulty();
    let (to, runs) = started(&quick(idempotency), Policy::new()).await;
    faults.always(Method::Store, Fault::DOWN);
    let reply = Ask::post("/", "k", "a").send(to).await;
    assert_eq!((reply.status, reply.said(), reply.run()), (200, Some("unrecorded"), 1));
    assert_eq!(reply.header("idempotency-remaining"), None);
    Ask::post("/", "k", "a").send(to).await.assert_problem(409, "in-progress");
    assert_eq!(runs.count(), 1, "the lock holds on");
}

#[tokio::test]
async fn a_store_without_room_for_a_response_keeps_the_fact() {
    let (faults, idempotency) = faulty();
    let (to, runs) = started(&idempotency, Policy::new()).await;
    faults.next(Method::Store, [Fault::Before(StoreErrorKind::TooLarge)]);
    let reply = Ask::post("/", "k", "a").send(to).await;
    assert_eq!((reply.status, reply.run()), (200, 1));
    Ask::post("/", "k", "a").send(to).await.assert_problem(409, "answer-not-kept");
    assert_eq!(runs.count(), 1);
}

/// The handler sees that an attempt before it is unknown, and how many there were.
#[tokio::test]
async fn a_handler_is_told_of_the_attempt_before_it() {
    let (_, idempotency) = faulty();
    let runs = Runs::default();
    let handler = move |attempt: Extension<Attempt>| async move {
        assert!(runs.one() > 1, "the first run of the handler panics");
        Json(json!({ "attempt": attempt.number(), "prior": attempt.prior().is_some() }))
    };
    let idempotency = idempotency.with_lease(Duration::from_millis(300)).unwrap();
    let policy = || Policy::new().with_wait(Duration::from_secs(30)).unwrap();
    let layer = |policy| IdempotencyLayer::new(idempotency.clone()).with_policy(policy);
    let router = Router::new()
        .route("/", post(handler.clone()).layer(layer(policy())))
        .route("/refusing", post(handler).layer(layer(policy().with_on_unknown(OnUnknown::Refuse))));
    let to = serve(router).await;
    // A panic goes through to the connection, as it does without the layer, and frees nothing.
    let panicked = tokio::spawn(async move { Ask::post("/", "k", "a").send(to).await }).await;
    assert!(panicked.is_err(), "{panicked:?}");
    let again = Ask::post("/", "k", "a").send(to).await;
    assert_eq!(again.json(), json!({ "attempt": 2, "prior": true }));
    assert_eq!(again.header("idempotency-prior"), Some("unknown"));
}

#[tokio::test]
async fn a_policy_that_cannot_be_followed_is_told_and_runs_nothing() {
    let (_, idempotency) = faulty();
    let (to, runs) = started(&idempotency, Policy::new().with_on_unknown(OnUnknown::Reconcile)).await;
    Ask::post("/", "k", "a").send(to).await.assert_problem(500, "misconfigured");
    assert_eq!(runs.count(), 0);
}

/// What the handler answers says nothing of a key that nothing is kept under: a client must not take it for
/// leave to send the request again.
#[tokio::test]
async fn an_unprotected_run_says_so_whatever_it_answers() {
    let (faults, idempotency) = faulty();
    let handler = |Path(code): Path<u16>| async move { StatusCode::from_u16(code).unwrap() };
    let layer = IdempotencyLayer::new(quick(idempotency)).with_policy(Policy::new().with_fail_open());
    let to = serve(Router::new().route("/{code}", post(handler)).layer(layer)).await;
    faults.always(Method::Acquire, Fault::DOWN);
    for code in [201, 401, 409, 422, 500, 503] {
        let reply = Ask::post(&format!("/{code}"), "k", "a").send(to).await;
        assert_eq!((reply.status, reply.said()), (code, Some("unprotected")));
    }
}
