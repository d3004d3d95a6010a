//! Whether it lives, and whether it can work.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use idempotency::Key;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::service::{App, Gateway, OnStoreDown};

/// A store or provider that takes longer is of no use to a payer.
const LIMIT: Duration = Duration::from_secs(1);

/// `GET /health`: the process lives. It asks nobody else, so that a store that is down gets no process restarted.
pub(crate) async fn health(State(app): State<App>) -> Json<Value> {
    Json(json!({ "status": "alive", "warning": app.weakness }))
}

/// `GET /ready`: what it needs to work answers.
pub(crate) async fn ready(State(app): State<App>) -> (StatusCode, Json<Value>) {
    let (store, provider) = tokio::join!(app.store_answers(), app.provider_answers());
    // Failing open, it works without the store, and must get its requests.
    let ready = provider && (store || app.on_store_down == OnStoreDown::Open);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let word = |answers| if answers { "reachable" } else { "unreachable" };
    let body = json!({
        "status": if ready { "ready" } else { "not-ready" },
        "store": word(store),
        "provider": word(provider),
        "payments": if store { "protected" } else if ready { "unprotected" } else { "refused" },
    });
    (status, Json(body))
}

impl Gateway {
    async fn store_answers(&self) -> bool {
        let Ok(key) = Key::new("gateway:ready", "probe").build() else { return false };
        match timeout(LIMIT, self.idempotency.status(&key)).await {
            Ok(Ok(_)) => true,
            Ok(Err(error)) => {
                tracing::warn!(%error, "the store of keys does not answer");
                false
            }
            Err(_) => {
                tracing::warn!("the store of keys does not answer within {LIMIT:?}");
                false
            }
        }
    }

    async fn provider_answers(&self) -> bool {
        match timeout(LIMIT, self.provider.transaction("probe")).await {
            Ok(Ok(_)) => true,
            Ok(Err(error)) => {
                tracing::warn!(%error, "the payment provider does not answer");
                false
            }
            Err(_) => {
                tracing::warn!("the payment provider does not answer within {LIMIT:?}");
                false
            }
        }
    }
}
