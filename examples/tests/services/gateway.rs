//! The gateway: its document's scenarios, those it forgot, and what its ledger and its audit log say of them.

mod audit;
mod clients;
mod crowd;
mod description;
mod requests;
mod store_down;

use std::time::Duration;

use idempotency_examples::audit::{Done, Entry};
use idempotency_examples::client::{Ask, Reply};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::support::{Program, Service, assert_problem};

const PATH: &str = env!("CARGO_BIN_EXE_gateway");
const GATEWAY: Program = Program { path: PATH, options: &[], provider: true };
const PAYMENTS: &str = "/api/v1/payments";
const API_KEY: &str = "tenant_abc123";
const OTHER_API_KEY: &str = "tenant_def456";

fn payment(amount: u64) -> Value {
    json!({ "amount": amount, "currency": "UGX", "payer": "260700000000" })
}

fn asks(gateway: &Service, api_key: &str, body: &Value) -> Ask {
    gateway.post(PAYMENTS, body).header("x-api-key", api_key)
}

async fn pay(gateway: &Service, key: &str, amount: u64) -> Reply {
    asks(gateway, API_KEY, &payment(amount)).header("idempotency-key", key).send().await.expect("an answer")
}

/// Waits for what comes at once, if it comes: what never does fails its test.
async fn in_time<T>(awaited: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(30), awaited).await.expect("it comes within half a minute")
}

/// Asks until there is an answer that does not say to ask again.
async fn pay_in_the_end(gateway: &Service, key: &str, amount: u64) -> Reply {
    let paid = async {
        loop {
            let reply = pay(gateway, key, amount).await;
            if reply.header("retry-after").is_none() {
                return reply;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    in_time(paid).await
}

fn id(reply: &Reply) -> String {
    assert_eq!(reply.status, 201, "{reply:?}");
    reply.json::<Value>().expect("JSON")["payment_id"].as_str().expect("an id").to_owned()
}

fn is_replay(reply: &Reply) -> bool {
    reply.header("idempotency-replayed") == Some("true")
}

fn audit(gateway: &Service) -> Vec<Entry> {
    gateway.journal("audit.jsonl")
}

/// The same without what was only begun.
fn ended(gateway: &Service) -> Vec<Entry> {
    audit(gateway).into_iter().filter(|entry| entry.done != Done::Begun).collect()
}

/// What was done, as the audit log has it.
fn done(gateway: &Service) -> Vec<(Done, String)> {
    ended(gateway).into_iter().map(|entry| (entry.done, entry.outcome)).collect()
}
