//! What an answer says of its key.

use std::time::Duration;

use reqwest::Response;

use crate::header::HeaderKey;
use crate::names::{IDEMPOTENCY_PRIOR, IDEMPOTENCY_REMAINING, IDEMPOTENCY_REPLAYED, IDEMPOTENCY_STATUS, Status};

/// How a request was sent: an extension of its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sent {
    /// The key it was sent with, each time; `None` where it had none, or one that is no valid key.
    pub key: Option<HeaderKey>,
    /// How often it was sent, from 1.
    pub attempts: u32,
}

/// What an answer says of its key. An answer of a server that does not say it has none of this.
pub trait ReplayExt {
    /// Whether it was given before: this time nothing ran.
    fn is_replay(&self) -> bool;

    /// For how long it will be given again, from when it was sent.
    fn remaining_life(&self) -> Option<Duration>;

    /// What became of the key with it.
    fn key_status(&self) -> Option<Status>;

    /// Whether it is the answer of a run that came after an attempt of which nobody knows whether it had
    /// its effect: there may be two.
    fn follows_unknown(&self) -> bool;

    /// How the request was sent; `None` where the middleware let it pass.
    fn sent(&self) -> Option<&Sent>;
}

impl ReplayExt for Response {
    fn is_replay(&self) -> bool {
        text(self, &IDEMPOTENCY_REPLAYED).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    fn remaining_life(&self) -> Option<Duration> {
        text(self, &IDEMPOTENCY_REMAINING)?.parse().ok().map(Duration::from_secs)
    }

    fn key_status(&self) -> Option<Status> {
        Status::of(text(self, &IDEMPOTENCY_STATUS)?)
    }

    fn follows_unknown(&self) -> bool {
        text(self, &IDEMPOTENCY_PRIOR) == Some("unknown")
    }

    fn sent(&self) -> Option<&Sent> {
        self.extensions().get()
    }
}

fn text<'a>(response: &'a Response, name: &http::HeaderName) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok().map(str::trim)
}
