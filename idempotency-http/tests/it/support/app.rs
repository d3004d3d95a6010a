//! The service that the table is run against: one route a setting.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, any};
use axum::{Extension, Json, Router};
use idempotency::{Fingerprint, Idempotency, OnUnknown};
use idempotency_http::header::Reading;
use idempotency_http::server::{
    BodyForm, Finality, IdempotencyLayer, Missing, Policy, Replay, ReplayedHeaders, json_field,
};
use serde_json::{Value, json};

use super::Runs;

pub(crate) fn router(idempotency: &Idempotency, runs: &Runs) -> Router {
    let echo = || {
        let runs = runs.clone();
        any(move |body: Bytes| echo(runs, body))
    };
    let under = |policy: Policy, route: MethodRouter| {
        route.layer(IdempotencyLayer::new(idempotency.clone()).with_policy(policy))
    };
    let new = templated;
    let named = |names: &[&'static str]| new().with_header_names(names.iter().copied()).unwrap();
    let (by_status, by_extension, big, cookies) = (runs.clone(), runs.clone(), runs.clone(), runs.clone());
    let status = move |runs: Runs| any(move |Path(code): Path<u16>| answer(runs, code));
    let tenant = |parts: &axum::http::request::Parts| parts.headers.get("x-tenant")?.to_str().ok().map(str::to_owned);
    let amount = |_: &axum::http::request::Parts, body: &Bytes| {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        Fingerprint::of(&body["amount"]).unwrap()
    };
    Router::new()
        .route("/echo", under(new(), echo()))
        .route("/echo/{id}", under(new(), echo()))
        .route("/also", under(new(), echo()))
        .route("/strict", under(new().with_reading(Reading::Strict), echo()))
        .route("/optional", under(new().with_missing(Missing::Passed), echo()))
        .route("/derived", under(new().with_missing(Missing::Derived), echo()))
        .route("/field", under(new().with_key_from(json_field("/event/id")), echo()))
        .route(
            "/field-optional",
            under(new().with_key_from(json_field("/event/id")).with_missing(Missing::Passed), echo()),
        )
        .route("/format", under(new().with_key_format("a UUID", is_uuid), echo()))
        .route("/x", under(named(&["x-idempotency-key"]), echo()))
        .route("/two-names", under(named(&["idempotency-key", "x-idempotency-key"]), echo()))
        .route("/off", under(new().with_enabled(false), echo()))
        .route("/put", under(new().with_methods([axum::http::Method::PUT, axum::http::Method::DELETE]), echo()))
        .route("/scoped", under(new().with_scope(tenant), echo()))
        .route("/json", under(new().with_body_form(BodyForm::Json), echo()))
        .route("/header", under(new().with_fingerprinted_headers([HeaderName::from_static("x-account")]), echo()))
        .route("/fields", under(new().with_fingerprint(amount), echo()))
        .route("/small", under(new().with_request_limit(16), echo()))
        .route("/status/{code}", under(new(), status(by_status.clone())))
        .route("/refuse/{code}", under(new().with_on_unknown(OnUnknown::Refuse), status(by_status.clone())))
        .route("/all-final/{code}", under(new().with_finality(|_| Finality::Final), status(by_status)))
        .route("/says/{finality}", under(new(), any(move |Path(says): Path<String>| said(by_extension, says))))
        .route(
            "/big/{bytes}",
            under(new().with_response_limit(1024), any(move |Path(bytes): Path<usize>| sized(big, bytes))),
        )
        .route(
            "/cookies",
            under(
                new(),
                any({
                    let runs = cookies.clone();
                    move || cookie(runs)
                }),
            ),
        )
        .route(
            "/only-location",
            under(
                new().with_replayed_headers(ReplayedHeaders::Only(vec![header::LOCATION])),
                any(move || cookie(cookies)),
            ),
        )
        .route("/rewritten", under(new().with_replay(is_retry), echo()))
        .route("/short", under(new().with_retention(Duration::from_secs(90)).unwrap(), echo()))
}

/// The default policy, which takes the route's template from axum's router.
#[cfg(feature = "axum")]
pub(crate) fn templated() -> Policy {
    Policy::new()
}

/// Without the feature `axum` it is told where to find it.
#[cfg(not(feature = "axum"))]
pub(crate) fn templated() -> Policy {
    let template = |parts: &axum::http::request::Parts| {
        parts.extensions.get().map(axum::extract::MatchedPath::as_str).map(str::to_owned)
    };
    Policy::new().with_template(template)
}

async fn echo(runs: Runs, body: Bytes) -> Json<Value> {
    Json(json!({ "run": runs.one(), "body": String::from_utf8_lossy(&body) }))
}

async fn answer(runs: Runs, code: u16) -> Response {
    (StatusCode::from_u16(code).unwrap(), Json(json!({ "run": runs.one() }))).into_response()
}

async fn said(runs: Runs, says: String) -> Response {
    let (status, finality) = match says.as_str() {
        "free" => (200, Finality::Free),
        "fact" => (200, Finality::FactOnly),
        "unknown" => (200, Finality::Unknown),
        _ => (500, Finality::Final),
    };
    (StatusCode::from_u16(status).unwrap(), Extension(finality), Json(json!({ "run": runs.one() }))).into_response()
}

async fn sized(runs: Runs, bytes: usize) -> Body {
    runs.one();
    Body::from("x".repeat(bytes))
}

async fn cookie(runs: Runs) -> Response {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("set-cookie", "session=1"),
        ("set-cookie", "other=2"),
        ("location", "/made/1"),
        ("x-own", "kept"),
        ("keep-alive", "timeout=5"),
        ("etag", "\"v1\""),
    ] {
        headers.append(HeaderName::from_static(name), value.parse().unwrap());
    }
    (StatusCode::CREATED, headers, Json(json!({ "run": runs.one() }))).into_response()
}

fn is_uuid(key: &str) -> bool {
    let groups: Vec<&str> = key.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && groups.iter().all(|group| group.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn is_retry(replay: Replay<'_>) {
    let mut body: Value = serde_json::from_slice(replay.response.body()).unwrap();
    body["isRetry"] = true.into();
    body["attempt"] = replay.origin.attempt.into();
    *replay.response.body_mut() = body.to_string().into();
}
