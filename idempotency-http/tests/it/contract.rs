//! What tower asks of a service, and what the layer asks of one.

use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use idempotency::Attempt;
use idempotency_http::server::{Finality, IdempotencyLayer, Policy, RequestBody};
use tower::limit::ConcurrencyLimitLayer;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

use crate::support::{Runs, faulty, memory};

type Body = RequestBody<Full<Bytes>>;

fn post(key: &str) -> Request<Full<Bytes>> {
    Request::post("/pay").header("idempotency-key", key).body(Full::from("body")).unwrap()
}

/// A service that must be polled ready before each call, as tower's contract has it.
#[derive(Debug, Default)]
struct Picky {
    ready: bool,
    runs: Runs,
}

/// A clone is not ready, whatever the original is.
impl Clone for Picky {
    fn clone(&self) -> Self {
        Self { ready: false, runs: self.runs.clone() }
    }
}

impl Service<Request<Body>> for Picky {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called without being ready");
        std::future::ready(Ok(Response::new(Full::from(format!("run {}", self.runs.one())))))
    }
}

/// cratestack `service.rs`: it calls a clone that was never polled ready.
#[tokio::test]
async fn the_service_that_is_ready_is_the_one_that_is_called() {
    let mut service = IdempotencyLayer::new(memory()).layer(Picky::default());
    for n in 0..3 {
        let response = service.ready().await.unwrap().call(post(&format!("k{n}"))).await.unwrap();
        assert_eq!(response.headers()["idempotency-status"], "recorded");
        // One that passes, on the same service.
        let passed = Request::get("/").body(Full::default()).unwrap();
        assert_eq!(service.ready().await.unwrap().call(passed).await.unwrap().status(), 200);
    }
    let replay = service.ready().await.unwrap().call(post("k0")).await.unwrap();
    assert_eq!(replay.into_body().collect().await.unwrap().to_bytes(), "run 1");
}

#[tokio::test]
async fn backpressure_goes_through_and_a_replay_gives_its_permit_back() {
    let runs = Runs::default();
    let inner = service_fn(move |_: Request<Body>| {
        let runs = runs.clone();
        async move { Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(format!("run {}", runs.one())))) }
    });
    let service = ServiceBuilder::new()
        .layer(IdempotencyLayer::new(memory()))
        .layer(ConcurrencyLimitLayer::new(1))
        .service(inner);
    let (mut one, mut two) = (service.clone(), service.clone());
    poll_fn(|cx| one.poll_ready(cx)).await.unwrap();
    // On a clone that goes again: it would wait in line for the permit.
    let mut waiting = service;
    let pending = futures_util::poll!(std::pin::pin!(poll_fn(|cx| waiting.poll_ready(cx)))).is_pending();
    assert!(pending, "the only permit is taken");
    drop(waiting);
    for _ in 0..5 {
        assert_eq!(one.ready().await.unwrap().call(post("k")).await.unwrap().status(), 200);
    }
    drop(one);
    assert_eq!(two.ready().await.unwrap().call(post("k")).await.unwrap().headers()["idempotency-replayed"], "true");
}

#[derive(Debug, PartialEq, thiserror::Error)]
#[error("the connection to the backend broke")]
struct Broken;

#[tokio::test]
async fn a_services_own_error_is_its_callers_and_leaves_the_key_unknown() {
    let runs = Runs::default();
    let inner = service_fn(move |request: Request<Body>| {
        let runs = runs.clone();
        async move {
            let prior = request.extensions().get::<Attempt>().is_some_and(|attempt| attempt.prior().is_some());
            if runs.one() == 1 { Err(Broken) } else { Ok(Response::new(Full::<Bytes>::from(format!("{prior}")))) }
        }
    });
    let mut service = IdempotencyLayer::new(memory()).layer(inner);
    assert_eq!(service.ready().await.unwrap().call(post("k")).await.err(), Some(Broken));
    let again = service.ready().await.unwrap().call(post("k")).await.unwrap();
    assert_eq!(again.headers()["idempotency-prior"], "unknown");
    assert_eq!(again.into_body().collect().await.unwrap().to_bytes(), "true");
}

/// IdempotencyGuard, caura#1629, idempotent 2.0 `OwnedClaimGuard`: what is dropped is cancelled after its
/// effect, or frees the key at once.
#[tokio::test]
async fn a_call_that_is_dropped_goes_on_once_its_handler_runs() {
    let (began, ended) = (Arc::new(tokio::sync::Notify::new()), Arc::new(AtomicBool::new(false)));
    let (tell, done) = (began.clone(), ended.clone());
    let go = Arc::new(tokio::sync::Notify::new());
    let wait = go.clone();
    let inner = service_fn(move |_: Request<Body>| {
        let (tell, done, wait) = (tell.clone(), done.clone(), wait.clone());
        async move {
            tell.notify_one();
            wait.notified().await;
            done.store(true, Ordering::SeqCst);
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("done")))
        }
    });
    let layer = IdempotencyLayer::new(memory());
    let mut service = layer.layer(inner);
    let call = service.ready().await.unwrap().call(post("k"));
    tokio::select! {
        _ = call => panic!("the handler waits"),
        () = began.notified() => {}
    }
    let conflict = service.ready().await.unwrap().call(post("k")).await.unwrap();
    assert_eq!(conflict.status(), StatusCode::CONFLICT, "dropping frees nothing");
    go.notify_one();
    layer.drain(Duration::from_secs(60)).await.unwrap();
    assert!(ended.load(Ordering::SeqCst));
    let replay = service.ready().await.unwrap().call(post("k")).await.unwrap();
    assert_eq!(replay.headers()["idempotency-replayed"], "true");
}

/// A limit within the layer holds for handlers, not for their clients.
#[tokio::test]
async fn a_limit_within_holds_for_handlers_whose_clients_have_gone() {
    let (began, go) = (Arc::new(tokio::sync::Notify::new()), Arc::new(tokio::sync::Notify::new()));
    let (tell, wait) = (began.clone(), go.clone());
    let inner = service_fn(move |_: Request<Body>| {
        let (tell, wait) = (tell.clone(), wait.clone());
        async move {
            tell.notify_one();
            wait.notified().await;
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("done")))
        }
    });
    let layer = IdempotencyLayer::new(memory());
    let mut service = ServiceBuilder::new().layer(layer.clone()).layer(ConcurrencyLimitLayer::new(1)).service(inner);
    let call = service.ready().await.unwrap().call(post("k"));
    tokio::select! {
        _ = call => panic!("the handler waits"),
        () = began.notified() => {}
    }
    let pending = futures_util::poll!(std::pin::pin!(poll_fn(|cx| service.poll_ready(cx)))).is_pending();
    assert!(pending, "the handler that goes on does not count");
    go.notify_one();
    layer.drain(Duration::from_secs(60)).await.unwrap();
    assert_eq!(service.ready().await.unwrap().call(post("k")).await.unwrap().headers()["idempotency-replayed"], "true");
}

/// Not a byte of the body, nothing of the store: a future that is dropped before it is polled did nothing.
#[tokio::test]
async fn a_call_that_is_never_polled_does_nothing() {
    let (faults, idempotency) = faulty();
    let mut service = IdempotencyLayer::new(idempotency).layer(Picky::default());
    drop(service.ready().await.unwrap().call(post("k")));
    assert_eq!(faults.calls(idempotency_testkit::Method::Acquire), 0);
}

#[tokio::test]
async fn a_body_that_another_layer_limits_is_too_large_not_broken() {
    let inner = service_fn(|_: Request<RequestBody<Limited<Full<Bytes>>>>| async {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let mut service = IdempotencyLayer::new(memory()).layer(inner);
    // Its own hint is the inner body's.
    let request = post("k").map(|_| Limited::new(Full::from("12345"), 3));
    let response = service.ready().await.unwrap().call(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn extensions_of_the_first_response_are_kept_for_the_layers_around() {
    let inner = service_fn(|_: Request<Body>| async {
        let mut response = Response::new(Full::<Bytes>::default());
        response.extensions_mut().insert(Finality::FactOnly);
        response.extensions_mut().insert(7_u32);
        Ok::<_, Infallible>(response)
    });
    let mut service = IdempotencyLayer::new(memory()).with_policy(Policy::new()).layer(inner);
    let response = service.ready().await.unwrap().call(post("k")).await.unwrap();
    assert_eq!(response.extensions().get::<u32>(), Some(&7));
    assert_eq!(response.headers()["idempotency-status"], "not-replayable");
}
