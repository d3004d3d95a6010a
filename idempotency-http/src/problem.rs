//! The answers where there is no response of a handler: problem details (RFC 9457).

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::json;

/// The media type of an answer.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// Why there is no response of the handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProblemKind {
    /// The request has no key, and must have one.
    KeyMissing,
    /// The request's key is none: empty, too long, not of the format, or there are two.
    BadKey,
    /// The request's body broke off, or is not as HTTP has it.
    BadBody,
    /// The request comes from nobody known, so its key is nobody's.
    IdentityMissing,
    /// The request's body did not come in time.
    BodyTooSlow,
    /// A request with this key is being processed.
    InProgress,
    /// Nobody knows whether a request with this key was carried out, and it may not run again.
    OutcomeUnknown,
    /// A request with this key was carried out, but its response is not kept.
    AnswerNotKept,
    /// The request's body is over the limit.
    BodyTooLarge,
    /// The key was used for another request.
    KeyReused,
    /// The server is set up wrongly.
    Misconfigured,
    /// The store could not be asked. Nothing ran.
    StoreUnavailable,
}

impl ProblemKind {
    /// All kinds, by status.
    pub const ALL: [Self; 12] = [
        Self::KeyMissing,
        Self::BadKey,
        Self::BadBody,
        Self::IdentityMissing,
        Self::BodyTooSlow,
        Self::InProgress,
        Self::OutcomeUnknown,
        Self::AnswerNotKept,
        Self::BodyTooLarge,
        Self::KeyReused,
        Self::Misconfigured,
        Self::StoreUnavailable,
    ];

    /// The last segment of the problem's `type`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::KeyMissing => "key-missing",
            Self::BadKey => "bad-key",
            Self::BadBody => "bad-body",
            Self::IdentityMissing => "identity-missing",
            Self::BodyTooSlow => "body-too-slow",
            Self::InProgress => "in-progress",
            Self::OutcomeUnknown => "outcome-unknown",
            Self::AnswerNotKept => "answer-not-kept",
            Self::BodyTooLarge => "body-too-large",
            Self::KeyReused => "key-reused",
            Self::Misconfigured => "misconfigured",
            Self::StoreUnavailable => "store-unavailable",
        }
    }

    /// The kind that a problem's `type` names by its last segment; `None` for problems of others.
    #[must_use]
    pub fn of_type(name: &str) -> Option<Self> {
        let last = name.rsplit(['/', '#', ':']).next();
        Self::ALL.into_iter().find(|kind| Some(kind.name()) == last)
    }

    /// The answer's status.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::KeyMissing | Self::BadKey | Self::BadBody => StatusCode::BAD_REQUEST,
            Self::IdentityMissing => StatusCode::FORBIDDEN,
            Self::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::InProgress | Self::OutcomeUnknown | Self::AnswerNotKept => StatusCode::CONFLICT,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::KeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Misconfigured => StatusCode::INTERNAL_SERVER_ERROR,
            Self::StoreUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// What is the matter, and what the client can do.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::KeyMissing => "This request needs an idempotency key",
            Self::BadKey => "The request's idempotency key is not valid",
            Self::BadBody => "The request's body did not come whole; nothing was done",
            Self::IdentityMissing => "It is not known whose idempotency key this is; nothing was done",
            Self::BodyTooSlow => "The request's body did not come in time; nothing was done",
            Self::InProgress => "A request with this key is being processed: ask again with the same key",
            Self::OutcomeUnknown => {
                "Nobody knows whether a request with this key was carried out: somebody must look before it may run again"
            }
            Self::AnswerNotKept => {
                "A request with this key was carried out, but its response is not kept: it will not run again; look up what it made"
            }
            Self::BodyTooLarge => "The request's body is over the limit; nothing was done",
            Self::KeyReused => "This key was used for another request: a new request needs a new key",
            Self::Misconfigured => "The server's idempotency is set up wrongly; nothing was done",
            Self::StoreUnavailable => "Nothing was done: ask again with the same key",
        }
    }

    /// What the client does then.
    #[must_use]
    pub const fn what_to_do(self) -> &'static str {
        match self {
            Self::KeyMissing => {
                "Send a new key, such as a UUID, for each new request, and the same one again with each retry."
            }
            Self::BadKey => "Send one key, of the format that the policy names.",
            Self::BadBody | Self::BodyTooSlow => "Send the request again, with the same key.",
            Self::IdentityMissing => "Authenticate, and send the request again, with the same key.",
            Self::InProgress => "Wait as long as Retry-After says, and send the same request again, with the same key.",
            Self::OutcomeUnknown => {
                "Do not send it with a new key: it may have been carried out. Ask whoever runs the service; once they \
                 have looked, the same key gets the answer, or runs."
            }
            Self::AnswerNotKept => "Look up what the request made. With this key it will not run again.",
            Self::BodyTooLarge => "Send less.",
            Self::KeyReused => {
                "For a new request take a new key. A retry is the very same request, to the byte unless the policy \
                 says otherwise."
            }
            Self::Misconfigured => "Tell whoever runs the service. The same key may be used once it is mended.",
            Self::StoreUnavailable => "Send the same request again, with the same key, when Retry-After says so.",
        }
    }
}

/// One answer, before it is a response.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// What kind it is.
    pub kind: ProblemKind,
    /// What is the matter with this request in particular.
    pub detail: Option<String>,
    /// When to ask again, with the same key; said in whole seconds, rounded down,
    /// but never as 0, which clients take for at once, or for nothing said.
    pub retry_after: Option<Duration>,
}

impl Problem {
    /// A problem of this kind, without particulars.
    #[must_use]
    pub const fn new(kind: ProblemKind) -> Self {
        Self { kind, detail: None, retry_after: None }
    }

    /// Says what is the matter with this request in particular.
    #[must_use]
    pub fn with_detail(self, detail: impl Into<String>) -> Self {
        Self { detail: Some(detail.into()), ..self }
    }

    /// Says when to ask again.
    #[must_use]
    pub fn with_retry_after(self, after: Duration) -> Self {
        Self { retry_after: Some(after), ..self }
    }

    /// The response: `types` comes before the kind's name in `type`, and `policy` is where the resource's
    /// policy is published, for `Link; rel="describedby"`.
    #[must_use]
    pub fn to_response(&self, types: &str, policy: &HeaderValue) -> Response<Bytes> {
        let status = self.kind.status();
        let mut body = json!({
            "type": format!("{types}{}", self.kind.name()), "title": self.kind.title(), "status": status.as_u16(),
        });
        if let Some(detail) = &self.detail {
            body["detail"] = detail.as_str().into();
        }
        let mut response = Response::new(Bytes::from(body.to_string()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        headers.insert(header::LINK, policy.clone());
        // An answer about one moment, which no cache may give to the next request.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(after) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
        }
        response
    }
}
