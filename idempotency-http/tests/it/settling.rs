//! Keys that an operator settles, by what the layer gives for it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Path;
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use axum::routing::post;
use axum::{Extension, Json};
use idempotency::{Attempt, Bincode, Codec, Idempotency, Key, OnUnknown, SettleError, StoreExt, Upkeep};
use idempotency_http::server::{IdempotencyLayer, RecordedResponse, record_key};
use idempotency_store_memory::MemoryStore;
use serde_json::json;

use crate::support::wire::{Ask, Reply};
use crate::support::{Runs, serve};

const A_MINUTE: Duration = Duration::from_secs(60);

/// A service whose keys stay unknown until somebody settles them: at `/payments/lost` the handler's first run
/// ends so.
async fn refusing(codec: impl Codec) -> (Arc<MemoryStore>, SocketAddr) {
    let store = Arc::new(MemoryStore::new());
    let runs = Runs::default();
    let handler = move |Path(id): Path<String>, attempt: Extension<Attempt>| async move {
        if (id.as_str(), runs.one()) == ("lost", 1) {
            return StatusCode::BAD_GATEWAY.into_response();
        }
        Json(json!({ "key": attempt.key().as_str(), "attempt": attempt.number() })).into_response()
    };
    let policy = crate::support::app::templated()
        .with_on_unknown(OnUnknown::Refuse)
        .with_scope(|request| Some(request.headers.get("x-tenant")?.to_str().ok()?.to_owned()));
    let once = IdempotencyLayer::new(Idempotency::new(store.clone()).with_codec(codec)).with_policy(policy);
    (store, serve(Router::new().route("/payments/{id}", post(handler).layer(once))).await)
}

async fn ask(to: SocketAddr, id: &str, tenant: &str) -> Reply {
    Ask::post(&format!("/payments/{id}"), "f1", "a").header("X-Tenant", tenant).send(to).await
}

/// The one key that an operator finds to be unknown.
async fn only_unknown(store: &MemoryStore) -> Key {
    let page = store.list(None, 100).await.unwrap();
    let mut unknown = page.records.into_iter().filter(|(_, found)| found.record.unknown_at(found.now).is_some());
    let (key, _) = unknown.next().unwrap();
    assert!(unknown.next().is_none());
    key
}

async fn settled_as_done(codec: impl Codec + Clone) {
    let (store, to) = refusing(codec.clone()).await;
    let lost = ask(to, "lost", "alice").await;
    assert_eq!((lost.status, lost.said()), (502, Some("unknown")));
    ask(to, "lost", "alice").await.assert_problem(409, "outcome-unknown");

    let key = record_key("POST /payments/{id}", "f1", Some("alice")).unwrap();
    assert_eq!(only_unknown(&store).await.as_str(), key.as_str());
    let found = store.settle(&key, A_MINUTE).await.unwrap();
    assert_eq!(found.prior().attempt, 1);
    let paid = Response::builder().status(201).header("location", "/payments/7").header("connection", "close");
    let paid = RecordedResponse::from(paid.header("set-cookie", "a=b").body(r#"{"id":7}"#).unwrap());
    found.had_its_effect_with(codec, &paid).await.unwrap();

    let again = ask(to, "lost", "alice").await;
    assert_eq!((again.status, again.is_replay(), again.text()), (201, true, r#"{"id":7}"#.to_owned()));
    assert_eq!((again.header("location"), again.header("set-cookie")), (Some("/payments/7"), None));
    assert_eq!(again.header("content-length"), Some("8"));
    let other = Ask::post("/payments/lost", "f1", "b").header("X-Tenant", "alice").send(to).await;
    other.assert_problem(422, "key-reused");
}

#[tokio::test]
async fn a_key_settled_with_a_response_gives_it_to_the_retry() {
    settled_as_done(Bincode).await;
    settled_as_done(idempotency::Json).await;
}

#[tokio::test]
async fn a_key_settled_as_free_runs_again() {
    let (store, to) = refusing(Bincode).await;
    assert_eq!(ask(to, "lost", "alice").await.status, 502);
    let key = record_key("POST /payments/{id}", "f1", Some("alice")).unwrap();
    store.settle(&key, A_MINUTE).await.unwrap().had_no_effect().await.unwrap();
    let again = ask(to, "lost", "alice").await;
    assert_eq!((again.status, again.said(), again.header("idempotency-prior")), (200, Some("recorded"), None));
    assert_eq!(again.json()["attempt"], 3, "the operator's look was the second");
    assert!(matches!(store.settle(&key, A_MINUTE).await, Err(SettleError::NotUnknown)));
}

#[tokio::test]
async fn a_key_settled_without_a_response_is_done_and_does_not_run() {
    let (store, to) = refusing(Bincode).await;
    assert_eq!(ask(to, "lost", "alice").await.status, 502);
    let key = record_key("POST /payments/{id}", "f1", Some("alice")).unwrap();
    store.settle(&key, A_MINUTE).await.unwrap().had_its_effect().await.unwrap();
    ask(to, "lost", "alice").await.assert_problem(409, "answer-not-kept");
}

/// The handler is told its key, which an operator makes anew: of whatever tenant, even one that no key can hold.
#[tokio::test]
async fn the_key_of_a_record_is_that_of_its_request() {
    let (_, to) = refusing(Bincode).await;
    for tenant in ["alice".to_owned(), "a/b c".to_owned(), "x".repeat(300), "sha256:1".to_owned()] {
        let told = ask(to, "7", &tenant).await.json();
        let key = record_key("POST /payments/{id}", "f1", Some(&tenant)).unwrap();
        assert_eq!(told["key"], key.as_str());
    }
    assert!(record_key("POST /payments/{id}", "", None).is_err());
}
