//! The page that publishes a policy.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::Full;
use idempotency_core::Idempotency;
use serde_json::{Value, json};
use tower_service::Service;

use super::identity::Missing;
use super::policy::Policy;
use super::text::Text;
use crate::header::{LONGEST_KEY, Reading};
use crate::problem::ProblemKind;

const AFTER_FREED: &str =
    "nothing was done: put right what the response says, and send the request again with the same key";
const AFTER_UNKNOWN: &str =
    "it may have been done: send the same request again with the same key, never with a new one";

/// The page that publishes what holds for keys, as HTML, or as JSON for who asks for that
/// (`Accept: application/json`): a duty of the draft (section 2.5.2).
///
/// A tower service for GET and HEAD. With the feature `axum`, `PolicyPage::into_router` puts it where the
/// answers link to, and beside it what each problem means.
#[derive(Clone, Debug)]
#[must_use = "a page is seen once it is served"]
pub struct PolicyPage {
    retention: Duration,
    url: Option<String>,
    /// What comes before the problems' names, where that is a path of this server.
    #[cfg(feature = "axum")]
    types: std::collections::BTreeSet<String>,
    policies: Vec<Value>,
    text: Text,
}

impl PolicyPage {
    /// A page without a policy yet, for a handle's retention.
    pub fn new(idempotency: &Idempotency) -> Self {
        Self {
            retention: idempotency.retention(),
            url: None,
            #[cfg(feature = "axum")]
            types: std::collections::BTreeSet::new(),
            policies: Vec::new(),
            text: text(&[]),
        }
    }

    /// Adds a policy, and the routes that it holds for (`"POST /payments"`).
    pub fn with_policy<'a>(mut self, routes: impl IntoIterator<Item = &'a str>, policy: &Policy) -> Self {
        let routes: Vec<&str> = routes.into_iter().collect();
        self.policies.push(described(&routes, policy, self.retention));
        self.url.get_or_insert_with(|| policy.answers.policy_url.clone());
        #[cfg(feature = "axum")]
        self.types.extend(policy.answers.types_here().map(str::to_owned));
        self.text = text(&self.policies);
        self
    }

    /// A router that has the page where the first policy's answers link to, by the link's path; and what the
    /// problems mean at the paths that their `type`s are (`/problems/key-missing`), unless
    /// [`Policy::with_problem_types`] sends who asks elsewhere. The paths are taken: merged with a router that
    /// has one of them, axum panics.
    #[cfg(feature = "axum")]
    pub fn into_router<S: Clone + Send + Sync + 'static>(self) -> axum::Router<S> {
        use axum::routing::any;
        use http::HeaderMap;

        let url = self.url.clone().unwrap_or_else(|| super::policy::DEFAULT_POLICY_URL.to_owned());
        let path = url.parse::<http::Uri>().map_or_else(|_| url, |uri| uri.path().to_owned());
        // The paths are those, whatever older patterns they may look like.
        let mut router = axum::Router::new().without_v07_checks();
        for (types, kind) in self.types.iter().flat_map(|types| ProblemKind::ALL.map(|kind| (types, kind))) {
            let problem = meaning(types, kind);
            let text = Text::of(kind.title(), &problem, std::slice::from_ref(&problem));
            let answer = move |method: Method, headers: HeaderMap| std::future::ready(text.answer(&method, &headers));
            router = router.route(&format!("{types}{}", kind.name()), any(answer));
        }
        router.route_service(&path, self)
    }
}

fn text(policies: &[Value]) -> Text {
    Text::of("Idempotency policy", &json!({ "policies": policies }), policies)
}

/// What an answer means, and what its client does.
fn meaning(types: &str, kind: ProblemKind) -> Value {
    json!({
        "status": kind.status().as_u16(),
        "type": format!("{types}{}", kind.name()),
        "meaning": kind.title(),
        "what_to_do": kind.what_to_do(),
    })
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
    let answers = ProblemKind::ALL.map(|kind| meaning(&policy.answers.types, kind));
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
        "what_to_do_after": {
            "idempotency-status: freed": AFTER_FREED,
            "idempotency-status: unknown": AFTER_UNKNOWN,
        },
    })
}

impl<B> Service<Request<B>> for PolicyPage {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ready(Ok(self.text.answer(request.method(), request.headers())))
    }
}
