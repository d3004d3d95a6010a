//! Webhooks: signatures, keys, the books behind them, clean-up and statistics.

mod clean_up;
mod crashes;
mod crowd;
mod curl;
mod keys;
mod signatures;
mod statistics;

use std::fmt::{Display, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use idempotency::postgres::sqlx::PgPool;
use idempotency_examples::client::{Ask, Reply};
use idempotency_testkit::servers;
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::time::timeout;

use crate::support::{Program, Service, assert_problem};

/// What takes longer does not come.
const PATIENCE: Duration = Duration::from_secs(60);

const WEBHOOK: &str = "/api/v1/whatsapp/webhook";

/// With two sources.
const WEBHOOKS: Program = with(&["--secrets", "whatsapp=secret-1,shop=secret-2"]);

const fn with(options: &'static [&'static str]) -> Program {
    Program { path: env!("CARGO_BIN_EXE_webhooks"), options, provider: false }
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs().try_into().expect("a while yet")
}

/// A signature as a provider makes it.
fn signature(secret: &str, at: i64, body: &impl Display) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a secret");
    let mac = mac.chain_update(format!("{at}.{body}")).finalize().into_bytes();
    mac.iter().fold(format!("t={at},v1="), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A webhook, signed now.
fn signed(service: &Service, secret: &str, body: &Value) -> Ask {
    service.post(WEBHOOK, body).header("x-webhook-signature", signature(secret, now(), body))
}

/// Sends a webhook of the source `whatsapp`, signed now.
async fn send(service: &Service, key: Option<&str>, body: &Value) -> Reply {
    let ask = signed(service, "secret-1", body);
    let ask = match key {
        Some(key) => ask.header("x-idempotency-key", key),
        None => ask,
    };
    ask.send().await.expect("an answer")
}

/// An event that makes an order.
fn created(event: &str, order: &str) -> Value {
    json!({ "id": event, "type": "order.created", "order": { "id": order, "amount": 1999, "currency": "EUR" } })
}

fn said(reply: &Reply) -> Option<&str> {
    reply.header("idempotency-status")
}

/// The ledger's entries: source, event, order.
async fn ledger(service: &Service, database: Option<&PgPool>) -> Vec<(String, String, String)> {
    let Some(database) = database else {
        let entries: Vec<Value> = service.journal("ledger.jsonl");
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        return entries
            .iter()
            .map(|entry| (text(&entry["source"]), text(&entry["event"]), text(&entry["order"]["id"])))
            .collect();
    };
    let query = idempotency::postgres::sqlx::query_as("SELECT source, event, order_id FROM webhooks_ledger");
    query.fetch_all(database).await.expect("a ledger")
}

/// What comes in the end.
async fn in_the_end<T>(what: &str, comes: impl Future<Output = T>) -> T {
    timeout(PATIENCE, comes).await.unwrap_or_else(|_| panic!("waited {PATIENCE:?} for {what}"))
}

/// A database that nobody else uses, its URL and a way to it.
async fn database() -> (String, PgPool) {
    let url = servers::Postgres::shared().expect("a server").fresh_database().expect("a database");
    let pool = PgPool::connect(&url).await.expect("a connection");
    (url, pool)
}
