//! Layers within routers that are nested, and within each other.

use axum::extract::Path;
use axum::routing::{MethodRouter, post};
use axum::{Json, Router};
use idempotency_http::server::{IdempotencyLayer, Missing, Policy};
use serde_json::json;

use crate::support::wire::Ask;
use crate::support::{Runs, memory, serve};

fn counted(runs: &Runs) -> MethodRouter {
    let runs = runs.clone();
    post(move || async move { Json(json!({ "run": runs.one() })) })
}

/// `nest` takes its prefix off the path before the layer within sees it, and with it what tells two accounts
/// apart.
#[tokio::test]
async fn a_prefix_that_is_taken_off_counts_all_the_same() {
    let runs = Runs::default();
    let counts = runs.clone();
    let handler = move |Path(account): Path<String>| async move { Json(json!({ "run": counts.one(), "of": account })) };
    let within = |policy: Policy| {
        Router::new().route("/pay", post(handler.clone())).layer(IdempotencyLayer::new(memory()).with_policy(policy))
    };
    let app = Router::new()
        .nest("/accounts/{account}", within(Policy::new()))
        .nest("/derived/{account}", within(Policy::new().with_missing(Missing::Derived)));
    let to = serve(app).await;
    assert_eq!(Ask::post("/accounts/alice/pay", "k", "a").send(to).await.json(), json!({ "run": 1, "of": "alice" }));
    Ask::post("/accounts/bob/pay", "k", "a").send(to).await.assert_problem(422, "key-reused");
    assert!(Ask::post("/accounts/alice/pay", "k", "a").send(to).await.is_replay());
    for (run, account) in [(2, "alice"), (3, "bob")] {
        let reply = Ask::new("POST", &format!("/derived/{account}/pay")).body("a").send(to).await;
        assert_eq!((reply.said(), reply.json()), (Some("recorded"), json!({ "run": run, "of": account })));
    }
}

/// Without a route there is no template but the path, which is to be the whole one.
#[tokio::test]
async fn fallbacks_of_two_nested_services_are_two_operations() {
    let runs = Runs::default();
    let once = IdempotencyLayer::new(memory());
    let within = Router::new().fallback_service(counted(&runs).layer(once));
    let to = serve(Router::new().nest_service("/v1", within.clone()).nest_service("/v2", within)).await;
    for (run, path) in [(1, "/v1/pay"), (2, "/v2/pay")] {
        let first = Ask::post(path, "k", "a").send(to).await;
        assert_eq!((first.said(), first.run()), (Some("recorded"), run), "{path}");
        assert!(Ask::post(path, "k", "a").send(to).await.is_replay());
    }
}

/// The inner one finds the key in progress, by the outer one's run, and would say so for ever.
#[tokio::test]
async fn a_layer_within_another_says_that_it_is_one_too_many() {
    let (runs, idempotency) = (Runs::default(), memory());
    let once = || IdempotencyLayer::new(idempotency.clone());
    let to = serve(Router::new().route("/", counted(&runs).layer(once())).layer(once())).await;
    let reply = Ask::post("/", "k", "a").send(to).await;
    reply.assert_problem(500, "misconfigured");
    assert!(reply.text().contains("one layer"), "{reply:?}");
    assert_eq!(runs.count(), 0);
}
