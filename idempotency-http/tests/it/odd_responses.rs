//! Responses that few handlers give: with the layer's own words, without an end, with too much of a head.

use std::convert::Infallible;

use axum::body::Bytes;
use axum::http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use idempotency_http::server::{Finality, IdempotencyLayer, Policy, ReplyBody, RequestBody};
use tower::{Layer, Service, service_fn};

use crate::support::memory;

type Reply = Response<ReplyBody<Full<Bytes>>>;

/// The first answer and the second, of a handler that gives this response.
async fn twice(policy: Policy, give: impl Fn() -> Response<Full<Bytes>> + Clone + Send + 'static) -> [Reply; 2] {
    let inner = service_fn(move |_: Request<RequestBody<Full<Bytes>>>| {
        let response = give();
        async { Ok::<_, Infallible>(response) }
    });
    let mut service = IdempotencyLayer::new(memory()).with_policy(policy).layer(inner);
    let ask = || Request::post("/").header("idempotency-key", "k").body(Full::from("body")).unwrap();
    [service.call(ask()).await.unwrap(), service.call(ask()).await.unwrap()]
}

fn said(reply: &Reply, name: &str) -> Option<String> {
    reply.headers().get(name).map(|value| value.to_str().unwrap().to_owned())
}

/// A gateway's handler passes on what its backend, with a layer of its own, said of another key.
#[tokio::test]
async fn what_a_backend_says_of_its_own_key_is_not_said_of_this_one() {
    for (finality, status) in
        [(Finality::Final, "recorded"), (Finality::FactOnly, "not-replayable"), (Finality::Unknown, "unknown")]
    {
        let [first, _] = twice(Policy::new(), move || {
            let mut response = Response::new(Full::from("of the backend"));
            response.extensions_mut().insert(finality);
            for (name, value) in
                [("replayed", "true"), ("status", "replayed"), ("remaining", "5"), ("prior", "unknown")]
            {
                let name = HeaderName::try_from(format!("idempotency-{name}")).unwrap();
                response.headers_mut().append(name, HeaderValue::from_static(value));
            }
            response
        })
        .await;
        assert_eq!(said(&first, "idempotency-status").as_deref(), Some(status));
        assert_eq!(said(&first, "idempotency-replayed"), None, "{status}: nothing was replayed");
        assert_eq!(said(&first, "idempotency-prior"), None, "{status}: there is none");
        let remaining = (finality == Finality::Final).then_some("86400");
        assert_eq!(said(&first, "idempotency-remaining").as_deref(), remaining, "{status}");
    }
}

#[tokio::test]
async fn a_head_of_many_lines_comes_again() {
    let [_, again] = twice(Policy::new(), || {
        let mut response = Response::new(Full::from("body"));
        for _ in 0..30_000 {
            response.headers_mut().append("x", HeaderValue::from_static("y"));
        }
        response
    })
    .await;
    assert_eq!(said(&again, "idempotency-replayed").as_deref(), Some("true"));
    assert_eq!(again.headers().get_all("x").iter().count(), 30_000);
}

/// Stripe's rule says that everything is final. A replay could not change protocols, though.
#[tokio::test]
async fn a_connection_that_becomes_something_else_is_never_replayed() {
    let [first, again] = twice(Policy::new().with_finality(|_| Finality::Final), || {
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response
    })
    .await;
    assert_eq!(said(&first, "idempotency-status").as_deref(), Some("not-replayable"));
    assert_eq!((first.status(), again.status()), (StatusCode::SWITCHING_PROTOCOLS, StatusCode::CONFLICT));
}

/// Its first caller sees that it is not whole; a replay would be measured anew, and seem to be.
#[tokio::test]
async fn a_body_that_is_not_as_long_as_its_head_says_is_not_replayed_as_whole() {
    for length in ["100", "3"] {
        let [first, again] = twice(Policy::new(), move || {
            let mut response = Response::new(Full::from("half"));
            response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static(length));
            response
        })
        .await;
        assert_eq!(said(&first, "content-length").as_deref(), Some(length));
        assert_eq!(said(&first, "idempotency-status").as_deref(), Some("not-replayable"), "{length}");
        assert_eq!(first.into_body().collect().await.unwrap().to_bytes(), "half");
        assert_eq!(again.status(), StatusCode::CONFLICT);
    }
}
