//! The store of keys is down, and what then: a real server, stopped or killed under the gateway.

#![cfg(unix)]

use idempotency_examples::audit::Done;
use idempotency_examples::client::Reply;
use idempotency_testkit::servers::{Postgres, PostgresServer, Redis, RedisServer};
use serde_json::{Value, json};

use super::{GATEWAY, PATH, assert_problem, done, id, in_time, pay, pay_in_the_end};
use crate::support::{Program, Service};

/// A server of the test's own.
enum Server {
    Redis(RedisServer),
    Postgres(PostgresServer),
}

impl Server {
    fn redis() -> Self {
        Self::Redis(Redis::new().own().start().expect("a server"))
    }

    fn postgres() -> Self {
        Self::Postgres(Postgres::new().own().start().expect("a server"))
    }

    fn url(&self) -> String {
        match self {
            Self::Redis(server) => server.url(),
            Self::Postgres(server) => server.url(),
        }
    }

    /// SIGSTOP: it takes requests, and does not answer.
    fn pause(&self) {
        match self {
            Self::Redis(server) => server.pause(),
            Self::Postgres(server) => server.pause(),
        }
        .expect("it is there");
    }

    fn resume(&self) {
        match self {
            Self::Redis(server) => server.resume(),
            Self::Postgres(server) => server.resume(),
        }
        .expect("it is there");
    }

    fn kill(&self) {
        match self {
            Self::Redis(server) => server.kill(),
            Self::Postgres(server) => server.kill(),
        }
        .expect("it is there");
    }

    fn restart(&self) {
        match self {
            Self::Redis(server) => server.restart(),
            Self::Postgres(server) => server.restart(),
        }
        .expect("it starts again");
    }
}

async fn readiness(gateway: &Service) -> (u16, Value) {
    let alive: Value = gateway.look("/health").await;
    assert_eq!(alive["status"], json!("alive"), "whatever is down, the process lives");
    let reply = gateway.get("/ready").send().await.expect("an answer");
    (reply.status.as_u16(), reply.json().expect("JSON"))
}

async fn until_ready(gateway: &Service) {
    in_time(async { while readiness(gateway).await.1["store"] != json!("reachable") {} }).await;
}

fn said(reply: &Reply) -> Option<&str> {
    reply.header("idempotency-status")
}

async fn closed_it_refuses(server: Server, down: fn(&Server), up: fn(&Server)) {
    let gateway = GATEWAY.start(Some(&server.url())).await;
    let before = pay(&gateway, "before", 5).await;
    assert_eq!((said(&before), readiness(&gateway).await.0), (Some("recorded"), 200));
    down(&server);
    for key in ["before", "k"] {
        let refused = pay(&gateway, key, 5).await;
        assert_problem(&refused, 503, "store-unavailable");
        assert!(refused.header("retry-after").is_some(), "{refused:?}");
    }
    let expected =
        json!({ "status": "not-ready", "store": "unreachable", "provider": "reachable", "payments": "refused" });
    assert_eq!(readiness(&gateway).await, (503, expected));
    assert_eq!(gateway.ledger().len(), 1, "nothing was done");
    up(&server);
    until_ready(&gateway).await;
    let paid = pay_in_the_end(&gateway, "k", 5).await;
    assert_eq!(said(&paid), Some("recorded"));
    assert_eq!(id(&pay(&gateway, "k", 5).await), id(&paid));
    assert_eq!(gateway.ledger().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn closed_it_refuses_while_redis_does_not_answer() {
    closed_it_refuses(Server::redis(), Server::pause, Server::resume).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn closed_it_refuses_while_postgres_is_gone() {
    closed_it_refuses(Server::postgres(), Server::kill, Server::restart).await;
}

/// The document's way: "Request succeeds but caching fails. On retry, may create duplicate." Here the answers say so,
/// and a provider that deduplicates on the downstream key, which does not come from the store, makes none.
async fn open_it_pays_without_protection(
    server: Server,
    options: &'static [&'static str],
    charges: usize,
    down: fn(&Server),
    up: fn(&Server),
) {
    let gateway = Program { path: PATH, options, provider: true }.start(Some(&server.url())).await;
    down(&server);
    let first = pay(&gateway, "k", 5).await;
    let again = pay(&gateway, "k", 5).await;
    assert_eq!((said(&first), said(&again)), (Some("unprotected"), Some("unprotected")));
    assert_eq!(id(&first) == id(&again), charges == 1);
    assert_eq!(gateway.ledger().len(), charges);
    assert_eq!(done(&gateway), vec![(Done::Unprotected, "201".to_owned()); 2]);
    let expected =
        json!({ "status": "ready", "store": "unreachable", "provider": "reachable", "payments": "unprotected" });
    assert_eq!(readiness(&gateway).await, (200, expected));
    up(&server);
    until_ready(&gateway).await;
    let other = pay_in_the_end(&gateway, "other", 5).await;
    assert_eq!(said(&other), Some("recorded"), "it is protected again");
}

#[tokio::test(flavor = "multi_thread")]
async fn open_it_pays_without_protection_while_redis_is_gone() {
    open_it_pays_without_protection(Server::redis(), &["--on-store-down", "open"], 1, Server::kill, Server::restart)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn open_it_pays_without_protection_while_postgres_does_not_answer() {
    open_it_pays_without_protection(Server::postgres(), &["--on-store-down", "open"], 1, Server::pause, Server::resume)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn open_it_may_pay_twice_where_the_provider_does_not_deduplicate() {
    let options = &["--on-store-down", "open", "--no-dedup"];
    open_it_pays_without_protection(Server::redis(), options, 2, Server::kill, Server::restart).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_gone_is_told_and_frees_the_key() {
    let mut gateway = GATEWAY.start(None).await;
    assert_eq!(readiness(&gateway).await.0, 200);
    gateway.kill_provider().await;
    let refused = pay(&gateway, "k", 5).await;
    assert_problem(&refused, 503, "provider-unavailable");
    assert_eq!(said(&refused), Some("freed"));
    let (status, body) = readiness(&gateway).await;
    assert_eq!((status, &body["provider"]), (503, &json!("unreachable")));
}
