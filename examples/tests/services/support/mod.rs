//! A service as a process, and the crowd that asks it.

mod crowd;
mod service;

use idempotency_examples::client::Reply;
use serde_json::{Value, json};

pub(crate) use crowd::{Crowd, Wish};
pub(crate) use service::{Program, Service};

/// Checks that an answer is this problem.
#[track_caller]
pub(crate) fn assert_problem(reply: &Reply, status: u16, kind: &str) {
    let body: Value = reply.json().unwrap_or_else(|error| panic!("{error}: {reply:?}"));
    assert_eq!((reply.status.as_u16(), &body["type"]), (status, &json!(format!("/problems/{kind}"))), "{body}");
    assert_eq!(reply.header("content-type"), Some("application/problem+json"));
}
