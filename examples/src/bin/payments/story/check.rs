//! What an act claims, and how it is found wrong.

use std::fmt::{self, Debug, Display};

use axum::http::StatusCode;
use serde_json::Value;

use idempotency_examples::client::{NoReply, Reply};

/// An act did not go as it must.
#[derive(Clone, Debug)]
pub(crate) struct Wrong {
    pub(crate) what: String,
    pub(crate) expected: String,
    pub(crate) came: String,
}

impl Wrong {
    pub(crate) fn new(what: impl Into<String>, expected: impl Display, came: impl Display) -> Self {
        Self { what: what.into(), expected: expected.to_string(), came: came.to_string() }
    }
}

impl From<NoReply> for Wrong {
    fn from(no: NoReply) -> Self {
        Self::new("the service", "an answer", no)
    }
}

impl From<String> for Wrong {
    fn from(error: String) -> Self {
        Self::new("the story", "that it can go on", error)
    }
}

pub(crate) fn expect<T: PartialEq + Debug>(what: &str, expected: T, came: T) -> Result<(), Wrong> {
    if expected == came {
        return Ok(());
    }
    Err(Wrong::new(what, format_args!("{expected:?}"), format_args!("{came:?}")))
}

/// How an answer must come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comes {
    Fresh,
    Replayed,
}

/// An answer with this status, fresh or replayed; gives its body.
pub(crate) fn expect_answer(what: &str, status: StatusCode, comes: Comes, reply: &Reply) -> Result<Value, Wrong> {
    let replayed = reply.header("idempotency-replayed") == Some("true");
    let came = if replayed { Comes::Replayed } else { Comes::Fresh };
    if reply.status != status || came != comes {
        return Err(Wrong::new(
            what,
            told(status, comes),
            format_args!("{}: {}", told(reply.status, came), text(reply)),
        ));
    }
    reply.json().map_err(|error| Wrong::new(what, "a JSON body", error))
}

/// A problem of this status and kind.
pub(crate) fn expect_problem(what: &str, status: StatusCode, kind: &str, reply: &Reply) -> Result<(), Wrong> {
    let came = reply.json::<Value>().unwrap_or_default();
    let is_problem = reply.header("content-type") == Some("application/problem+json");
    if reply.status == status && is_problem && came["type"] == format!("/problems/{kind}") {
        return Ok(());
    }
    Err(Wrong::new(
        what,
        format_args!("{} {kind}", status.as_u16()),
        format_args!("{}: {}", reply.status.as_u16(), text(reply)),
    ))
}

fn told(status: StatusCode, comes: Comes) -> String {
    let status = status.as_u16();
    match comes {
        Comes::Fresh => format!("{status}, not replayed"),
        Comes::Replayed => format!("{status}, replayed"),
    }
}

fn text(reply: &Reply) -> String {
    String::from_utf8_lossy(&reply.body).chars().take(200).collect()
}

/// How many charges and refunds there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) charges: usize,
    pub(crate) refunds: usize,
}

impl Tally {
    /// That the ledger grew by this, no more and no less.
    pub(crate) fn check(self, before: Self, after: Self) -> Result<(), Wrong> {
        let must = Self { charges: before.charges + self.charges, refunds: before.refunds + self.refunds };
        if must == after { Ok(()) } else { Err(Wrong::new("the provider's ledger", must, after)) }
    }
}

impl Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { charges, refunds } = *self;
        let s = |count| if count == 1 { "" } else { "s" };
        write!(f, "{charges} charge{}", s(charges))?;
        if refunds > 0 {
            write!(f, ", {refunds} refund{}", s(refunds))?;
        }
        Ok(())
    }
}
