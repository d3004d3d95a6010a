//! The OpenAPI description, held against real answers: each is as described, and each that is described is given.

#![cfg(unix)]

use std::collections::BTreeSet;

use idempotency_examples::client::{NoReply, Reply};
use idempotency_testkit::servers::Redis;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{API_KEY, GATEWAY, PAYMENTS, asks, in_time, pay, pay_in_the_end, payment};
use crate::support::Service;

/// Described, and not provoked here: it would take a body that comes for half a minute, an attempt that is overtaken,
/// a disk that is full, or a program that is wrong.
const NOT_PROVOKED: [&str; 5] =
    ["408 body-too-slow", "409 overtaken", "500 audit", "500 internal", "500 misconfigured"];

struct Description {
    document: Value,
    given: BTreeSet<String>,
}

impl Description {
    fn at<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            Some(to) => self.document.pointer(to.trim_start_matches('#')).unwrap_or_else(|| panic!("no {to}")),
            None => value,
        }
    }

    /// Holds an answer to what is described of it.
    fn check(&mut self, method: &str, path: &str, reply: &Reply) {
        let status = reply.status.as_u16().to_string();
        let described = &self.document["paths"][path][method]["responses"][&status];
        assert!(described.is_object(), "{method} {path}: {status} is not described: {reply:?}");
        let headers = described["headers"].as_object().expect("headers");
        for (name, header) in headers {
            let header = self.at(header);
            match reply.header(name) {
                Some(value) => self.validate(&header["schema"], &json!(value), name),
                None => assert_ne!(header["required"], json!(true), "{status}: no {name}: {reply:?}"),
            }
        }
        let known = |name: &str| headers.keys().any(|known| known.eq_ignore_ascii_case(name));
        for name in reply.headers.keys().map(|name| name.as_str()) {
            let is_ours = name.starts_with("idempotency-") || name.starts_with("x-");
            let is_ours = is_ours || ["retry-after", "www-authenticate", "location"].contains(&name);
            assert!(!is_ours || known(name), "{status}: the header {name} is not described: {reply:?}");
        }
        let media = reply.header("content-type").expect("a content type");
        let content = &described["content"][media];
        assert!(content.is_object(), "{status}: {media} is not described: {reply:?}");
        let body: Value = reply.json().expect("JSON");
        self.validate(&content["schema"], &body, &status);
        if path == PAYMENTS {
            let kind = body["type"].as_str().or(body["status"].as_str()).expect("what it is");
            self.given.insert(format!("{status} {}", kind.trim_start_matches("/problems/")));
        }
    }

    fn validate(&self, schema: &Value, value: &Value, place: &str) {
        let schema = self.at(schema);
        for (word, meant) in schema.as_object().expect("a schema") {
            let holds = match word.as_str() {
                "description" | "examples" => true,
                "pattern" => is_like(meant.as_str().expect("text"), value.as_str().unwrap_or_default()),
                "const" => value == meant,
                "enum" => meant.as_array().expect("a list").contains(value),
                "type" => match meant {
                    Value::Array(types) => types.iter().any(|name| is_a(name, value)),
                    name => is_a(name, value),
                },
                "minimum" => value.as_u64() >= meant.as_u64(),
                "maximum" => value.as_u64() <= meant.as_u64(),
                "required" => meant
                    .as_array()
                    .expect("a list")
                    .iter()
                    .all(|name| value.get(name.as_str().unwrap_or("")).is_some()),
                "properties" => {
                    for (name, of) in meant.as_object().expect("an object") {
                        if let Some(value) = value.get(name) {
                            self.validate(of, value, &format!("{place}/{name}"));
                        }
                    }
                    true
                }
                "additionalProperties" => {
                    let names = schema["properties"].as_object().expect("an object");
                    meant == &json!(false)
                        && value.as_object().expect("an object").keys().all(|name| names.contains_key(name))
                }
                "allOf" => {
                    meant.as_array().expect("a list").iter().for_each(|of| self.validate(of, value, place));
                    true
                }
                other => panic!("this test does not know the word {other} of a schema"),
            };
            assert!(holds, "{place}: {word} {meant} does not hold of {value}");
        }
    }

    /// What is described of payments.
    fn described(&self) -> BTreeSet<String> {
        let mut described = BTreeSet::new();
        for (status, response) in self.document["paths"][PAYMENTS]["post"]["responses"].as_object().expect("responses")
        {
            let (_, content) = response["content"].as_object().and_then(|all| all.iter().next()).expect("a body");
            let schema = self.at(&content["schema"]);
            let kinds = match schema["allOf"][1]["properties"]["type"]["enum"].as_array() {
                Some(kinds) => kinds.clone(),
                None => vec![schema["properties"]["status"]["const"].clone()],
            };
            for kind in kinds {
                described.insert(format!("{status} {}", kind.as_str().expect("text").trim_start_matches("/problems/")));
            }
        }
        described
    }
}

fn is_a(name: &Value, value: &Value) -> bool {
    match name.as_str().expect("text") {
        "object" => value.is_object(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "null" => value.is_null(),
        other => panic!("this test does not know the type {other}"),
    }
}

/// The few patterns that the description has.
fn is_like(pattern: &str, text: &str) -> bool {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    match pattern {
        "^[0-9]+$" => digits && !text.is_empty(),
        "^[0-9]{8,15}$" => digits && (8..=15).contains(&text.len()),
        "^[A-Z]{3}$" => text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase()),
        other => panic!("this test does not know the pattern {other}"),
    }
}

/// A server that answers before it has read all may close, and its answer be lost.
async fn until_answered<F>(ask: impl Fn() -> F + Send + Sync) -> Reply
where
    F: Future<Output = Result<Reply, NoReply>> + Send,
{
    let answered = async {
        loop {
            if let Ok(reply) = ask().await {
                return reply;
            }
        }
    };
    in_time(answered).await
}

/// With another content type than our client sends.
async fn pay_as_text(gateway: &Service) -> Reply {
    let mut stream = TcpStream::connect(gateway.address).await.expect("a connection");
    let body = payment(1).to_string();
    let head = format!(
        "POST {PAYMENTS} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nx-api-key: {API_KEY}\r\nIdempotency-Key: text\r\n\
         Content-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).await.expect("a connection");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status");
    let headers = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.parse().expect("a header's name"), value.parse().expect("a header's value")));
    Reply { status: status.parse().expect("a status"), headers: headers.collect(), body: body.to_owned().into() }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_is_what_is_answered() {
    let server = Redis::new().own().start().expect("a server");
    let gateway = GATEWAY.start(Some(&server.url())).await;
    let document = gateway.look::<Value>("/openapi.json").await;
    assert_eq!(document["openapi"], json!("3.1.0"));
    let parameters = document["paths"][PAYMENTS]["post"]["parameters"].as_array().expect("parameters");
    let header = parameters.iter().find(|of| of["name"] == json!("Idempotency-Key")).expect("the header");
    assert_eq!((&header["in"], &header["required"]), (&json!("header"), &json!(false)));
    let mut description = Description { document, given: BTreeSet::new() };

    let mut replies = vec![pay(&gateway, "k", 10).await, pay(&gateway, "k", 10).await, pay(&gateway, "k", 11).await];
    for _ in 0..2 {
        replies.push(pay(&gateway, "declined", 2_000_000).await);
    }
    for key in ["a,b", "bad-body"] {
        replies.push(pay(&gateway, key, 0).await);
    }
    let with = |ask: idempotency_examples::client::Ask| ask.header("idempotency-key", "other").send();
    let long = json!({ "amount": 1, "currency": "UGX", "payer": "1".repeat(1_100_000) });
    for ask in [
        with(asks(&gateway, "nobody", &payment(1))),
        with(asks(&gateway, API_KEY, &payment(1)).header("x-tenant-id", "another")),
        with(asks(&gateway, API_KEY, &json!({ "amount": 1 }))),
        asks(&gateway, API_KEY, &payment(1)).send(),
    ] {
        replies.push(ask.await.expect("an answer"));
    }
    replies.push(until_answered(|| with(asks(&gateway, API_KEY, &long))).await);
    // Without a key it comes to the handler, which has a limit of its own.
    let longer = json!({ "payer": "1".repeat(2_100_000) });
    replies.push(until_answered(|| asks(&gateway, API_KEY, &longer).send()).await);
    replies.push(pay_as_text(&gateway).await);
    for fault in ["fail", "charge-then-drop"] {
        gateway.tell_provider(&format!("/next/{fault}")).await;
        replies.push(pay(&gateway, fault, 10).await);
        replies.push(pay_in_the_end(&gateway, fault, 10).await);
    }
    gateway.tell_provider("/next/hold").await;
    let held = tokio::spawn(asks(&gateway, API_KEY, &payment(10)).header("idempotency-key", "held").send());
    gateway.until_provider(|seen| seen.held > 0).await;
    replies.push(pay(&gateway, "held", 10).await);
    gateway.tell_provider("/release").await;
    replies.push(held.await.expect("a task").expect("an answer"));
    for path in ["/health", "/ready"] {
        description.check("get", path, &gateway.get(path).send().await.expect("an answer"));
    }
    server.kill().expect("it is there");
    replies.push(pay(&gateway, "down", 10).await);
    description.check("get", "/ready", &gateway.get("/ready").send().await.expect("an answer"));

    for reply in &replies {
        description.check("post", PAYMENTS, reply);
    }
    let mut missing = description.described();
    missing.retain(|answer| !description.given.contains(answer));
    assert_eq!(missing.into_iter().collect::<Vec<_>>(), NOT_PROVOKED, "what is described and was not given");
}
