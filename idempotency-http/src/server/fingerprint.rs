//! What tells one request from another under the same key.

use std::fmt;
use std::sync::Arc;

use super::json::Json;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Uri};
use idempotency_core::Fingerprint;

type Chosen = Arc<dyn Fn(&Parts, &Bytes) -> Fingerprint + Send + Sync>;

/// As what a request's body counts in its fingerprint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BodyForm {
    /// As its bytes: a retry sends the very same ones.
    #[default]
    Bytes,
    /// As its content, where it is JSON: spaces, the order of an object's fields and how a string is escaped
    /// do not count; how a number is written does (`1`, `1.0`). Of a field that stands twice, the last counts.
    /// Any other body counts as its bytes.
    Json,
}

/// A request's address as it came: within a nested router, axum has taken the prefix off the other one, and
/// with it the parameters that stand there.
pub(super) fn uri_of(parts: &Parts) -> &Uri {
    #[cfg(feature = "axum")]
    if let Some(original) = parts.extensions.get::<axum::extract::OriginalUri>() {
        return &original.0;
    }
    &parts.uri
}

/// How a request's fingerprint is made: of method, path, query, the chosen headers and the body.
#[derive(Clone, Default)]
pub(super) struct Fingerprinting {
    pub(super) headers: Vec<HeaderName>,
    pub(super) body: BodyForm,
    pub(super) chosen: Option<Chosen>,
}

impl Fingerprinting {
    pub(super) fn of(&self, parts: &Parts, body: &Bytes) -> Fingerprint {
        if let Some(chosen) = &self.chosen {
            return chosen(parts, body);
        }
        let json = match self.body {
            BodyForm::Bytes => None,
            BodyForm::Json => Json::of(body).and_then(|json| Fingerprint::of(&json).ok()),
        };
        // What kind of content comes next stands before it, so that no header is ever taken for a body.
        let content: [&[u8]; 2] = match &json {
            Some(content) => [b"json", content.as_bytes()],
            None => [b"bytes", body],
        };
        let uri = uri_of(parts);
        let query = uri.query().map(|query| [&b"query"[..], query.as_bytes()]);
        // In one line, as a proxy may join them (RFC 9110, section 5.3).
        let lines: Vec<(&HeaderName, Vec<u8>)> = self
            .headers
            .iter()
            .filter(|name| parts.headers.contains_key(*name))
            .map(|name| {
                let values: Vec<&[u8]> = parts.headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
                (name, values.join(&b", "[..]))
            })
            .collect();
        let headers = lines.iter().flat_map(|(name, line)| [&b"header"[..], name.as_str().as_bytes(), line]);
        Fingerprint::of_parts(
            [parts.method.as_str().as_bytes(), uri.path().as_bytes()]
                .into_iter()
                .chain(query.into_iter().flatten())
                .chain(headers)
                .chain(content),
        )
    }

    /// What counts, for people.
    pub(super) fn described(&self) -> String {
        if self.chosen.is_some() {
            return "fields that the server chooses".to_owned();
        }
        let mut described = "method, path and query".to_owned();
        for name in &self.headers {
            described.push_str(", the header ");
            described.push_str(name.as_str());
        }
        described.push_str(match self.body {
            BodyForm::Bytes => ", and the body's bytes",
            BodyForm::Json => ", and the body's content as JSON",
        });
        described
    }
}

impl fmt::Debug for Fingerprinting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.described())
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn of(form: BodyForm, body: &'static str) -> Fingerprint {
        let (parts, ()) = Request::post("/payments?dry=1").body(()).unwrap().into_parts();
        Fingerprinting { body: form, ..Fingerprinting::default() }.of(&parts, &Bytes::from_static(body.as_bytes()))
    }

    #[test]
    fn json_counts_by_its_content() {
        let [a, b] = [r#"{"amount":1,"currency":"EUR"}"#, r#"{ "currency" : "\u0045UR", "amount" : 1 }"#];
        assert_eq!(of(BodyForm::Json, a), of(BodyForm::Json, b));
        assert_ne!(of(BodyForm::Bytes, a), of(BodyForm::Bytes, b));
        assert_ne!(of(BodyForm::Json, a), of(BodyForm::Json, r#"{"amount":2,"currency":"EUR"}"#));
        assert_ne!(of(BodyForm::Json, r#"["a","b"]"#), of(BodyForm::Json, r#"["b","a"]"#));
        assert_ne!(of(BodyForm::Json, "no json"), of(BodyForm::Json, "no  json"));
    }

    /// RFC 9110, section 5.3: a proxy may join a header's lines.
    #[test]
    fn a_header_in_two_lines_is_the_same_in_one() {
        let print = |lines: &[&'static str]| {
            let request = lines.iter().fold(Request::post("/"), |request, line| request.header("x", *line));
            let (parts, ()) = request.body(()).unwrap().into_parts();
            let how = Fingerprinting { headers: vec![HeaderName::from_static("x")], ..Fingerprinting::default() };
            how.of(&parts, &Bytes::new())
        };
        assert_eq!(print(&["a", "b"]), print(&["a, b"]));
        let all: [&[&str]; 6] = [&[], &[""], &["a"], &["a", "b"], &["b", "a"], &["ab"]];
        for (at, one) in all.iter().enumerate() {
            assert!(all[..at].iter().all(|other| print(one) != print(other)), "{one:?}");
        }
    }

    #[test]
    fn everything_that_should_count_does() {
        let base = || Request::post("/a?b=c").header("x", "1");
        let print = |request: http::request::Builder, body: &'static str| {
            let (parts, ()) = request.body(()).unwrap().into_parts();
            let how = Fingerprinting { headers: vec![HeaderName::from_static("x")], ..Fingerprinting::default() };
            how.of(&parts, &Bytes::from_static(body.as_bytes()))
        };
        let first = print(base(), "body");
        assert_eq!(first, print(base().header("y", "2"), "body"));
        for (what, other) in [
            ("body", print(base(), "other")),
            ("header", print(base().header("x", "2"), "body")),
            ("method", print(base().method("PATCH"), "body")),
            ("path", print(base().uri("/b?b=c"), "body")),
            ("query", print(base().uri("/a?b=d"), "body")),
            ("no query", print(base().uri("/a"), "body")),
        ] {
            assert_ne!(first, other, "{what}");
        }
    }
}
