//! How problems become responses.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};

use crate::problem::Problem;

/// Gives an answer of one's own, from the problem and the request's headers.
type Own = Arc<dyn Fn(&Problem, &HeaderMap) -> Response<Bytes> + Send + Sync>;

/// How problems become responses.
#[derive(Clone)]
pub(super) struct Answers {
    pub(super) types: String,
    pub(super) policy_url: String,
    /// The `Link` to it.
    pub(super) link: HeaderValue,
    pub(super) own: Option<Own>,
}

impl Answers {
    pub(super) fn link_to(url: &str) -> Option<HeaderValue> {
        // What RFC 3986 leaves out, and a router may take for a pattern.
        let plain = url.bytes().all(|byte| byte.is_ascii_graphic() && !b"<>\"\\^`{|}".contains(&byte));
        let absolute = url.parse::<http::Uri>().is_ok_and(|uri| uri.path().starts_with('/'));
        (plain && absolute).then(|| HeaderValue::try_from(format!("<{url}>; rel=\"describedby\"")).ok())?
    }

    /// What comes before a problem's name, if with it that is a path of this server.
    #[cfg(feature = "axum")]
    pub(super) fn types_here(&self) -> Option<&str> {
        let is_path = self.types.starts_with('/') && !self.types.starts_with("//") && !self.types.contains(['?', '#']);
        (is_path && Self::link_to(&self.types).is_some()).then_some(&self.types)
    }

    /// What of a request an answer needs, kept for when the request is gone.
    pub(super) fn kept(&self, headers: &HeaderMap) -> HeaderMap {
        if self.own.is_some() { headers.clone() } else { HeaderMap::new() }
    }

    pub(super) fn response(&self, problem: &Problem, headers: &HeaderMap) -> Response<Bytes> {
        match &self.own {
            Some(own) => own(problem, headers),
            None => problem.to_response(&self.types, &self.link),
        }
    }
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answers").field("types", &self.types).field("link", &self.link).finish_non_exhaustive()
    }
}
