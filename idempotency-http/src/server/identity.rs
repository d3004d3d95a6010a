//! Which key a request has.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderName;
use http::request::Parts;
use idempotency_core::{Fingerprint, Key, KeyBuilder, LONGEST_PART};

use super::fingerprint::{Fingerprinting, uri_of};
use super::json::Json;
use crate::header::{HeaderError, HeaderKey, Reading};
use crate::names::IDEMPOTENCY_KEY;
use crate::problem::{Problem, ProblemKind};

/// Text from a request's head.
pub(super) type FromHead = Arc<dyn Fn(&Parts) -> Option<String> + Send + Sync>;
/// Text from a whole request.
pub(super) type FromRequest = Arc<dyn Fn(&Parts, &Bytes) -> Option<String> + Send + Sync>;

/// What becomes of a request without a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Missing {
    /// It is answered 400.
    #[default]
    Refused,
    /// It is let through, without protection.
    Passed,
    /// Its key is derived from its fingerprint: the same request is the same operation. **Two intended
    /// requests that are equal are one**, until the retention ends.
    Derived,
}

/// Takes a key from a field of a JSON body: `json_field("/payment/id")`, an RFC 6901 pointer to a string or
/// number. For [`Policy::with_key_from`](super::Policy::with_key_from).
pub fn json_field(pointer: impl Into<String>) -> impl Fn(&Parts, &Bytes) -> Option<String> + Send + Sync + 'static {
    let pointer = pointer.into();
    move |_, body| match Json::of(body)?.pointer(&pointer)? {
        Json::String(text) => Some(text.clone()),
        Json::Number(text) => Some((*text).to_owned()),
        Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => None,
    }
}

/// A format that keys must have.
#[derive(Clone)]
pub(super) struct Format {
    pub(super) described: String,
    pub(super) fits: Arc<dyn Fn(&str) -> bool + Send + Sync>,
}

/// How a request's key is found and made.
#[derive(Clone)]
pub(super) struct Identity {
    pub(super) names: Vec<HeaderName>,
    pub(super) reading: Reading,
    pub(super) missing: Missing,
    pub(super) elsewhere: Option<FromRequest>,
    pub(super) format: Option<Format>,
    pub(super) scope: Option<FromHead>,
    pub(super) template: Option<FromHead>,
    pub(super) fingerprint: Fingerprinting,
}

impl Default for Identity {
    fn default() -> Self {
        Self {
            names: vec![IDEMPOTENCY_KEY],
            reading: Reading::default(),
            missing: Missing::default(),
            elsewhere: None,
            format: None,
            scope: None,
            template: None,
            fingerprint: Fingerprinting::default(),
        }
    }
}

/// What a request's head tells.
#[derive(Debug)]
pub(super) enum Head {
    /// The request is let through as it is.
    Pass,
    /// The body tells the rest.
    Read {
        /// The header's key.
        header: Result<Option<HeaderKey>, HeaderError>,
        scope: Option<String>,
    },
}

impl Identity {
    /// Reads the head. What is wrong there is told before the body is asked for.
    pub(super) fn head(&self, parts: &Parts) -> Result<Head, Problem> {
        let lines = self.names.iter().flat_map(|name| parts.headers.get_all(name));
        let header = HeaderKey::read(lines, self.reading);
        if self.elsewhere.is_none() {
            match (&header, self.missing) {
                (Err(error), _) => return Err(bad_key(*error)),
                (Ok(None), Missing::Refused) => return Err(self.key_missing()),
                (Ok(None), Missing::Passed) => return Ok(Head::Pass),
                (Ok(Some(key)), _) => self.check_format(key.as_str())?,
                (Ok(None), Missing::Derived) => {}
            }
        }
        let scope = match &self.scope {
            None => None,
            // Without a scope, this client would share its keys with every other.
            Some(scope) => match scope(parts).filter(|scope| !scope.is_empty()) {
                None => return Err(Problem::new(ProblemKind::IdentityMissing)),
                Some(scope) => Some(scope),
            },
        };
        Ok(Head::Read { header, scope })
    }

    /// Makes the key; `None` where the request is let through without one.
    pub(super) fn key(
        &self,
        parts: &Parts,
        body: &Bytes,
        header: Result<Option<HeaderKey>, HeaderError>,
        scope: Option<String>,
    ) -> Result<Option<Key>, Problem> {
        let found = match self.elsewhere.as_ref().and_then(|elsewhere| elsewhere(parts, body)) {
            Some(text) => Some(text),
            None => header.map_err(bad_key)?.map(String::from),
        };
        if let Some(text) = &found {
            // The header's own was checked before the body was read.
            if self.elsewhere.is_some() {
                self.check_format(text)?;
            }
        } else {
            match self.missing {
                Missing::Refused => return Err(self.key_missing()),
                Missing::Passed => return Ok(None),
                Missing::Derived => {}
            }
        }
        let fingerprint = self.fingerprint.of(parts, body);
        let route = format!("{} {}", parts.method, self.template_of(parts));
        let key = match found {
            Some(id) => key_of(route, &id, scope),
            // Two parts, so that no client can send a key that means another's derived one.
            None => key_of(route, "derived", scope).part(hex(&fingerprint)),
        };
        let key = key.build().map_err(|error| Problem::new(ProblemKind::BadKey).with_detail(error.to_string()))?;
        Ok(Some(key.with_fingerprint(fingerprint)))
    }

    fn template_of(&self, parts: &Parts) -> String {
        if let Some(template) = self.template.as_ref().and_then(|template| template(parts)) {
            return template;
        }
        #[cfg(feature = "axum")]
        if let Some(matched) = parts.extensions.get::<axum::extract::MatchedPath>() {
            return matched.as_str().to_owned();
        }
        uri_of(parts).path().to_owned()
    }

    fn check_format(&self, key: &str) -> Result<(), Problem> {
        match &self.format {
            Some(format) if !(format.fits)(key) => {
                let detail = format!("the key is not {}", format.described);
                Err(Problem::new(ProblemKind::BadKey).with_detail(detail))
            }
            _ => Ok(()),
        }
    }

    fn key_missing(&self) -> Problem {
        let problem = Problem::new(ProblemKind::KeyMissing);
        let names: Vec<&str> = self.names.iter().map(HeaderName::as_str).collect();
        let names = names.join(" or ");
        if self.elsewhere.is_some() {
            return problem.with_detail(format!(
                "it has none where this service takes it from, such as a field of the body, nor in the header {names}; \
                 send it, and the same one again with each retry"
            ));
        }
        let new = match &self.format {
            Some(format) => format!("a new key, {}, for each new request", format.described),
            None => "a new key, such as a UUID, for each new request".to_owned(),
        };
        problem.with_detail(format!("send {new} in the header {names}, and the same one again with each retry"))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("names", &self.names)
            .field("reading", &self.reading)
            .field("missing", &self.missing)
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

fn bad_key(error: HeaderError) -> Problem {
    Problem::new(ProblemKind::BadKey).with_detail(error.to_string())
}

/// The key of a request's record.
pub(super) fn key_of(route: String, id: &str, scope: Option<String>) -> KeyBuilder {
    let key = Key::new(fitting(route), id);
    match scope {
        Some(scope) => key.scope(fitting(scope)),
        None => key,
    }
}

/// A text as a key's part: itself, or where a part cannot hold it, its digest.
fn fitting(text: String) -> String {
    // A text that looks like a digest is digested, so that none means another's.
    const DIGEST: &str = "sha256:";
    if (1..=LONGEST_PART).contains(&text.len()) && !text.chars().any(char::is_control) && !text.starts_with(DIGEST) {
        return text;
    }
    format!("{DIGEST}{}", hex(&Fingerprint::of_bytes(text.as_bytes())))
}

fn hex(fingerprint: &Fingerprint) -> String {
    fingerprint.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_is_too_long_or_odd_is_digested_and_never_another_one() {
        let long = "x".repeat(LONGEST_PART + 1);
        let odd = ["", "a\nb", &long, "sha256:0", "sha256:1"].map(|text| fitting(text.to_owned()));
        for (at, text) in odd.iter().enumerate() {
            assert!(text.starts_with("sha256:") && text.len() == 7 + 64, "{text}");
            assert!(!odd[..at].contains(text));
        }
        assert_eq!(fitting(odd[1].clone()), fitting(odd[1].clone()));
        assert_ne!(fitting(odd[1].clone()), odd[1], "whoever is named like a digest is not who has it");
        assert_eq!(fitting("x".repeat(LONGEST_PART)), "x".repeat(LONGEST_PART));
    }
}
