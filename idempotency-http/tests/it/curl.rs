//! curl, which was not written here.

use std::path::Path;

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use idempotency_http::server::IdempotencyLayer;
use serde_json::json;
use tokio::process::Command;

use crate::support::wire::Reply;
use crate::support::{Runs, memory, serve};

async fn curl(arguments: &[&str]) -> Reply {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--include", "--max-time", "60"]).args(arguments);
    let output = command.output().await.expect("curl, which this test drives: install it");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Reply::parse(&output.stdout)
}

#[tokio::test]
async fn curl_gets_its_first_answer_again() {
    let runs = Runs::default();
    let handler = move |body: Bytes| async move { axum::Json(json!({ "run": runs.one(), "length": body.len() })) };
    let to = serve(Router::new().route("/pay", post(handler)).layer(IdempotencyLayer::new(memory()))).await;
    let url = format!("http://{to}/pay");
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, size: usize| {
        let path = folder.path().join(name);
        std::fs::write(&path, "x".repeat(size)).unwrap();
        format!("@{}", Path::new(&path).display())
    };
    // Over 1 MiB, curl itself sends `Expect: 100-continue`.
    let (small, large) = (file("small", 500_000), file("large", 2_000_000));

    let key = "Idempotency-Key: 8e03978e-40d5-43e8-bc93-6894a57f9324";
    let quoted = "Idempotency-Key: \"8e03978e-40d5-43e8-bc93-6894a57f9324\"";
    let first = curl(&["-X", "POST", &url, "-H", key, "-d", "amount=5"]).await;
    assert_eq!((first.status, first.said(), first.run()), (200, Some("recorded"), 1));
    for arguments in [
        &["-X", "POST", &url, "-H", quoted, "-d", "amount=5"][..],
        &["-X", "POST", &url, "-H", quoted, "-d", "amount=5", "-H", "Expect: 100-continue"],
        &["-X", "POST", &url, "-H", key, "-H", quoted, "-d", "amount=5"],
        &["-X", "POST", &url, "-H", key, "-d", "amount=5", "-H", "Transfer-Encoding: chunked"],
        &["-X", "POST", &url, "-H", key, "-d", "amount=5", "--http1.0"],
    ] {
        let again = curl(arguments).await;
        assert!(again.is_replay() && again.run() == 1, "{arguments:?}: {again:?}");
    }
    curl(&["-X", "POST", &url, "-H", key, "-d", "amount=6"]).await.assert_problem(422, "key-reused");
    curl(&["-X", "POST", &url, "-d", "amount=6"]).await.assert_problem(400, "key-missing");
    curl(&["-X", "POST", &url, "-H", "Idempotency-Key;", "-d", "a"]).await.assert_problem(400, "bad-key");

    let uploaded = curl(&["-X", "POST", &url, "-H", "Idempotency-Key: up", "--data-binary", &small]).await;
    assert_eq!(uploaded.json(), json!({ "run": 2, "length": 500_000 }));
    let refused = curl(&["-X", "POST", &url, "-H", "Idempotency-Key: up2", "--data-binary", &large]).await;
    refused.assert_problem(413, "body-too-large");
}

#[tokio::test]
async fn curl_gets_it_over_http_2_too() {
    let runs = Runs::default();
    let handler = move || async move { axum::Json(json!({ "run": runs.one() })) };
    let to = serve(Router::new().route("/pay", post(handler)).layer(IdempotencyLayer::new(memory()))).await;
    let url = format!("http://{to}/pay");
    for replay in [false, true] {
        let reply = curl(&["--http2-prior-knowledge", "-X", "POST", &url, "-H", "Idempotency-Key: k", "-d", "a"]).await;
        assert_eq!((reply.is_replay(), reply.run()), (replay, 1), "{reply:?}");
    }
}
