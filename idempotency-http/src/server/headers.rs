//! Which headers of a response are recorded.

use http::{HeaderMap, HeaderName, header};

use crate::names::{IDEMPOTENCY_PRIOR, IDEMPOTENCY_REMAINING, IDEMPOTENCY_REPLAYED, IDEMPOTENCY_STATUS};

/// Which headers of a response are recorded, and so replayed.
///
/// Whatever is chosen, those that belong to one connection or one sending are not: `Connection` and what it
/// names, `Keep-Alive`, `TE`, `Transfer-Encoding`, `Upgrade`, `Proxy-*` (RFC 9110, section
/// 7.6.1), and `Content-Length`, which is made anew. `Trailer` is recorded along with trailers alone.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReplayedHeaders {
    /// All but these.
    AllBut(Vec<HeaderName>),
    /// These alone.
    Only(Vec<HeaderName>),
}

/// All but `Set-Cookie`, which may be a session that has ended since, and `Date`, which is the replay's own.
impl Default for ReplayedHeaders {
    fn default() -> Self {
        Self::AllBut(vec![header::SET_COOKIE, header::DATE])
    }
}

const OF_ONE_SENDING: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
    "content-length",
];

/// What the layer says itself.
pub(super) const OURS: [HeaderName; 4] =
    [IDEMPOTENCY_REPLAYED, IDEMPOTENCY_STATUS, IDEMPOTENCY_REMAINING, IDEMPOTENCY_PRIOR];

impl ReplayedHeaders {
    /// Whether a header of this response is recorded. `sized` keeps a length that tells of a body which is
    /// not there, as the answer to HEAD has it.
    pub(super) fn keeps(&self, name: &HeaderName, all: &HeaderMap, sized: bool) -> bool {
        if sized && name == header::CONTENT_LENGTH {
            return true;
        }
        let of_one_sending = OF_ONE_SENDING.contains(&name.as_str()) || named_by_connection(name, all);
        let chosen = match self {
            Self::AllBut(names) => !names.contains(name),
            Self::Only(names) => names.contains(name),
        };
        chosen && !of_one_sending && !OURS.contains(name)
    }

    pub(super) fn described(&self) -> String {
        let (which, names) = match self {
            Self::AllBut(names) => ("all but", names),
            Self::Only(names) => ("only", names),
        };
        let names: Vec<&str> = names.iter().map(HeaderName::as_str).collect();
        format!("{which} {}", if names.is_empty() { "none".to_owned() } else { names.join(", ") })
    }
}

fn named_by_connection(name: &HeaderName, all: &HeaderMap) -> bool {
    let lines = all.get_all(header::CONNECTION);
    let mut named = lines.iter().filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(','));
    named.any(|named| named.trim().eq_ignore_ascii_case(name.as_str()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn what_belongs_to_one_sending_is_never_kept() {
        let mut all = HeaderMap::new();
        all.insert(header::CONNECTION, HeaderValue::from_static("close, X-Hop"));
        let kept =
            |headers: &ReplayedHeaders, name: &'static str| headers.keeps(&HeaderName::from_static(name), &all, false);
        let default = ReplayedHeaders::default();
        let everything = ReplayedHeaders::AllBut(Vec::new());
        for name in ["connection", "x-hop", "transfer-encoding", "upgrade", "content-length", "idempotency-replayed"] {
            assert!(!kept(&default, name) && !kept(&everything, name), "{name}");
            let asked = ReplayedHeaders::Only(vec![HeaderName::from_static(name)]);
            assert!(!kept(&asked, name), "{name}, asked for");
        }
        for name in ["set-cookie", "date"] {
            assert!(!kept(&default, name) && kept(&everything, name), "{name}");
        }
        assert!(kept(&default, "location") && kept(&default, "content-type"));
        let only = ReplayedHeaders::Only(vec![header::LOCATION]);
        assert!(kept(&only, "location") && !kept(&only, "content-type"));
        assert!(default.keeps(&header::CONTENT_LENGTH, &all, true));
    }
}
