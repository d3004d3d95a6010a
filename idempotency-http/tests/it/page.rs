//! The page that publishes the policy.

use axum::Router;
use axum::routing::post;
use idempotency_http::problem::ProblemKind;
use idempotency_http::server::{DEFAULT_POLICY_URL, IdempotencyLayer, Missing, Policy, PolicyPage};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

use crate::support::wire::Ask;
use crate::support::{memory, serve};

/// Where the answers link to, as the page itself knows.
#[cfg(feature = "axum")]
fn published(page: PolicyPage, _: &str) -> Router {
    page.into_router()
}

/// Without the feature `axum` it is a service like any other, and its user says where.
#[cfg(not(feature = "axum"))]
fn published(page: PolicyPage, path: &str) -> Router {
    Router::new().route_service(path, page)
}

#[tokio::test]
async fn every_answer_links_to_the_page_that_says_what_holds() {
    let once = IdempotencyLayer::new(memory());
    let page = once.policy_page(["POST /payments"]).unwrap();
    let service = Router::new().route("/payments", post(|| async { "paid" })).layer(once);
    let to = serve(service.merge(published(page, DEFAULT_POLICY_URL))).await;
    let problem = Ask::new("POST", "/payments").send(to).await;
    problem.assert_problem(400, "key-missing");
    let link = problem.header("link").unwrap();
    let url = link.strip_prefix('<').unwrap().split('>').next().unwrap();
    assert_eq!(url, DEFAULT_POLICY_URL);

    let html = Ask::new("GET", url).header("Accept", "text/html,application/xml;q=0.9,*/*;q=0.8").send(to).await;
    assert_eq!((html.status, html.header("content-type")), (200, Some("text/html; charset=utf-8")));
    for said in ["POST /payments", "idempotency-key", "86400", "method, path and query", "/problems/key-reused", "422"]
    {
        assert!(html.text().contains(said), "no {said}");
    }
    let json = Ask::new("GET", url).header("Accept", "application/json").send(to).await;
    assert_eq!(json.header("content-type"), Some("application/json"));
    let policy = &json.json()["policies"][0];
    assert_eq!(policy["routes"], json!(["POST /payments"]));
    assert_eq!(policy["expires_after_seconds"], 86_400);
    assert_eq!(policy["key"]["request_without_key"], "refused with 400");
    assert_eq!(policy["answers"].as_array().unwrap().len(), 12);

    assert_eq!(Ask::new("HEAD", url).send(to).await.body, b"");
    let refused = Ask::new("DELETE", url).send(to).await;
    assert_eq!((refused.status, refused.header("allow")), (405, Some("GET, HEAD")));
}

#[tokio::test]
async fn a_page_may_have_several_policies_and_escapes_what_they_say() {
    let payments = Arc::new(
        Policy::new()
            .with_key_format("<b>a \"UUID\"</b>", |_| true)
            .with_retention(Duration::from_secs(60))
            .unwrap()
            .with_policy_url("https://shop.example/idempotency")
            .unwrap(),
    );
    let events = Arc::new(Policy::new().with_missing(Missing::Derived));
    let once = IdempotencyLayer::new(memory());
    let page = PolicyPage::new(&memory())
        .with_policy(["POST /payments"], &payments)
        .with_policy(["POST /events", "PATCH /events"], &events);
    let chosen = once.with_policy_of(move |parts| match parts.uri.path() {
        "/payments" => Some(payments.clone()),
        "/events" => Some(events.clone()),
        _ => None,
    });
    assert!(chosen.policy_page(["POST /payments"]).is_none(), "which one, only a request tells");
    let router = ["/payments", "/events", "/other"]
        .into_iter()
        .fold(Router::new(), |router, path| router.route(path, post(|| async { "done" })));
    let to = serve(router.layer(chosen).merge(published(page, "/idempotency"))).await;
    let problem = Ask::new("POST", "/payments").send(to).await;
    assert_eq!(problem.header("link"), Some("<https://shop.example/idempotency>; rel=\"describedby\""));
    assert_eq!(Ask::new("POST", "/events").send(to).await.said(), Some("recorded"));
    assert_eq!(Ask::new("POST", "/other").send(to).await.said(), None);
    let html = Ask::new("GET", "/idempotency").send(to).await.text();
    assert!(html.contains("&lt;b&gt;a &quot;UUID&quot;&lt;/b&gt;") && html.contains("derived"), "{html}");
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn a_page_stands_at_whatever_path_its_url_has() {
    for (url, path) in [("/:policy/*all", "/:policy/*all"), ("https://shop.example", "/"), ("/p?v=1", "/p")] {
        let policy = Policy::new().with_policy_url(url).unwrap();
        let to = serve(PolicyPage::new(&memory()).with_policy(["POST /"], &policy).into_router()).await;
        assert_eq!(Ask::new("GET", path).send(to).await.status, 200, "{url}");
    }
}

/// Whoever follows a problem's `type` finds what it means.
#[cfg(feature = "axum")]
#[tokio::test]
async fn a_problems_type_leads_to_what_it_means() {
    let other = Policy::new().with_problem_types("/errors/");
    let elsewhere = ["https://docs.example/errors/", "urn:problem:", "/errors#", "//docs.example/", "/{bad}/"];
    let elsewhere = elsewhere.map(|types| Policy::new().with_problem_types(types));
    let page = PolicyPage::new(&memory()).with_policy(["POST /"], &Policy::new()).with_policy(["POST /also"], &other);
    let page = elsewhere.iter().fold(page, |page, policy| page.with_policy(["POST /more"], policy));
    let once = IdempotencyLayer::new(memory());
    let to = serve(Router::new().route("/", post(|| async { "paid" })).layer(once).merge(page.into_router())).await;

    let problem = Ask::new("POST", "/").send(to).await.json();
    let url = problem["type"].as_str().unwrap();
    assert!(problem["detail"].as_str().unwrap().contains("UUID"), "{problem}");
    let html = Ask::new("GET", url).send(to).await;
    assert_eq!((html.status, html.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(html.text().contains("This request needs an idempotency key") && html.text().contains("such as a UUID"));
    for kind in ProblemKind::ALL {
        for types in ["/problems/", "/errors/"] {
            let url = format!("{types}{}", kind.name());
            let meaning = Ask::new("GET", &url).header("Accept", "application/json").send(to).await.json();
            let (title, what_to_do) = (kind.title(), kind.what_to_do());
            let status = kind.status().as_u16();
            assert_eq!(meaning, json!({ "type": url, "status": status, "meaning": title, "what_to_do": what_to_do }));
        }
    }
    assert_eq!(Ask::new("GET", "/problems/none").send(to).await.status, 404);
}

/// What whoever reads the page looks for first.
#[tokio::test]
async fn the_page_begins_with_key_expiry_and_routes() {
    let once = IdempotencyLayer::new(memory());
    let page = once.policy_page(["POST /payments"]).unwrap();
    let html = Ask::new("GET", DEFAULT_POLICY_URL).send(serve(published(page, DEFAULT_POLICY_URL)).await).await.text();
    let at = |name: &str| html.find(&format!("<dt>{name}</dt>")).unwrap_or_else(|| panic!("no {name}: {html}"));
    let order = ["key", "expires after seconds", "routes", "answers"].map(at);
    assert!(order.is_sorted(), "{order:?}");
    assert!(html.contains("never with a new one"), "{html}");
}
