//! Answers of one's own, layers on routes, codecs, and settings that are refused.

use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderName, Response};
use axum::routing::post;
use idempotency::{Attributes, Idempotency, Json, OnUnknown, Upkeep};
use idempotency_http::problem::{Problem, ProblemKind};
use idempotency_http::server::{IdempotencyLayer, Policy, PolicyError};
use idempotency_store_memory::MemoryStore;
use serde_json::json;

use crate::support::wire::Ask;
use crate::support::{Runs, memory, serve};

#[tokio::test]
async fn answers_may_be_of_ones_own() {
    let own = |problem: &Problem, headers: &axum::http::HeaderMap| {
        let language = headers.get("accept-language").map_or(&b"?"[..], |language| language.as_bytes());
        let body = json!({ "code": problem.kind.name(), "language": String::from_utf8_lossy(language) });
        let mut response = Response::new(Bytes::from(body.to_string()));
        *response.status_mut() = problem.kind.status();
        response
    };
    let policy = Policy::new().with_answers(own);
    let to = serve(
        Router::new().route("/", post(|| async { "x" })).layer(IdempotencyLayer::new(memory()).with_policy(policy)),
    )
    .await;
    let ask = |key: &str, body: &str| Ask::post("/", key, body).header("Accept-Language", "de");
    let missing = ask("\"", "a").send(to).await;
    assert_eq!((missing.status, missing.json()), (400, json!({ "code": "bad-key", "language": "de" })));
    assert_eq!(ask("k", "a").send(to).await.status, 200);
    // After the request is gone to the handler's task, too.
    assert_eq!(ask("k", "b").send(to).await.json(), json!({ "code": "key-reused", "language": "de" }));
}

#[tokio::test]
async fn problem_types_may_have_a_home() {
    let policy = Policy::new().with_problem_types("https://shop.example/problems#");
    let to = serve(
        Router::new().route("/", post(|| async { "x" })).layer(IdempotencyLayer::new(memory()).with_policy(policy)),
    )
    .await;
    let missing = Ask::new("POST", "/").send(to).await;
    assert_eq!(missing.json()["type"], "https://shop.example/problems#key-missing");
}

/// axum-idempotent: the same key on another route replays the wrong response.
#[tokio::test]
async fn one_layer_on_many_routes_keeps_them_apart_nested_too() {
    let runs = Runs::default();
    let route = |runs: &Runs| {
        let runs = runs.clone();
        post(move || async move { axum::Json(json!({ "run": runs.one() })) })
    };
    let once = IdempotencyLayer::new(memory());
    let inner = Router::new().route("/pay", route(&runs)).route("/refunds/{id}", route(&runs));
    let app = Router::new().route("/pay", route(&runs)).nest("/v1", inner.clone()).nest("/v2", inner).layer(once);
    let to = serve(app).await;
    let mut seen = Vec::new();
    for path in ["/pay", "/v1/pay", "/v2/pay", "/v1/refunds/1", "/v2/refunds/1"] {
        let first = Ask::post(path, "k", "a").send(to).await;
        assert_eq!(first.said(), Some("recorded"), "{path}");
        assert_eq!(Ask::post(path, "k", "a").send(to).await.run(), first.run());
        seen.push(first.run());
    }
    assert_eq!(seen, [1, 2, 3, 4, 5]);
    // One template, another parameter: another request under the same key. Where axum's template is not
    // known, the path is it, and another path another operation.
    let other = Ask::post("/v1/refunds/2", "k", "a").send(to).await;
    if cfg!(feature = "axum") {
        other.assert_problem(422, "key-reused");
    } else {
        assert_eq!((other.said(), other.run()), (Some("recorded"), 6));
    }
}

#[tokio::test]
async fn responses_kept_as_json_come_again_byte_by_byte() {
    let bytes: &'static [u8] = b"\x00\xFF binary \xC3\xA9";
    let to = serve(
        Router::new()
            .route("/binary", post(move || async move { bytes }))
            .route("/text", post(|| async { "text é" }))
            .layer(IdempotencyLayer::new(memory().with_codec(Json))),
    )
    .await;
    for path in ["/binary", "/text"] {
        let first = Ask::post(path, "k", "a").send(to).await;
        let again = Ask::post(path, "k", "a").send(to).await;
        assert_eq!((first.said(), again.is_replay()), (Some("recorded"), true));
        assert_eq!(first.body, again.body);
        assert_eq!(first.header("content-type"), again.header("content-type"));
    }
}

/// A handle's own limit is smaller than the layer's: the fact is kept all the same.
#[tokio::test]
async fn a_response_over_the_handles_limit_is_done_and_not_run_again() {
    let runs = Runs::default();
    let counted = runs.clone();
    let handler = move || async move {
        counted.one();
        "x".repeat(2_000)
    };
    let once = IdempotencyLayer::new(memory().with_result_limit(1_000));
    let to = serve(Router::new().route("/", post(handler)).layer(once)).await;
    let first = Ask::post("/", "k", "a").send(to).await;
    assert_eq!((first.body.len(), first.said()), (2_000, Some("not-replayable")));
    Ask::post("/", "k", "a").send(to).await.assert_problem(409, "answer-not-kept");
    assert_eq!(runs.count(), 1);
}

#[test]
fn settings_that_are_not_valid_are_refused_where_they_are_given() {
    assert!(matches!(Policy::new().with_header_names(["no good"]), Err(PolicyError::HeaderName(_))));
    assert!(matches!(Policy::new().with_header_names([]), Err(PolicyError::NoHeader)));
    for url in ["", "a b", "a>b", "a\nb", "a\"b", "policy", "../policy", "/policies/{id}"] {
        assert!(matches!(Policy::new().with_policy_url(url), Err(PolicyError::Url)), "{url}");
    }
    for url in ["/", "/policy", "/:policy/*all", "https://shop.example", "https://shop.example/policy?v=1"] {
        assert!(Policy::new().with_policy_url(url).is_ok(), "{url}");
    }
    for bad in [Duration::ZERO, Duration::MAX] {
        assert_eq!(Policy::new().with_retention(bad).unwrap_err().name, "retention");
        assert_eq!(Policy::new().with_wait(bad).unwrap_err().name, "wait");
    }
    // None shows what closures or headers hold.
    let policy = Policy::new()
        .with_fingerprinted_headers([HeaderName::from_static("authorization")])
        .with_on_unknown(OnUnknown::Refuse);
    assert!(format!("{:?}", IdempotencyLayer::new(memory()).with_policy(policy)).contains("authorization"));
}

#[test]
fn every_kind_of_problem_has_a_name_and_a_status_of_its_own_kind() {
    let mut names: Vec<&str> = ProblemKind::ALL.iter().map(|kind| kind.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), ProblemKind::ALL.len());
    assert!(ProblemKind::ALL.iter().all(|kind| kind.status().as_u16() >= 400 && !kind.title().is_empty()));
}

#[tokio::test]
async fn times_without_an_end_are_times() {
    let policy = Policy::new().with_request_time(Duration::MAX).with_response_time(Duration::MAX);
    let layer = IdempotencyLayer::new(memory()).with_policy(policy);
    let to = serve(Router::new().route("/", post(|body: Bytes| async { body })).layer(layer)).await;
    let first = Ask::post("/", "k", "a").send(to).await;
    assert_eq!((first.text(), first.said()), ("a".to_owned(), Some("recorded")));
    assert!(Ask::post("/", "k", "a").send(to).await.is_replay());
}

/// What a webhook is of, so that whoever lists the records sees it.
#[tokio::test]
async fn attributes_are_kept_with_the_record_and_tell_no_requests_apart() {
    let store = std::sync::Arc::new(MemoryStore::new());
    let policy = Policy::new().with_attributes(|head, body| {
        let source = head.headers.get("x-source").map_or("?", |source| source.to_str().unwrap());
        let kind = std::str::from_utf8(body).unwrap();
        Attributes::default().with("source", source).and_then(|all| all.with("type", kind)).unwrap()
    });
    let once = IdempotencyLayer::new(Idempotency::new(store.clone())).with_policy(policy);
    let to = serve(Router::new().route("/", post(|| async { "x" })).layer(once)).await;
    let ask = |key: &str, source: &str| Ask::post("/", key, "order").header("X-Source", source);
    assert_eq!(ask("k1", "shop").send(to).await.said(), Some("recorded"));
    assert_eq!(ask("k2", "till").send(to).await.said(), Some("recorded"));
    // The first's are kept.
    assert!(ask("k1", "elsewhere").send(to).await.is_replay());
    let listed = store.list(None, 10).await.unwrap().records;
    let mut kept: Vec<_> = listed.iter().map(|(_, found)| found.record.attributes.iter().collect::<Vec<_>>()).collect();
    kept.sort();
    assert_eq!(kept, [[("source", "shop"), ("type", "order")], [("source", "till"), ("type", "order")]]);
}
