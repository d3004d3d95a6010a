//! A response's body: gathered up to a limit, and from there on passed as it comes.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout_at};

use super::bodies::Limits;
use super::request_body::{as_bytes, next_of, size_of};

pin_project_lite::pin_project! {
    /// A response's body: recorded or gathered whole, gathered in part with the rest as it comes, or the
    /// handler's own.
    pub struct ReplyBody<B: Body> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project_lite::pin_project! {
    #[project = KindProjected]
    enum Kind<B: Body> {
        Whole { bytes: Bytes, trailers: Option<HeaderMap> },
        Begun { front: VecDeque<Bytes>, paused: bool, failed: Option<B::Error>, rest: Option<Pin<Box<B>>> },
        Passed { #[pin] body: B },
    }
}

/// What came of gathering a body.
pub(super) enum Gathered<B: Body> {
    /// All of it.
    Whole { bytes: Bytes, trailers: Option<HeaderMap> },
    /// Some of it, and the rest is to come.
    Begun(ReplyBody<B>),
}

impl<B: Body> ReplyBody<B> {
    pub(super) const fn whole(bytes: Bytes, trailers: Option<HeaderMap>) -> Self {
        Self { kind: Kind::Whole { bytes, trailers } }
    }

    pub(super) const fn passed(body: B) -> Self {
        Self { kind: Kind::Passed { body } }
    }

    /// All of a body whose length is not the one that its head tells: whoever sends it finds that out, as if it
    /// came from the handler.
    pub(super) fn of_another_length(bytes: Bytes) -> Self {
        let front = if bytes.is_empty() { VecDeque::new() } else { VecDeque::from([bytes]) };
        Self::begun(front, None, None)
    }

    const fn begun(front: VecDeque<Bytes>, failed: Option<B::Error>, rest: Option<Pin<Box<B>>>) -> Self {
        Self { kind: Kind::Begun { front, paused: false, failed, rest } }
    }
}

/// Gathers a body up to the limits; what is over them is given on unharmed.
pub(super) async fn gather<B: Body>(body: B, limits: &Limits) -> Gathered<B> {
    if body.size_hint().lower() > limits.response as u64 {
        return Gathered::Begun(ReplyBody::passed(body));
    }
    if body.is_end_stream() {
        return Gathered::Whole { bytes: Bytes::new(), trailers: None };
    }
    let until = Instant::now().checked_add(limits.response_time);
    let mut body = Box::pin(body);
    let (mut front, mut length) = (VecDeque::new(), 0);
    loop {
        let frame = match before(until, body.frame()).await {
            Ok(Some(Ok(frame))) => as_bytes(frame),
            Ok(None) => return Gathered::Whole { bytes: joined(front, length), trailers: None },
            Ok(Some(Err(error))) => return Gathered::Begun(ReplyBody::begun(front, Some(error), None)),
            Err(_) => return Gathered::Begun(ReplyBody::begun(front, None, Some(body))),
        };
        match frame.into_data() {
            Ok(data) => {
                length += data.len();
                front.push_back(data);
                if length > limits.response {
                    return Gathered::Begun(ReplyBody::begun(front, None, Some(body)));
                }
            }
            // Nothing comes after them.
            Err(frame) => {
                return Gathered::Whole { bytes: joined(front, length), trailers: frame.into_trailers().ok() };
            }
        }
    }
}

/// As `timeout_at`, for times too that no clock comes to.
async fn before<T>(until: Option<Instant>, what: impl Future<Output = T>) -> Result<T, Elapsed> {
    match until {
        Some(until) => timeout_at(until, what).await,
        None => Ok(what.await),
    }
}

fn joined(mut parts: VecDeque<Bytes>, length: usize) -> Bytes {
    if parts.len() <= 1 {
        return parts.pop_front().unwrap_or_default();
    }
    let mut whole = BytesMut::with_capacity(length);
    parts.iter().for_each(|part| whole.extend_from_slice(part));
    whole.freeze()
}

impl<B: Body> Body for ReplyBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project().kind.project() {
            KindProjected::Whole { bytes, trailers } => Poll::Ready(next_of(bytes, trailers).map(Ok)),
            KindProjected::Begun { front, paused, failed, rest } => {
                if let Some(data) = front.pop_front() {
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                if failed.is_some() && !std::mem::replace(paused, true) {
                    // A server that is told at once of the end throws away what it has not sent yet.
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                if let Some(error) = failed.take() {
                    return Poll::Ready(Some(Err(error)));
                }
                rest.as_mut().map_or(Poll::Ready(None), |rest| rest.as_mut().poll_frame(cx).map_ok(as_bytes))
            }
            KindProjected::Passed { body } => body.poll_frame(cx).map_ok(as_bytes),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Whole { bytes, trailers } => bytes.is_empty() && trailers.is_none(),
            Kind::Begun { front, failed, rest, .. } => {
                front.is_empty() && failed.is_none() && rest.as_ref().is_none_or(|rest| rest.is_end_stream())
            }
            Kind::Passed { body } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Whole { bytes, trailers } => size_of(bytes, trailers.as_ref()),
            Kind::Begun { front, rest, .. } => {
                let held: u64 = front.iter().map(|data| data.len() as u64).sum();
                let rest = rest.as_ref().map_or_else(SizeHint::default, |rest| rest.size_hint());
                let mut hint = SizeHint::new();
                hint.set_lower(held.saturating_add(rest.lower()));
                if let Some(upper) = rest.upper() {
                    hint.set_upper(held.saturating_add(upper));
                }
                hint
            }
            Kind::Passed { body } => body.size_hint(),
        }
    }
}

/// Shows the length only.
impl<B: Body> fmt::Debug for ReplyBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Whole { bytes, .. } => write!(f, "ReplyBody({} bytes)", bytes.len()),
            Kind::Begun { .. } => f.write_str("ReplyBody(begun)"),
            Kind::Passed { .. } => f.write_str("ReplyBody(passed)"),
        }
    }
}
