//! An answer's body, gathered before the answer is judged.

use std::collections::VecDeque;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use reqwest::{Body, Response, ResponseBuilderExt};

/// Waits for the body, up to `most` bytes; gives the response with what came, and the bytes where they are
/// all there are. What is over the limit is still to come, in order.
///
/// # Errors
/// The body broke off.
pub(super) async fn gather(response: Response, most: usize) -> Result<(Response, Option<Bytes>), reqwest::Error> {
    let url = response.url().clone();
    let (mut head, mut body) = http::Response::<Body>::from(response).into_parts();
    // The response is made anew, and its address is not among what is taken apart.
    if let Some(extensions) = http::response::Builder::new().url(url).extensions_mut() {
        head.extensions.extend(mem::take(extensions));
    }
    let mut frames = VecDeque::new();
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame?;
        if let Some(data) = frame.data_ref() {
            whole.extend_from_slice(data);
        }
        frames.push_back(frame);
        if whole.len() > most {
            let gathered = Gathered { frames, rest: Some(body) };
            return Ok((http::Response::from_parts(head, Body::wrap(gathered)).into(), None));
        }
    }
    let gathered = Gathered { frames, rest: None };
    Ok((http::Response::from_parts(head, Body::wrap(gathered)).into(), Some(whole.into())))
}

/// What was gathered, and what is still to come.
struct Gathered {
    frames: VecDeque<Frame<Bytes>>,
    rest: Option<Body>,
}

impl HttpBody for Gathered {
    type Data = Bytes;
    type Error = reqwest::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, reqwest::Error>>> {
        if let Some(frame) = self.frames.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        match &mut self.rest {
            Some(rest) => Pin::new(rest).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty() && self.rest.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let gathered: u64 = self.frames.iter().filter_map(Frame::data_ref).map(|data| data.len() as u64).sum();
        let rest = self.rest.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint);
        let mut hint = SizeHint::new();
        hint.set_lower(gathered.saturating_add(rest.lower()));
        if let Some(upper) = rest.upper() {
            hint.set_upper(gathered.saturating_add(upper));
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(pieces: &[&'static str]) -> Response {
        let frames = pieces.iter().map(|piece| Frame::data(Bytes::from_static(piece.as_bytes()))).collect();
        let body = Body::wrap(Gathered { frames, rest: None });
        let url = "http://localhost/paid".parse().unwrap();
        http::Response::builder().status(201).header("x-own", "kept").url(url).body(body).unwrap().into()
    }

    #[tokio::test]
    async fn a_response_is_the_same_after_it_whole_or_not() {
        for (most, whole) in [(100, true), (6, true), (5, false), (0, false)] {
            let (gathered, bytes) = gather(response(&["ab", "cd", "ef"]), most).await.unwrap();
            assert_eq!(bytes.is_some(), whole, "{most}");
            assert_eq!((gathered.status().as_u16(), gathered.url().path()), (201, "/paid"));
            assert_eq!(gathered.headers()["x-own"], "kept");
            assert_eq!(gathered.content_length(), Some(6), "{most}");
            assert_eq!(gathered.text().await.unwrap(), "abcdef", "{most}");
        }
    }
}
