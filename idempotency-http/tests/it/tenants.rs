//! Another tenant's credential with a known key.

use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Json, Router};
use idempotency_http::server::{IdempotencyLayer, Policy};
use serde_json::json;

use crate::support::wire::Ask;
use crate::support::{Runs, memory, serve};

#[derive(Clone)]
struct Tenant(&'static str);

/// Knows two credentials.
async fn authenticated(mut request: Request, next: Next) -> Response {
    let credential = request.headers().get("authorization").and_then(|value| value.to_str().ok());
    let tenant = match credential {
        Some("Bearer alices") => Tenant("alice"),
        Some("Bearer bobs") => Tenant("bob"),
        _ => return StatusCode::UNAUTHORIZED.into_response(),
    };
    request.extensions_mut().insert(tenant);
    next.run(request).await
}

#[tokio::test]
async fn a_known_key_with_another_tenants_credential_gives_nothing_away() {
    let runs = Runs::default();
    let counted = runs.clone();
    let handler = move |Extension(Tenant(tenant)): Extension<Tenant>| async move {
        Json(json!({ "run": counted.one(), "secret_of": tenant }))
    };
    let policy = Policy::new().with_scope(|parts| Some(parts.extensions.get::<Tenant>()?.0.to_owned()));
    let once = IdempotencyLayer::new(memory()).with_policy(policy);
    let to = serve(Router::new().route("/", post(handler)).layer(once).layer(from_fn(authenticated))).await;
    let ask =
        |credential: &str| Ask::post("/", "known", "same").header("Authorization", format!("Bearer {credential}"));

    let alices = ask("alices").send(to).await;
    assert_eq!((alices.status, alices.run()), (200, 1));
    let bobs = ask("bobs").send(to).await;
    assert_eq!((bobs.said(), &bobs.json()["secret_of"]), (Some("recorded"), &json!("bob")), "bob's own, and new");
    for wrong in ["", "stolen", "alices "] {
        let refused = ask(wrong).header("X-Tenant", "alice").send(to).await;
        // The last one is alice's, with a space that HTTP does not count.
        assert_eq!(refused.status, if wrong == "alices " { 200 } else { 401 }, "{wrong}");
        assert_eq!(refused.is_replay(), wrong == "alices ");
    }
    assert_eq!(ask("alices").send(to).await.json(), alices.json());
    assert_eq!(runs.count(), 2);
}
