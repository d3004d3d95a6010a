//! Webhooks of which each takes effect once, though their providers send them again; see `examples/webhooks.md`.

mod books;
mod clean_up;
mod event;
mod service;
mod settings;
mod signature;
mod statistics;

use std::net::SocketAddr;
use std::process::ExitCode;

use idempotency_examples::app::{self, About};

#[tokio::main]
async fn main() -> ExitCode {
    let about = About {
        name: "webhooks",
        does: "takes webhooks, of which each has its effect once",
        options: settings::OPTIONS,
        provider: false,
        to_try,
    };
    app::run(about, service::start).await
}

fn to_try(address: SocketAddr) -> String {
    format!(
        r#"signed as its provider does, twice; the second answer says that it was given before:

  body='{{"id":"evt_1","type":"order.created","order":{{"id":"ord_1","amount":1999,"currency":"EUR"}}}}'
  at=$(date +%s)
  v1=$(printf '%s.%s' "$at" "$body" | openssl dgst -sha256 -hmac demo-secret | sed 's/^.* //')
  curl -i http://{address}/api/v1/whatsapp/webhook \
    -H 'X-Idempotency-Key: test-key-123' -H "X-Webhook-Signature: t=$at,v1=$v1" -d "$body"

  curl http://{address}/api/v1/whatsapp/test
  curl http://{address}/api/v1/webhooks/statistics
  curl http://{address}/api/v1/webhooks/cleanup"#
    )
}
