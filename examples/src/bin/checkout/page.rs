//! The web page: a cart, a Pay button, and the client that asks until there is an answer.

use axum::Router;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;

use crate::cart::{CURRENCY, Variant};
use crate::session;
use crate::shop::{Order, State};

/// Nothing from elsewhere, and nothing inline.
const POLICY: HeaderValue = HeaderValue::from_static("default-src 'self'");
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

pub(crate) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/", get(index))
        .route("/checkout.js", get(|| async { file(SCRIPT, include_str!("page/checkout.js")) }))
        .route("/payment-client.js", get(|| async { file(SCRIPT, include_str!("page/payment-client.js")) }))
        .route("/style.css", get(|| async { file(CSS, include_str!("page/style.css")) }))
}

/// The page, and for a browser without one, a session.
async fn index(headers: HeaderMap) -> Response {
    let mut response = html(include_str!("page/index.html").to_owned());
    if session::of(&headers).is_none()
        && let Ok(cookie) = HeaderValue::try_from(session::begin())
    {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

/// Where a customer is brought who has paid.
pub(crate) fn order(id: &str, order: &Order) -> Response {
    let status = match &order.state {
        State::Paid { .. } => "paid",
        State::Reserved => "being paid",
        State::GivenBack { .. } => "not paid",
    };
    let amount = format!("{}.{:02} {CURRENCY}", order.cart.amount / 100, order.cart.amount % 100);
    // None of these is as a client wrote it: the order was found by the id, and its variant in the catalogue.
    let page = include_str!("page/order.html")
        .replace("{status}", status)
        .replace("{order}", id)
        .replace("{quantity}", &order.cart.quantity.to_string())
        .replace("{variant}", Variant::find(&order.cart.variant_id).map_or("?", |variant| variant.name))
        .replace("{amount}", &amount);
    html(page)
}

fn html(page: String) -> Response {
    // Each look at it is a new one, also the browser's back button.
    (
        [(header::CONTENT_SECURITY_POLICY, POLICY), (header::CACHE_CONTROL, HeaderValue::from_static("no-store"))],
        Html(page),
    )
        .into_response()
}

fn file(kind: &'static str, content: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")], content).into_response()
}
