//! Request bodies that come slowly, are too large, broken or withheld.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use axum::{Json, http::HeaderMap};
use idempotency_http::server::{IdempotencyLayer, Policy};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::wire::{Ask, LONG, exchange, read};
use crate::support::{Runs, memory, serve};

async fn started(policy: Policy) -> (SocketAddr, Runs) {
    let runs = Runs::default();
    let counted = runs.clone();
    let handler = move |headers: HeaderMap, body: Bytes| async move {
        Json(json!({ "run": counted.one(), "length": body.len(), "expect": headers.contains_key("expect") }))
    };
    let layer = IdempotencyLayer::new(memory()).with_policy(policy);
    (serve(Router::new().route("/", post(handler)).layer(layer)).await, runs)
}

fn head(more: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nHost: test\r\nConnection: close\r\nIdempotency-Key: k\r\n{more}\r\n").into_bytes()
}

#[tokio::test]
async fn a_slow_body_has_a_time_limit_and_runs_nothing() {
    let (to, runs) = started(Policy::new().with_request_time(Duration::from_millis(200))).await;
    for framing in ["Content-Length: 100\r\n", "Transfer-Encoding: chunked\r\n"] {
        let mut stream = TcpStream::connect(to).await.unwrap();
        stream.write_all(&head(framing)).await.unwrap();
        let (mut reading, mut writing) = stream.into_split();
        // A byte now and then, for as long as the server takes them: each would restart a limit per read.
        let dripping = tokio::spawn(async move {
            let drop: &[u8] = if framing.starts_with('C') { b"x" } else { b"1\r\nx\r\n" };
            while writing.write_all(drop).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        let mut answer = Vec::new();
        let mut piece = [0; 4096];
        while let Ok(count @ 1..) = timeout(LONG, reading.read(&mut piece)).await.expect("an answer") {
            answer.extend_from_slice(&piece[..count]);
        }
        dripping.abort();
        crate::support::wire::Reply::parse(&answer).assert_problem(408, "body-too-slow");
    }
    assert_eq!(runs.count(), 0);
    assert_eq!(Ask::post("/", "k", "a").send(to).await.run(), 1, "the key is as good as new");
}

#[tokio::test]
async fn a_body_of_100_mb_is_refused_without_being_held() {
    const SIZE: usize = 100 * 1024 * 1024;
    let (to, runs) = started(Policy::new()).await;
    // Told by its length: refused before a byte of it is sent.
    exchange(to, &head(&format!("Content-Length: {SIZE}\r\n"))).await.assert_problem(413, "body-too-large");
    // Chunked: refused once it is over the limit; the server does not take the rest.
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.write_all(&head("Transfer-Encoding: chunked\r\n")).await.unwrap();
    let chunk = [b"10000\r\n".as_slice(), &[b'x'; 0x10000], b"\r\n"].concat();
    let mut sent = 0;
    while sent < SIZE && matches!(timeout(Duration::from_secs(5), stream.write_all(&chunk)).await, Ok(Ok(()))) {
        sent += 0x10000;
    }
    assert!(sent < SIZE, "all of it was taken");
    assert_eq!(runs.count(), 0);
}

#[tokio::test]
async fn a_chunked_body_over_the_limit_is_answered_413() {
    let (to, runs) = started(Policy::new().with_request_limit(10)).await;
    let body = b"8\r\n12345678\r\n3\r\n901\r\n0\r\n\r\n";
    let bytes = [head("Transfer-Encoding: chunked\r\n"), body.to_vec()].concat();
    exchange(to, &bytes).await.assert_problem(413, "body-too-large");
    let body = b"8\r\n12345678\r\n2\r\n90\r\n0\r\n\r\n";
    let reply = exchange(to, &[head("Transfer-Encoding: chunked\r\n"), body.to_vec()].concat()).await;
    assert_eq!((reply.json()["length"].clone(), runs.count()), (json!(10), 1));
}

#[tokio::test]
async fn invalid_chunking_and_a_body_that_breaks_off_run_nothing() {
    let (to, runs) = started(Policy::new()).await;
    for body in ["zz\r\nabc\r\n", "-1\r\n\r\n", "3\r\nabcdef\r\n0\r\n\r\n", "ffffffffffffffffff\r\nx\r\n"] {
        let bytes = [head("Transfer-Encoding: chunked\r\n"), body.as_bytes().to_vec()].concat();
        let mut stream = TcpStream::connect(to).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        let mut answer = Vec::new();
        timeout(LONG, stream.read_to_end(&mut answer)).await.expect("an end").ok();
        if !answer.is_empty() {
            assert_eq!(crate::support::wire::Reply::parse(&answer).status, 400, "{body}");
        }
    }
    // Half a body, and the client closes its side.
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.write_all(&head("Content-Length: 100\r\n")).await.unwrap();
    stream.write_all(b"half").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    timeout(LONG, stream.read_to_end(&mut answer)).await.expect("an end").ok();
    assert_eq!(runs.count(), 0);
    assert_eq!(Ask::post("/", "k", "a").send(to).await.run(), 1, "the key is as good as new");
}

/// `Expect: 100-continue`: the body is asked for only where it is wanted.
#[tokio::test]
async fn a_body_is_asked_for_only_where_it_is_wanted() {
    let (to, runs) = started(Policy::new().with_request_limit(10)).await;
    for (more, status) in [("Content-Length: 11\r\n", 413), ("Idempotency-Key: other\r\nContent-Length: 5\r\n", 400)] {
        let mut stream = TcpStream::connect(to).await.unwrap();
        stream.write_all(&head(&format!("Expect: 100-continue\r\n{more}"))).await.unwrap();
        let mut answer = Vec::new();
        timeout(LONG, stream.read_to_end(&mut answer)).await.expect("an answer").ok();
        assert!(answer.starts_with(format!("HTTP/1.1 {status}").as_bytes()), "{}", String::from_utf8_lossy(&answer));
    }
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.write_all(&head("Expect: 100-continue\r\nContent-Length: 5\r\n")).await.unwrap();
    let mut go_on = [0; 25];
    timeout(LONG, stream.read_exact(&mut go_on)).await.expect("to be asked for it").unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"hello").await.unwrap();
    let reply = read(&mut stream).await;
    assert_eq!((reply.run(), reply.said(), runs.count()), (1, Some("recorded"), 1));
}

/// 10,000 headers' worth of keys.
#[tokio::test]
async fn a_head_full_of_keys_is_answered() {
    let (to, runs) = started(Policy::new()).await;
    let different: String = (0..90).map(|n| format!("Idempotency-Key: key-{n}\r\n")).collect();
    exchange(to, &head(&different)).await.assert_problem(400, "bad-key");
    let same = "Idempotency-Key: k\r\n".repeat(90);
    assert_eq!(exchange(to, &head(&same)).await.run(), 1);
    let list = format!("Idempotency-Key: {}\r\n", vec!["k"; 10_000].join(", "));
    assert!(exchange(to, &head(&list)).await.is_replay());
    let lists = format!("Idempotency-Key: {}\r\n", (0..10_000).map(|n| n.to_string()).collect::<Vec<_>>().join(","));
    exchange(to, &head(&lists)).await.assert_problem(400, "bad-key");
    // More lines than the server reads: it says so itself.
    let lines = exchange(to, &head(&"Idempotency-Key: k\r\n".repeat(10_000))).await;
    assert!((400..500).contains(&lines.status), "{lines:?}");
    assert_eq!(runs.count(), 1);
}
