//! Responses over the limit, streams, trailers, HEAD and HTTP/2.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, Method, Request, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, post};
use futures_util::stream;
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper_util::rt::{TokioExecutor, TokioIo};
use idempotency_http::server::{Finality, IdempotencyLayer, Policy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::support::wire::{Ask, LONG};
use crate::support::{Runs, memory, serve};

fn once(policy: Policy) -> IdempotencyLayer {
    IdempotencyLayer::new(memory()).with_policy(policy)
}

/// idempotent 2.0, autumn-web, cratestack: a response over the limit is not recorded, or frees the key, and
/// the handler runs again.
#[tokio::test]
async fn a_response_over_the_limit_reaches_its_caller_unharmed_and_runs_once() {
    let runs = Runs::default();
    let counted = runs.clone();
    let handler = move || async move {
        counted.one();
        // In pieces, so that its size is not known before it is over the limit.
        Body::from_stream(stream::iter((0..1000_u32).map(|n| Ok::<_, Infallible>(Bytes::from(format!("{n:010}"))))))
    };
    let to = serve(Router::new().route("/", post(handler)).layer(once(Policy::new().with_response_limit(1234)))).await;
    let first = Ask::post("/", "k", "a").send(to).await;
    let whole: String = (0..1000).map(|n| format!("{n:010}")).collect();
    assert_eq!((first.text(), first.said()), (whole, Some("not-replayable")));
    Ask::post("/", "k", "a").send(to).await.assert_problem(409, "answer-not-kept");
    Ask::post("/", "k", "b").send(to).await.assert_problem(422, "key-reused");
    assert_eq!(runs.count(), 1);
}

/// A route whose response's pieces the test sends.
async fn piecewise(
    kind: &'static str,
    says: Option<Finality>,
    policy: Policy,
) -> (SocketAddr, mpsc::Sender<Result<Bytes, std::io::Error>>, Runs) {
    let (sender, receiver) = mpsc::channel(1);
    let receiver = std::sync::Arc::new(tokio::sync::Mutex::new(receiver));
    let runs = Runs::default();
    let counted = runs.clone();
    let handler = move || async move {
        counted.one();
        let receiver = receiver.lock_owned().await;
        let pieces =
            stream::unfold(receiver, |mut receiver| async { receiver.recv().await.map(|piece| (piece, receiver)) });
        let mut response = ([(header::CONTENT_TYPE, kind)], Body::from_stream(pieces)).into_response();
        if let Some(says) = says {
            response.extensions_mut().insert(says);
        }
        response
    };
    (serve(Router::new().route("/", post(handler)).layer(once(policy))).await, sender, runs)
}

#[tokio::test]
async fn a_stream_reaches_its_caller_piece_by_piece() {
    let soon = Duration::from_millis(50);
    // One that says what it is, one of which its handler says it, and one that shows it by taking its time.
    let said = Some(Finality::FactOnly);
    for (kind, says, time) in
        [("text/event-stream", None, LONG), ("text/plain", said, LONG), ("text/plain", None, soon)]
    {
        let (to, pieces, runs) = piecewise(kind, says, Policy::new().with_response_time(time)).await;
        let mut client = TcpStream::connect(to).await.unwrap();
        client.write_all(&Ask::post("/", "k", "a").bytes()).await.unwrap();
        let mut seen = Vec::new();
        for piece in ["first", "second", "third"] {
            pieces.send(Ok(Bytes::from(piece))).await.unwrap();
            // The next is sent only when this one has come.
            while !String::from_utf8_lossy(&seen).contains(piece) {
                let mut some = [0; 1024];
                let read = timeout(LONG, client.read(&mut some)).await.expect("the piece").unwrap();
                assert_ne!(read, 0);
                seen.extend_from_slice(&some[..read]);
            }
        }
        Ask::post("/", "k", "a").send(to).await.assert_problem(409, "answer-not-kept");
        drop(pieces);
        assert_eq!(runs.count(), 1, "{kind}");
    }
}

#[tokio::test]
async fn a_response_that_breaks_off_is_given_as_far_as_it_came_and_does_not_run_again() {
    let (to, pieces, runs) = piecewise("text/plain", None, Policy::new()).await;
    let client = tokio::spawn(async move { Ask::post("/", "k", "a").send(to).await });
    pieces.send(Ok(Bytes::from("half"))).await.unwrap();
    pieces.send(Err(std::io::Error::other("the disk is gone"))).await.unwrap();
    let first = client.await.unwrap();
    assert_eq!((first.text(), first.said()), ("half".to_owned(), Some("not-replayable")));
    Ask::post("/", "k", "a").send(to).await.assert_problem(409, "answer-not-kept");
    assert_eq!(runs.count(), 1);
}

/// A handler whose response has trailers.
async fn with_trailers(request: Request<Body>) -> Response {
    let collected = request.into_body().collect().await.unwrap();
    let told = collected.trailers().and_then(|trailers| trailers.get("x-asked")).cloned();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checksum", told.unwrap_or(HeaderValue::from_static("none")));
    let frames = [Frame::data(collected.to_bytes()), Frame::trailers(trailers)];
    Body::new(StreamBody::new(stream::iter(frames.map(Ok::<_, Infallible>)))).into_response()
}

#[tokio::test]
async fn trailers_reach_the_handler_and_come_again_over_http_2() {
    let to = serve(Router::new().route("/", post(with_trailers)).layer(once(Policy::new()))).await;
    let stream = TokioIo::new(TcpStream::connect(to).await.unwrap());
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    for replay in [false, true] {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-asked", HeaderValue::from_static("sum-1"));
        let frames = [Frame::data(Bytes::from("body")), Frame::trailers(trailers)];
        let body = StreamBody::new(stream::iter(frames.map(Ok::<_, Infallible>)));
        let request = Request::post(format!("http://{to}/")).header("idempotency-key", "k").body(body).unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.headers().contains_key("idempotency-replayed"), replay);
        let collected = response.into_body().collect().await.unwrap();
        let trailers = collected.trailers().cloned().unwrap_or_default();
        assert_eq!(
            (trailers.get("x-checksum").map(HeaderValue::as_bytes), &collected.to_bytes()[..]),
            (Some(&b"sum-1"[..]), &b"body"[..])
        );
    }
    // Many at once on one connection, all of one key.
    let mut crowd = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let request =
            Request::post(format!("http://{to}/")).header("idempotency-key", "k2").body(Full::<Bytes>::default());
        let stream = TokioIo::new(TcpStream::connect(to).await.unwrap());
        crowd.spawn(async move {
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
            tokio::spawn(connection);
            sender.send_request(request.unwrap()).await.unwrap().status().as_u16()
        });
    }
    while let Some(status) = crowd.join_next().await {
        assert!(matches!(status.unwrap(), 200 | 409));
    }
}

#[tokio::test]
async fn head_tells_the_length_again_without_a_body() {
    let runs = Runs::default();
    let counted = runs.clone();
    let handler = move || async move { format!("run {}", counted.one()) };
    let policy = Policy::new().with_methods([Method::HEAD, Method::GET]);
    let to = serve(Router::new().route("/", any(handler)).layer(once(policy))).await;
    for replay in [false, true] {
        let reply = Ask::new("HEAD", "/").header("Idempotency-Key", "k").send(to).await;
        assert_eq!((reply.status, reply.is_replay(), reply.header("content-length")), (200, replay, Some("5")));
        assert_eq!(reply.body, b"");
    }
    let get = Ask::new("GET", "/").header("Idempotency-Key", "k").send(to).await;
    assert_eq!((get.text(), get.is_replay()), ("run 2".to_owned(), false), "another method is another operation");
}

/// Over HTTP/1.1 trailers come only after chunks, and only those that the head announces.
#[tokio::test]
async fn trailers_come_again_over_http_1_too() {
    let handler = |request: Request<Body>| async {
        let mut response = with_trailers(request).await;
        response.headers_mut().insert(header::TRAILER, HeaderValue::from_static("x-checksum"));
        response
    };
    let to = serve(Router::new().route("/", post(handler)).layer(once(Policy::new()))).await;
    for replay in [false, true] {
        let mut client = TcpStream::connect(to).await.unwrap();
        client.write_all(&Ask::post("/", "k", "a").header("TE", "trailers").bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(LONG, client.read_to_string(&mut answer)).await.expect("an end").unwrap();
        assert_eq!(answer.contains("idempotency-replayed: true"), replay, "{answer}");
        assert!(answer.ends_with("\r\n1\r\na\r\n0\r\nx-checksum: none\r\n\r\n"), "{answer}");
    }
}
