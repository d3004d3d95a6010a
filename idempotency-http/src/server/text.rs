//! A page as HTML and as JSON.

use std::fmt::Write;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::Value;

/// What of a page's fields comes first for people; the others follow by their names.
const FIRST: [&str; 4] = ["key", "expires_after_seconds", "routes", "status"];

/// A page as HTML, and as JSON for who asks for that (`Accept: application/json`).
#[derive(Clone, Debug)]
pub(super) struct Text {
    html: Bytes,
    json: Bytes,
}

impl Text {
    /// `json` as it is, and under a title as HTML what `shown` holds of it.
    pub(super) fn of(title: &str, json: &Value, shown: &[Value]) -> Self {
        let title = escaped(title);
        let mut html = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title></head>\
             <body>\n<h1>{title}</h1>\n"
        );
        shown.iter().for_each(|value| write_value(&mut html, value));
        html.push_str("</body></html>\n");
        Self { html: html.into(), json: json.to_string().into() }
    }

    /// The answer to GET and HEAD.
    pub(super) fn answer(&self, method: &Method, headers: &HeaderMap) -> Response<Full<Bytes>> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            let mut response = Response::new(Full::default());
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        let (kind, body) = match wants_json(headers) {
            true => ("application/json", &self.json),
            false => ("text/html; charset=utf-8", &self.html),
        };
        let mut response = Response::new(Full::new(body.clone()));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(header::VARY, HeaderValue::from_static("accept"));
        response
    }
}

fn write_value(html: &mut String, value: &Value) {
    match value {
        Value::Object(fields) => {
            let first = FIRST.iter().filter_map(|name| fields.get_key_value(*name));
            let others = fields.iter().filter(|(name, _)| !FIRST.contains(&name.as_str()));
            html.push_str("<dl>\n");
            for (name, value) in first.chain(others) {
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
