//! A request's body: gathered before anything runs.

use std::error::Error as StdError;
use std::fmt;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, LengthLimitError};
use tokio::time::timeout;

use super::bodies::Limits;
use crate::problem::{Problem, ProblemKind};

pin_project_lite::pin_project! {
    /// A request's body as the handler gets it: gathered, or as it came where the request has no key.
    pub struct RequestBody<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project_lite::pin_project! {
    #[project = KindProjected]
    enum Kind<B> {
        Gathered { bytes: Bytes, trailers: Option<HeaderMap> },
        Untouched { #[pin] body: B },
    }
}

impl<B> RequestBody<B> {
    pub(super) const fn untouched(body: B) -> Self {
        Self { kind: Kind::Untouched { body } }
    }

    pub(super) const fn gathered(bytes: Bytes, trailers: Option<HeaderMap>) -> Self {
        Self { kind: Kind::Gathered { bytes, trailers } }
    }
}

/// Gathers a body and its trailers, up to the limits.
pub(super) async fn gather<B>(body: B, limits: &Limits) -> Result<(Bytes, Option<HeaderMap>), Problem>
where
    B: Body,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let limit = limits.request;
    // Told by its length, it need not be sent at all: `Expect: 100-continue`.
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large(limit));
    }
    if body.is_end_stream() {
        return Ok((Bytes::new(), None));
    }
    timeout(limits.request_time, frames(body, limit)).await.unwrap_or_else(|_| {
        let detail = format!("it is to come within {:?}", limits.request_time);
        Err(Problem::new(ProblemKind::BodyTooSlow).with_detail(detail))
    })
}

async fn frames<B>(body: B, limit: usize) -> Result<(Bytes, Option<HeaderMap>), Problem>
where
    B: Body,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let mut body = pin!(body);
    let (mut first, mut more, mut trailers) = (Bytes::new(), BytesMut::new(), None);
    while let Some(frame) = body.frame().await {
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => return Err(broken(error.into(), limit)),
        };
        match frame.into_data() {
            Ok(mut data) => {
                if first.len() + more.len() + data.remaining() > limit {
                    return Err(too_large(limit));
                }
                // Most bodies are one frame, which is not copied.
                if first.is_empty() {
                    first = data.copy_to_bytes(data.remaining());
                } else {
                    more.extend_from_slice(&data.copy_to_bytes(data.remaining()));
                }
            }
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    if more.is_empty() {
        return Ok((first, trailers));
    }
    let mut whole = BytesMut::with_capacity(first.len() + more.len());
    whole.extend_from_slice(&first);
    whole.extend_from_slice(&more);
    Ok((whole.freeze(), trailers))
}

fn too_large(limit: usize) -> Problem {
    Problem::new(ProblemKind::BodyTooLarge).with_detail(format!("the limit is {limit} bytes"))
}

/// A body that another layer limits is too large, not broken.
fn broken(error: Box<dyn StdError + Send + Sync>, limit: usize) -> Problem {
    let mut source: Option<&(dyn StdError + 'static)> = Some(&*error);
    while let Some(error) = source {
        if error.is::<LengthLimitError>() {
            return too_large(limit);
        }
        source = error.source();
    }
    Problem::new(ProblemKind::BadBody)
}

impl<B: Body> Body for RequestBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project().kind.project() {
            KindProjected::Gathered { bytes, trailers } => Poll::Ready(next_of(bytes, trailers).map(Ok)),
            KindProjected::Untouched { body } => body.poll_frame(cx).map_ok(as_bytes),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Gathered { bytes, trailers } => bytes.is_empty() && trailers.is_none(),
            Kind::Untouched { body } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Gathered { bytes, trailers } => size_of(bytes, trailers.as_ref()),
            Kind::Untouched { body } => body.size_hint(),
        }
    }
}

/// The next frame of a body that is all there.
pub(super) fn next_of(bytes: &mut Bytes, trailers: &mut Option<HeaderMap>) -> Option<Frame<Bytes>> {
    if bytes.is_empty() { trailers.take().map(Frame::trailers) } else { Some(Frame::data(std::mem::take(bytes))) }
}

/// The size of a body that is all there. With trailers none is told, so that whoever sends it over HTTP/1.1
/// sends chunks: after a told length there are no trailers.
pub(super) fn size_of(bytes: &Bytes, trailers: Option<&HeaderMap>) -> SizeHint {
    let length = bytes.len() as u64;
    if trailers.is_none() {
        return SizeHint::with_exact(length);
    }
    let mut hint = SizeHint::new();
    hint.set_lower(length);
    hint
}

/// A frame whose data is `Bytes`; without a copy where it was.
pub(super) fn as_bytes<D: Buf>(frame: Frame<D>) -> Frame<Bytes> {
    frame.map_data(|mut data| data.copy_to_bytes(data.remaining()))
}

/// Shows the length only.
impl<B> fmt::Debug for RequestBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Gathered { bytes, .. } => write!(f, "RequestBody({} bytes)", bytes.len()),
            Kind::Untouched { .. } => f.write_str("RequestBody(untouched)"),
        }
    }
}
