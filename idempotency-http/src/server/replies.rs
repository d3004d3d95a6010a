//! What becomes of a handler's response: recorded, freed or left unknown, and how it is replayed.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode, header};
use http_body::Body;
use idempotency_core::{Attempt, Context, Effect, Error};

use super::bodies::Limits;
use super::finality::Finality;
use super::headers::{OURS, ReplayedHeaders};
use super::origin::Origin;
use super::record::{Answered, Recorded};
use super::response_body::{Gathered, ReplyBody, gather};
use crate::names::{IDEMPOTENCY_PRIOR, IDEMPOTENCY_STATUS, Status};

/// A recorded response on its way to a retry, for a hook to change.
#[derive(Debug)]
#[non_exhaustive]
pub struct Replay<'a> {
    /// The response, with its whole body. Its length is told anew.
    pub response: &'a mut Response<Bytes>,
    /// Which attempt gave it first, and when.
    pub origin: &'a idempotency_core::Origin,
}

type Rewrite = Arc<dyn Fn(Replay<'_>) + Send + Sync>;
/// Takes from a request's head where it comes from.
type FromCaller = Arc<dyn Fn(&Parts) -> Context + Send + Sync>;

/// How responses are recorded and replayed.
#[derive(Clone)]
pub(super) struct Replies {
    pub(super) finality: Arc<dyn Fn(StatusCode) -> Finality + Send + Sync>,
    pub(super) headers: ReplayedHeaders,
    pub(super) rewrite: Option<Rewrite>,
    pub(super) context: Option<FromCaller>,
}

impl Default for Replies {
    fn default() -> Self {
        Self { finality: Arc::new(Finality::of), headers: ReplayedHeaders::default(), rewrite: None, context: None }
    }
}

/// Why a run has nothing to record.
pub(super) enum Unanswered<B: Body, E> {
    /// The handler's response says that it had no effect.
    Freed(Box<Response<ReplyBody<B>>>),
    /// The handler's response says that nobody knows.
    Unknown(Box<Response<ReplyBody<B>>>),
    /// The service failed: nobody knows.
    Service(E),
    /// The handler did not run, or its end is lost.
    Idempotency(Error),
}

impl<B: Body, E> Unanswered<B, E> {
    pub(super) const fn effect(&self) -> Effect {
        match self {
            Self::Freed(_) => Effect::None,
            Self::Unknown(_) | Self::Service(_) | Self::Idempotency(_) => Effect::Unknown,
        }
    }
}

impl<B: Body, E> From<Error> for Unanswered<B, E> {
    fn from(error: Error) -> Self {
        Self::Idempotency(error)
    }
}

impl Replies {
    /// Takes a handler's response.
    pub(super) async fn take<B: Body, E>(
        &self,
        response: Response<B>,
        attempt: &Attempt,
        method: &Method,
        limits: &Limits,
    ) -> Result<Answered<B>, Unanswered<B, E>> {
        let (mut head, body) = response.into_parts();
        // A gateway's backend may have said these of a key of its own.
        for name in OURS {
            head.headers.remove(name);
        }
        let finality = head.extensions.get().copied().unwrap_or_else(|| (self.finality)(head.status));
        let marked = |mut head: http::response::Parts, body| {
            if attempt.prior().is_some() {
                head.headers.insert(IDEMPOTENCY_PRIOR, HeaderValue::from_static("unknown"));
            }
            // What became of the key is told once that is known.
            head.extensions.insert(Origin::Executed { attempt: attempt.clone(), status: Status::Unknown });
            Box::new(Response::from_parts(head, body))
        };
        let gathered = match finality {
            // Nothing is kept of the run, so nothing is freed, and nobody will be told of it.
            Finality::Free | Finality::Unknown if attempt.lock().is_none() => Gathered::Begun(ReplyBody::passed(body)),
            Finality::Free => return Err(Unanswered::Freed(marked(head, ReplyBody::passed(body)))),
            Finality::Unknown => return Err(Unanswered::Unknown(marked(head, ReplyBody::passed(body)))),
            Finality::FactOnly => Gathered::Begun(ReplyBody::passed(body)),
            Finality::Final if head.status.is_informational() || is_stream(&head) => {
                Gathered::Begun(ReplyBody::passed(body))
            }
            Finality::Final => match gather(body, limits).await {
                Gathered::Whole { bytes, .. } if method != Method::HEAD && tells_another_length(&head, bytes.len()) => {
                    Gathered::Begun(ReplyBody::of_another_length(bytes))
                }
                gathered => gathered,
            },
        };
        Ok(match gathered {
            Gathered::Whole { bytes, trailers } => {
                let sized = method == Method::HEAD;
                let recorded = Recorded::of(&head, sized, &self.headers, &bytes, trailers.as_ref());
                if !sized && head.headers.contains_key(header::TRANSFER_ENCODING) {
                    // It is sent whole now.
                    head.headers.remove(header::TRANSFER_ENCODING);
                }
                let first = marked(head, ReplyBody::whole(bytes, trailers));
                Answered { recorded: Some(recorded), first: Some(first) }
            }
            Gathered::Begun(body) => {
                attempt.keep_fact_only();
                Answered { recorded: None, first: Some(marked(head, body)) }
            }
        })
    }
}

/// Whether a response says itself that it is a stream, for which nobody should wait.
fn is_stream(head: &http::response::Parts) -> bool {
    let kind = head.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.trim_start().to_ascii_lowercase().starts_with("text/event-stream"))
}

/// Whether a response says of itself that it has more or less than it has: it is not whole, and a replay, whose
/// length is told anew, would seem to be.
fn tells_another_length(head: &http::response::Parts, bytes: usize) -> bool {
    let told = head.headers.get(header::CONTENT_LENGTH).and_then(|told| told.to_str().ok()?.trim().parse().ok());
    head.status != StatusCode::NOT_MODIFIED && told.is_some_and(|told: usize| told != bytes)
}

/// Says in a response what became of its key.
pub(super) fn mark<B>(response: &mut Response<B>, status: Status) {
    if let Some(Origin::Executed { status: told, .. }) = response.extensions_mut().get_mut() {
        *told = status;
    }
    set(response, IDEMPOTENCY_STATUS, HeaderValue::from_static(status.as_str()));
}

pub(super) fn set<B>(response: &mut Response<B>, name: HeaderName, value: HeaderValue) {
    response.headers_mut().insert(name, value);
}

impl fmt::Debug for Replies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replies").field("headers", &self.headers).finish_non_exhaustive()
    }
}
