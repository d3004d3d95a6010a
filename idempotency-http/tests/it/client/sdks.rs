//! Clients that were not written here, and that send the header themselves when they try again.

mod installed;

use std::sync::Arc;

use axum::routing::post;
use axum::{Json, Router};
use idempotency_http::server::IdempotencyLayer;
use idempotency_testkit::proxy::{Direction, Proxy};
use serde_json::json;
use tokio::process::Command;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use self::installed::{node, python};
use super::{Log, until};
use crate::support::wire::LONG;
use crate::support::{Runs, memory};

/// How an SDK is run: its command, without the server's address.
type Sdk = fn() -> Command;

fn stripe_python() -> Command {
    python(include_str!("sdks/stripe_python.py"))
}

fn modern_treasury_python() -> Command {
    python(include_str!("sdks/modern_treasury_python.py"))
}

fn stripe_node() -> Command {
    node(include_str!("sdks/stripe_node.mjs"))
}

/// Runs it to its end, and gives the id that it was answered.
async fn created(mut command: Command) -> String {
    command.kill_on_drop(true).env_remove("HTTP_PROXY").env_remove("http_proxy").env("NO_PROXY", "127.0.0.1");
    let output = timeout(LONG, command.output()).await.expect("its end").unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

struct Service {
    proxy: Proxy,
    log: Log,
    runs: Runs,
    go: Arc<Semaphore>,
}

impl Service {
    /// The two routes that the SDKs know. Its handlers wait to be let go.
    async fn start() -> Self {
        let (runs, go) = (Runs::default(), Arc::new(Semaphore::new(0)));
        let (counted, gate) = (runs.clone(), go.clone());
        let create = move || async move {
            let _pass = gate.acquire().await.unwrap();
            Json(json!({ "id": format!("made_{}", counted.one()), "object": "payment_intent" }))
        };
        let router = Router::new()
            .route("/v1/payment_intents", post(create.clone()))
            .route("/api/counterparties", post(create))
            .layer(IdempotencyLayer::new(memory()));
        let (to, log) = Log::serve(router, "idempotency-key").await;
        Self { proxy: Proxy::start(to).unwrap(), log, runs, go }
    }

    fn url(&self) -> String {
        format!("http://{}", self.proxy.address())
    }
}

/// The answer is lost: the SDK asks again with the key that it made, and gets the first answer.
async fn asks_again_for_a_lost_answer(sdk: Sdk) {
    let command = tokio::task::spawn_blocking(sdk).await.unwrap();
    let service = Service::start().await;
    service.go.add_permits(1);
    service.proxy.cut_after(Direction::ToClient, 0);
    let mut command = command;
    command.arg(service.url());
    assert_eq!(created(command).await, "made_1");
    assert!(!service.log.one_key_of(2).is_empty());
    assert_eq!(service.runs.count(), 1);
}

/// Two of them have one key: the second is told 409, asks again, and gets the first one's answer.
async fn waits_for_a_duplicate(sdk: Sdk) {
    let (mut one, mut two) = tokio::task::spawn_blocking(move || (sdk(), sdk())).await.unwrap();
    let service = Service::start().await;
    one.args([&service.url(), "order-42"]);
    two.args([&service.url(), "order-42"]);
    let (one, two) = (tokio::spawn(created(one)), tokio::spawn(created(two)));
    until(|| service.log.statuses().contains(&Some(409))).await;
    service.go.add_permits(1);
    assert_eq!((one.await.unwrap(), two.await.unwrap()), ("made_1".to_owned(), "made_1".to_owned()));
    assert_eq!(service.log.one_key_of(service.log.all().len()), "order-42");
    assert_eq!(service.runs.count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stripes_python_sdk_asks_again_for_a_lost_answer() {
    asks_again_for_a_lost_answer(stripe_python).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stripes_python_sdk_waits_for_a_duplicate() {
    waits_for_a_duplicate(stripe_python).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stripes_node_sdk_asks_again_for_a_lost_answer() {
    asks_again_for_a_lost_answer(stripe_node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stripes_node_sdk_waits_for_a_duplicate() {
    waits_for_a_duplicate(stripe_node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn modern_treasurys_python_sdk_asks_again_for_a_lost_answer() {
    asks_again_for_a_lost_answer(modern_treasury_python).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn modern_treasurys_python_sdk_waits_for_a_duplicate() {
    waits_for_a_duplicate(modern_treasury_python).await;
}
