//! The page that publishes a policy.

use std::convert::Infallible;
use std::fmt::Write;
use std::future::{Ready, ready};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use idempotency_core::Idempotency;
use serde_json::{Value, json};
use tower_service::Service;

use super::identity::Missing;
use super::policy::Policy;
use crate::header::{LONGEST_KEY, Reading};
use crate::problem::ProblemKind;

/// The page that publishes what holds for keys, as HTML, or as JSON for who asks for that
/// (`Accept: application/json`): a duty of the draft (section 2.5.2).
///
/// A tower service for GET and HEAD. With the feature `axum`, `PolicyPage::into_router` puts it where the
/// answers link to.
#[derive(Clone, Debug)]
#[must_use = "a page is seen once it is served"]
pub struct PolicyPage {
    retention: Duration,
    url: Option<String>,
    policies: Vec<Value>,
    html: Bytes,
    json: Bytes,
}

impl PolicyPage {
    /// A page without a policy yet, for a handle's retention.
    pub fn new(idempotency: &Idempotency) -> Self {
        let page = Self {
            retention: idempotency.retention(),
            url: None,
            policies: Vec::new(),
            html: Bytes::new(),
            json: Bytes::new(),
        };
        page.written()
    }

    /// Adds a policy, and the routes that it holds for (`"POST /payments"`).
    pub fn with_policy<'a>(mut self, routes: impl IntoIterator<Item = &'a str>, policy: &Policy) -> Self {
        let routes: Vec<&str> = routes.into_iter().collect();
        self.policies.push(described(&routes, policy, self.retention));
        self.url.get_or_insert_with(|| policy.answers.policy_url.clone());
        self.written()
    }

    /// A router that has the page where the first policy's answers link to, by the link's path.
    #[cfg(feature = "axum")]
    pub fn into_router<S: Clone + Send + Sync + 'static>(self) -> axum::Router<S> {
        let url = self.url.clone().unwrap_or_else(|| super::policy::DEFAULT_POLICY_URL.to_owned());
        let path = url.parse::<http::Uri>().map_or_else(|_| url, |uri| uri.path().to_owned());
        // The path is one, whatever older patterns it may look like.
        axum::Router::new().without_v07_checks().route_service(&path, self)
    }

    fn written(mut self) -> Self {
        self.json = Bytes::from(json!({ "policies": self.policies }).to_string());
        self.html = Bytes::from(html(&self.policies));
        self
    }
}

fn described(routes: &[&str], policy: &Policy, retention: Duration) -> Value {
    let identity = &policy.identity;
    let names: Vec<&str> = identity.names.iter().map(http::HeaderName::as_str).collect();
    let format = identity
        .format
        .as_ref()
        .map_or_else(|| format!("1 to {LONGEST_KEY} printable ASCII characters"), |format| format.described.clone());
    let syntax = match identity.reading {
        Reading::Lenient => "a quoted string (RFC 9651), or bare without spaces, quotes and commas",
        Reading::Strict => "a quoted string (RFC 9651)",
    };
    let missing = match identity.missing {
        Missing::Refused => "refused with 400",
        Missing::Passed => "processed without protection",
        Missing::Derived => "its key is derived from the request: equal requests are one",
    };
    let answers: Vec<Value> = ProblemKind::ALL
        .iter()
        .map(|kind| {
            let name = format!("{}{}", policy.answers.types, kind.name());
            json!({ "status": kind.status().as_u16(), "type": name, "meaning": kind.title() })
        })
        .collect();
    json!({
        "routes": routes,
        "enabled": policy.on,
        "methods": policy.methods.iter().map(Method::as_str).collect::<Vec<_>>(),
        "key": {
            "headers": names,
            "taken_from_the_request_itself": identity.elsewhere.is_some(),
            "format": format,
            "syntax": syntax,
            "request_without_key": missing,
        },
        "expires_after_seconds": policy.retention.unwrap_or(retention).as_secs(),
        "same_request": identity.fingerprint.described(),
        "largest_request_bytes": policy.limits.request,
        "duplicate_while_running": match policy.wait {
            Some(limit) => format!("waits up to {limit:?}, then 409 with Retry-After"),
            None => "409 with Retry-After".to_owned(),
        },
        "replay": {
            "marked_by": "Idempotency-Replayed: true",
            "headers": policy.replies.headers.described(),
        },
        "answers": answers,
    })
}

fn html(policies: &[Value]) -> String {
    let mut html = String::from(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Idempotency policy</title></head>\
         <body>\n<h1>Idempotency policy</h1>\n",
    );
    for policy in policies {
        write_value(&mut html, policy);
    }
    html.push_str("</body></html>\n");
    html
}

fn write_value(html: &mut String, value: &Value) {
    match value {
        Value::Object(fields) => {
            html.push_str("<dl>\n");
            for (name, value) in fields {
                // Writing to a string does not fail.
                let _ = write!(html, "<dt>{}</dt><dd>", escaped(&name.replace('_', " ")));
                write_value(html, value);
                html.push_str("</dd>\n");
            }
            html.push_str("</dl>\n");
        }
        Value::Array(items) => {
            html.push_str("<ul>\n");
            for item in items {
                html.push_str("<li>");
                write_value(html, item);
                html.push_str("</li>\n");
            }
            html.push_str("</ul>\n");
        }
        Value::String(text) => html.push_str(&escaped(text)),
        Value::Bool(true) => html.push_str("yes"),
        Value::Bool(false) => html.push_str("no"),
        Value::Null => {}
        Value::Number(number) => html.push_str(&number.to_string()),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn wants_json(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::ACCEPT);
    let accepted = lines.iter().filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(','));
    // The first that is either of the two: a browser names HTML first.
    let kinds = accepted.map(|kind| kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    kinds.into_iter().find(|kind| kind == "text/html" || kind == "application/json").as_deref()
        == Some("application/json")
}

impl<B> Service<Request<B>> for PolicyPage {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = Response::new(Full::default());
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return ready(Ok(response));
        }
        let (kind, body) = match wants_json(request.headers()) {
            true => ("application/json", &self.json),
            false => ("text/html; charset=utf-8", &self.html),
        };
        let mut response = Response::new(Full::new(body.clone()));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(header::VARY, HeaderValue::from_static("accept"));
        ready(Ok(response))
    }
}
