//! Handlers that outlive their clients.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::routing::post;
use axum::{Extension, Json, Router};
use idempotency::Attempt;
use idempotency_http::server::{IdempotencyLayer, Policy};
use idempotency_testkit::processes::Random;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::support::wire::{Ask, LONG};
use crate::support::{Runs, memory, serve};

const CLIENTS: usize = 2_000;
const KEYS: usize = 500;

/// 2,000 clients on 500 keys, most of which hang up: before the head is whole, within the body, while the
/// handler runs, or as the answer comes. Each key has one effect, and every retry its answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_hang_up_at_random_leave_one_effect_a_key() {
    let effects: Arc<Mutex<HashMap<String, u64>>> = Arc::default();
    let recorded = effects.clone();
    let runs = Runs::default();
    let counted = runs.clone();
    let handler = move |Extension(attempt): Extension<Attempt>, body: Bytes| async move {
        let key = attempt.key().id_parts().next().unwrap();
        // Within the handler, so that a client that hangs up now hangs up on a charge half-way.
        tokio::time::sleep(Duration::from_millis(u64::from(body[0]) % 20)).await;
        *recorded.lock().unwrap().entry(key.clone()).or_default() += 1;
        Json(json!({ "run": counted.one(), "key": key }))
    };
    let layer = IdempotencyLayer::new(memory()).with_policy(Policy::new().with_wait(LONG).unwrap());
    let to = serve(Router::new().route("/", post(handler)).layer(layer.clone())).await;

    let body = |key: usize| format!("{}{key:04}", char::from(u8::try_from(33 + key % 90).unwrap())).repeat(50);
    let ask = move |key: usize| Ask::post("/", &format!("key-{key}"), body(key));
    // As many at once as a test may have open files.
    let at_once = Arc::new(Semaphore::new(200));
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let at_once = at_once.clone();
        clients.spawn(async move {
            let _one = at_once.acquire().await.unwrap();
            let mut random = Random::new(client as u64);
            let bytes = ask(client % KEYS).bytes();
            let mut stream = TcpStream::connect(to).await.unwrap();
            let sent = if random.below(2) == 0 { bytes.len() } else { random.below(bytes.len() as u64) as usize };
            stream.write_all(&bytes[..sent]).await.unwrap();
            // Hangs up after anything from at once to longer than a handler takes.
            let mut answer = [0; 16];
            let patience = Duration::from_millis(random.below(30));
            let _ = tokio::time::timeout(patience, tokio::io::AsyncReadExt::read(&mut stream, &mut answer)).await;
        });
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }

    let mut answers = Vec::new();
    for round in 0..2 {
        for key in 0..KEYS {
            let reply = ask(key).send(to).await;
            assert_eq!(reply.status, 200, "{reply:?}");
            assert_eq!(reply.json()["key"], format!("key-{key}"));
            if round == 0 {
                answers.push(reply.json());
            } else {
                assert!(reply.is_replay(), "{reply:?}");
                assert_eq!(reply.json(), answers[key], "the answer changed");
            }
        }
    }
    assert!(layer.drain(LONG).await.is_ok());
    let effects = effects.lock().unwrap();
    assert_eq!(effects.len(), KEYS);
    assert!(effects.values().all(|effects| *effects == 1), "{effects:?}");
    assert_eq!(runs.count(), KEYS as u64);
}

/// A handler that waits until it is told.
fn held() -> (Arc<Semaphore>, Arc<Semaphore>, Router, IdempotencyLayer) {
    let (begun, go) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (tell, wait) = (begun.clone(), go.clone());
    let runs = Runs::default();
    let handler = move || async move {
        tell.add_permits(1);
        wait.acquire().await.unwrap().forget();
        Json(json!({ "run": runs.one() }))
    };
    let layer = IdempotencyLayer::new(memory());
    (begun, go, Router::new().route("/", post(handler)).layer(layer.clone()), layer)
}

#[tokio::test]
async fn a_shutdown_waits_for_handlers_whose_clients_have_gone() {
    let (begun, go, router, layer) = held();
    let to = serve(router).await;
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.write_all(&Ask::post("/", "k", "a").bytes()).await.unwrap();
    begun.acquire().await.unwrap().forget();
    drop(stream);
    let short = Duration::from_millis(20);
    assert_eq!(layer.drain(short).await.unwrap_err().tasks, 1);
    let draining = tokio::spawn({
        let layer = layer.clone();
        async move { layer.drain(LONG).await }
    });
    go.add_permits(1);
    draining.await.unwrap().unwrap();
    let again = Ask::post("/", "k", "a").send(to).await;
    assert!(again.is_replay() && again.run() == 1, "{again:?}");
}
