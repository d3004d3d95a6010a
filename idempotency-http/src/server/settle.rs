//! What an operator needs who settles a request's key: the key of its record, and a response to record.

use bytes::Bytes;
use http::Response;
use idempotency_core::{Key, KeyError};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::headers::ReplayedHeaders;
use super::identity::key_of;
use super::record::Recorded;

/// The key under which a request's record stands in the store: to ask how things stand with it
/// ([`Idempotency::status`](idempotency_core::Idempotency::status)), or to settle it
/// ([`StoreExt::settle`](idempotency_core::StoreExt::settle)).
///
/// `route` is the method and the route's template (`"POST /payments/{id}"`), `key` the header's value without
/// its quotes, and `scope` what [`Policy::with_scope`](super::Policy::with_scope) gave. Routes and scopes that no
/// key can hold, as they are too long, stand there as their digests. The key has no fingerprint; the record has.
///
/// ```
/// # use idempotency_http::server::record_key;
/// let key = record_key("POST /payments", "f1", Some("alice"))?;
/// assert_eq!(key, idempotency_core::Key::new("POST /payments", "f1").scope("alice").build()?);
/// # Ok::<(), idempotency_core::KeyError>(())
/// ```
///
/// # Errors
/// [`KeyError`] for a `key` that no request has: empty, too long, or with control characters.
pub fn record_key(route: &str, key: &str, scope: Option<&str>) -> Result<Key, KeyError> {
    key_of(route.to_owned(), key, scope.map(str::to_owned)).build()
}

/// A response for retries to get, from an operator who settles a request's key with it: a value for
/// [`Settling::had_its_effect_with`](idempotency_core::Settling::had_its_effect_with).
///
/// It is kept as the layer keeps a handler's: without what belongs to one connection or one sending, and without
/// `Set-Cookie` and `Date`.
///
/// ```
/// # use http::Response;
/// # use idempotency_http::server::RecordedResponse;
/// let paid = Response::builder().status(201).header("content-type", "application/json").body(r#"{"id":7}"#)?;
/// let paid = RecordedResponse::from(paid);
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedResponse(Recorded);

impl<B: Into<Bytes>> From<Response<B>> for RecordedResponse {
    fn from(response: Response<B>) -> Self {
        let (head, body) = response.into_parts();
        Self(Recorded::of(&head, false, &ReplayedHeaders::default(), &body.into(), None))
    }
}

/// As what a run records.
impl Serialize for RecordedResponse {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_some(&self.0)
    }
}

impl<'de> Deserialize<'de> for RecordedResponse {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let recorded = Option::deserialize(deserializer)?;
        recorded.map(Self).ok_or_else(|| serde::de::Error::custom("there is no response"))
    }
}
