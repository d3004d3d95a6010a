//! Duplicates that come while their request runs.

use std::sync::Arc;
use std::time::Duration;

use axum::routing::post;
use axum::{Json, Router};
use idempotency::{Idempotency, ManualClock};
use idempotency_http::server::{IdempotencyLayer, Policy};
use idempotency_store_memory::MemoryStore;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::support::wire::{Ask, LONG};
use crate::support::{Runs, memory, serve};

/// A route whose handler waits until it is told.
async fn held(layer: IdempotencyLayer) -> (std::net::SocketAddr, Arc<Semaphore>, Arc<Semaphore>, Runs) {
    let (begun, go, runs) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)), Runs::default());
    let (tell, wait, count) = (begun.clone(), go.clone(), runs.clone());
    let handler = move || async move {
        tell.add_permits(1);
        wait.acquire().await.unwrap().forget();
        Json(json!({ "run": count.one() }))
    };
    (serve(Router::new().route("/", post(handler)).layer(layer)).await, begun, go, runs)
}

#[tokio::test]
async fn retry_after_is_a_second_at_least_grows_and_ends_with_the_lease() {
    let clock = Arc::new(ManualClock::default());
    let idempotency = Idempotency::new(MemoryStore::with_clock(clock.clone()));
    let (to, begun, go, _) = held(IdempotencyLayer::new(idempotency)).await;
    let first = tokio::spawn(async move { Ask::post("/", "k", "a").send(to).await });
    begun.acquire().await.unwrap().forget();
    let mut told = Vec::new();
    // By the store's clock; the lease of 30 s is not renewed meanwhile, as no real time passes.
    for step in [0, 3_000, 3_000, 8_000, 6_000, 6_000, 3_000, 700] {
        clock.advance(Duration::from_millis(step));
        let conflict = Ask::post("/", "k", "a").send(to).await;
        conflict.assert_problem(409, "in-progress");
        told.push(conflict.header("retry-after").unwrap().parse::<u64>().unwrap());
    }
    assert_eq!(told, [1, 1, 3, 7, 10, 4, 1, 1], "the last ones are what is left of the lease, and never 0");
    Ask::post("/", "k", "b").send(to).await.assert_problem(422, "key-reused");
    go.add_permits(1);
    assert_eq!(first.await.unwrap().run(), 1);
    assert!(Ask::post("/", "k", "a").send(to).await.is_replay());
}

#[tokio::test]
async fn a_duplicate_waits_where_it_is_told_to_and_no_longer() {
    let policy = Policy::new().with_wait(LONG).unwrap();
    let (to, begun, go, runs) = held(IdempotencyLayer::new(memory()).with_policy(policy)).await;
    let first = tokio::spawn(async move { Ask::post("/", "k", "a").send(to).await });
    begun.acquire().await.unwrap().forget();
    let second = tokio::spawn(async move { Ask::post("/", "k", "a").send(to).await });
    go.add_permits(1);
    let (first, second) = (first.await.unwrap(), second.await.unwrap());
    assert!(!first.is_replay() && second.is_replay(), "{first:?} {second:?}");
    assert_eq!((first.body, runs.count()), (second.body, 1));

    let policy = Policy::new().with_wait(Duration::from_millis(50)).unwrap();
    let (to, begun, go, _) = held(IdempotencyLayer::new(memory()).with_policy(policy)).await;
    let first = tokio::spawn(async move { Ask::post("/", "k", "a").send(to).await });
    begun.acquire().await.unwrap().forget();
    Ask::post("/", "k", "a").send(to).await.assert_problem(409, "in-progress");
    go.add_permits(1);
    assert_eq!(first.await.unwrap().status, 200);
}

/// axum-idempotent: concurrent duplicates both run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_of_duplicates_runs_once() {
    let policy = Policy::new().with_wait(LONG).unwrap();
    let (to, begun, go, runs) = held(IdempotencyLayer::new(memory()).with_policy(policy)).await;
    let mut crowd = JoinSet::new();
    for _ in 0..100 {
        crowd.spawn(async move { Ask::post("/", "k", "a").send(to).await });
    }
    begun.acquire().await.unwrap().forget();
    go.add_permits(100);
    let mut replays = 0;
    while let Some(reply) = crowd.join_next().await {
        let reply = reply.unwrap();
        assert_eq!((reply.status, reply.run()), (200, 1));
        replays += usize::from(reply.is_replay());
    }
    assert_eq!((replays, runs.count()), (99, 1));
}
