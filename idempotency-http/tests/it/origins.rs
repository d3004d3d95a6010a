//! Where a response came from, as a middleware around the layer sees it.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::routing::post;
use idempotency::{Context, Idempotency};
use idempotency_http::names::Status;
use idempotency_http::problem::ProblemKind;
use idempotency_http::server::{IdempotencyLayer, Missing, Origin, Policy};
use idempotency_testkit::Method;
use idempotency_testkit::faults::Fault;
use tokio::sync::Semaphore;
use tower::ServiceExt;
use tracing::Instrument;

use crate::support::wire::LONG;
use crate::support::{faulty, memory};

/// A service whose handlers answer with the status that the path names.
fn router(idempotency: &Idempotency, policy: Policy) -> Router {
    let handler = |Path(code): Path<u16>| async move { StatusCode::from_u16(code).unwrap() };
    let layer = IdempotencyLayer::new(idempotency.clone()).with_policy(policy);
    Router::new().route("/{code}", post(handler).get(async || "looked").layer(layer))
}

fn asks_for(correlation: &str, key: Option<&str>, code: u16, body: &'static str) -> Request {
    let request = Request::post(format!("/{code}")).header("x-correlation-id", correlation);
    let request = key.into_iter().fold(request, |request, key| request.header("idempotency-key", key));
    request.body(Body::from(body)).unwrap()
}

async fn origin(router: &Router, request: Request) -> (Option<Origin>, Option<String>) {
    let response = router.clone().oneshot(request).await.unwrap();
    let said = response.headers().get("idempotency-status").map(|value| value.to_str().unwrap().to_owned());
    (response.extensions().get().cloned(), said)
}

fn correlated() -> Policy {
    Policy::new().with_missing(Missing::Passed).with_context(|parts| {
        let id = parts.headers.get("x-correlation-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
        Context::default().with_correlation_id(id).unwrap_or_default()
    })
}

#[tokio::test]
async fn an_original_and_its_replay_are_told_apart_and_belong_together() {
    let router = router(&memory(), correlated());
    let (first, _) = origin(&router, asks_for("c-1", Some("k"), 201, "a")).await;
    let Some(Origin::Executed { attempt, status, .. }) = first else { panic!("{first:?}") };
    assert_eq!((attempt.number(), status, attempt.prior()), (1, Status::Recorded, None));
    assert!(attempt.fence().get() > 0);
    let (again, _) = origin(&router, asks_for("c-2", Some("\"k\""), 201, "a")).await;
    let Some(Origin::Replayed { key, first, .. }) = again else { panic!("{again:?}") };
    assert_eq!((&key, first.attempt), (attempt.key(), 1));
    assert_eq!(first.context.correlation_id(), Some("c-1"), "the first request's, not the replay's");
    assert_eq!(key.downstream(), attempt.downstream());
}

#[tokio::test]
async fn what_became_of_the_key_is_told_as_the_header_tells_it() {
    let (faults, idempotency) = faulty();
    let router = router(&idempotency, correlated().with_fail_open());
    for (code, status) in [(201, Status::Recorded), (401, Status::Freed), (500, Status::Unknown)] {
        let (told, said) = origin(&router, asks_for("c", Some(&format!("k{code}")), code, "a")).await;
        let Some(Origin::Executed { status: told, .. }) = told else { panic!("{code}: {told:?}") };
        assert_eq!((told, said.as_deref()), (status, Some(status.as_str())), "{code}");
    }
    // The attempt after an unknown one knows it.
    let (again, _) = origin(&router, asks_for("c", Some("k500"), 500, "a")).await;
    let Some(Origin::Executed { attempt, .. }) = again else { panic!("{again:?}") };
    assert_eq!((attempt.number(), attempt.prior().map(|prior| prior.attempt)), (2, Some(1)));
    faults.always(Method::Acquire, Fault::DOWN);
    let (told, _) = origin(&router, asks_for("c", Some("down"), 201, "a")).await;
    let Some(Origin::Executed { attempt, status: Status::Unprotected, .. }) = told else { panic!("{told:?}") };
    assert_eq!((attempt.number(), attempt.fence().get()), (0, 0));
}

#[tokio::test]
async fn where_nothing_ran_it_is_told_why_and_of_which_key_if_that_is_known() {
    let router = router(&memory(), correlated());
    let _first = origin(&router, asks_for("c", Some("k"), 201, "a")).await;
    let (reused, _) = origin(&router, asks_for("c", Some("k"), 201, "b")).await;
    let Some(Origin::NotRun { key: Some(key), problem: ProblemKind::KeyReused, .. }) = reused else {
        panic!("{reused:?}")
    };
    assert_eq!(key.as_str(), "/POST %2F{code}/k");
    let (bad, _) = origin(&router, asks_for("c", Some("a,b"), 201, "b")).await;
    assert!(matches!(bad, Some(Origin::NotRun { key: None, problem: ProblemKind::BadKey, .. })), "{bad:?}");
}

#[tokio::test]
async fn a_request_that_needed_no_key_says_that_it_had_none() {
    let router = router(&memory(), correlated());
    let (told, said) = origin(&router, asks_for("c", None, 201, "a")).await;
    assert!(matches!(told, Some(Origin::NoKey)), "{told:?}");
    assert_eq!(said.as_deref(), Some("no-key"));
    let look = Request::get("/200").body(Body::empty()).unwrap();
    let (told, said) = origin(&router, look).await;
    assert!(told.is_none() && said.is_none(), "the policy is not for GET: {told:?}");
}

/// What a layer within said, of a key that it took from elsewhere, is not unsaid by one around it.
#[tokio::test]
async fn a_layer_without_a_key_leaves_what_one_within_it_said() {
    let inner = router(&memory(), Policy::new().with_missing(Missing::Derived));
    let outer = inner.layer(IdempotencyLayer::new(memory()).with_policy(correlated()));
    let (told, said) = origin(&outer, asks_for("c", None, 201, "a")).await;
    assert!(matches!(told, Some(Origin::Executed { .. })), "{told:?}");
    assert_eq!(said.as_deref(), Some("recorded"));
}

/// A client hangs up, and its handler logs on: in the request's span.
#[tokio::test]
async fn a_handler_whose_client_has_gone_logs_in_the_requests_span() {
    let log = Log::default();
    let write = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || write.clone()).finish();
    // This test's runtime has this thread only.
    let _guard = tracing::subscriber::set_default(subscriber);
    let (begun, go) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (tell, wait) = (begun.clone(), go.clone());
    let handler = move || async move {
        tracing::info!("begins");
        tell.add_permits(1);
        wait.acquire().await.unwrap().forget();
        tracing::info!("ends");
    };
    let layer = IdempotencyLayer::new(memory());
    let spanned = |request: Request, next: Next| next.run(request).instrument(tracing::info_span!("request", id = 42));
    let router = Router::new().route("/{code}", post(handler)).layer(layer.clone()).layer(from_fn(spanned));
    let running = tokio::spawn(router.oneshot(asks_for("c", Some("k"), 201, "a")));
    begun.acquire().await.unwrap().forget();
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    go.add_permits(1);
    layer.drain(LONG).await.unwrap();
    for line in ["begins", "ends"] {
        assert!(log.in_span(line), "{line}: {}", log.text());
    }
}

/// What is logged, as text.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    fn in_span(&self, message: &str) -> bool {
        self.text().lines().any(|line| line.ends_with(message) && line.contains("request{id=42}"))
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
