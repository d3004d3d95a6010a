//! A payment gateway for several tenants, whose clients may retry: see `examples/gateway.md`.

mod health;
mod payment;
mod service;
mod tenants;

use std::net::SocketAddr;
use std::process::ExitCode;

use idempotency_examples::app::{self, About};

const ABOUT: About = About {
    name: "gateway",
    does: "a payment gateway for several tenants; a header makes a retry safe",
    options: &[
        ("on-store-down", "closed: while the store of keys is down, nothing runs (default); open: without protection"),
        ("cleanup-at", "when expired keys are removed each day, in UTC (default: 03:00)"),
        ("tenants", "a file of API keys: {\"SHA-256 of a key, in hex\": \"tenant\", …} (default: two for trying it)"),
    ],
    provider: true,
    to_try,
};

#[tokio::main]
async fn main() -> ExitCode {
    app::run(ABOUT, service::start).await
}

fn to_try(address: SocketAddr) -> String {
    format!(
        "\
curl -i http://{address}/api/v1/payments -H 'Idempotency-Key: 550e8400' \\
  -H 'x-api-key: tenant_abc123' -H 'x-tenant-id: my-tenant' -H 'Content-Type: application/json' \\
  -d '{{\"amount\": 1000, \"currency\": \"UGX\", \"payer\": \"260700000000\"}}'

Send it again: the same payment, with `idempotency-replayed: true`. Then with another amount, or without
x-tenant-id and with the API key of another tenant, tenant_def456: a payment of its own.

curl http://{address}/ready
curl http://{address}/openapi.json"
    )
}
