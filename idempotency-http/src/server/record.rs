//! A response as it is kept with its key.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body::Body;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::headers::ReplayedHeaders;
use super::response_body::ReplyBody;

/// A response as it is kept. Its form is what a later release must still read: a change is a new variant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Recorded {
    /// The first form.
    V1 { status: u16, headers: Vec<(String, Octets)>, body: Octets, trailers: Vec<(String, Octets)> },
}

impl Recorded {
    pub(super) fn of(
        head: &http::response::Parts,
        sized: bool,
        kept: &ReplayedHeaders,
        body: &Bytes,
        trailers: Option<&HeaderMap>,
    ) -> Self {
        let pair = |(name, value): (&HeaderName, &HeaderValue)| {
            (name.as_str().to_owned(), Octets(Bytes::copy_from_slice(value.as_bytes())))
        };
        Self::V1 {
            status: head.status.as_u16(),
            headers: head.headers.iter().filter(|(name, _)| kept.keeps(name, &head.headers, sized)).map(pair).collect(),
            body: Octets(body.clone()),
            trailers: trailers
                .into_iter()
                .flatten()
                .filter(|(name, _)| kept.keeps(name, &head.headers, false))
                .map(pair)
                .collect(),
        }
    }

    /// The response again; `None` where what was kept is none.
    pub(super) fn into_response(self) -> Option<(Response<Bytes>, Option<HeaderMap>)> {
        let Self::V1 { status, headers, body, trailers } = self;
        let mut response = Response::new(body.0);
        *response.status_mut() = StatusCode::from_u16(status).ok()?;
        *response.headers_mut() = map_of(headers)?;
        let trailers = map_of(trailers)?;
        Some((response, (!trailers.is_empty()).then_some(trailers)))
    }
}

fn map_of(pairs: Vec<(String, Octets)>) -> Option<HeaderMap> {
    let mut map = HeaderMap::with_capacity(pairs.len() + 3);
    for (name, value) in pairs {
        map.append(HeaderName::try_from(name).ok()?, HeaderValue::from_maybe_shared(value.0).ok()?);
    }
    Some(map)
}

/// Bytes that people can read, in formats that are for people, where they are text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Octets(pub(super) Bytes);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Readable {
    Text(String),
    Bytes(Bytes),
}

impl Serialize for Octets {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return self.0.serialize(serializer);
        }
        match std::str::from_utf8(&self.0) {
            Ok(text) => Readable::Text(text.to_owned()).serialize(serializer),
            Err(_) => Readable::Bytes(self.0.clone()).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Octets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return Bytes::deserialize(deserializer).map(Self);
        }
        Ok(Self(match Readable::deserialize(deserializer)? {
            Readable::Text(text) => text.into(),
            Readable::Bytes(bytes) => bytes,
        }))
    }
}

/// What a run gives: what is recorded, and for its own caller the response itself.
pub(super) struct Answered<B: Body> {
    /// `None` where only the fact is kept.
    pub(super) recorded: Option<Recorded>,
    /// `None` in a replay.
    pub(super) first: Option<Response<ReplyBody<B>>>,
}

impl<B: Body> Serialize for Answered<B> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.recorded.serialize(serializer)
    }
}

impl<'de, B: Body> Deserialize<'de> for Answered<B> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Option::deserialize(deserializer)? {
            Some(recorded) => Ok(Self { recorded: Some(recorded), first: None }),
            None => Err(D::Error::custom("there is no response")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_shows_text_as_text_and_keeps_every_byte() {
        let recorded = Recorded::V1 {
            status: 201,
            headers: vec![
                ("location".into(), Octets("/p/1".into())),
                ("x".into(), Octets(Bytes::from_static(b"\xFF"))),
            ],
            body: Octets("{\"id\":1}".into()),
            trailers: Vec::new(),
        };
        let json = serde_json::to_string(&recorded).unwrap();
        assert!(json.contains(r#""text":"/p/1""#), "{json}");
        assert_eq!(serde_json::from_str::<Recorded>(&json).unwrap(), recorded);
        let (response, trailers) = recorded.into_response().unwrap();
        assert_eq!(
            (response.status(), response.headers()["x"].as_bytes(), trailers),
            (StatusCode::CREATED, &b"\xFF"[..], None)
        );
    }

    #[test]
    fn what_is_no_response_is_none() {
        let with = |status, name: &str, value: &'static [u8]| Recorded::V1 {
            status,
            headers: vec![(name.into(), Octets(Bytes::from_static(value)))],
            body: Octets::default(),
            trailers: Vec::new(),
        };
        assert!(with(200, "a", b"b").into_response().is_some());
        for bad in [with(99, "a", b"b"), with(200, "a b", b"c"), with(200, "a", b"b\n")] {
            assert!(bad.into_response().is_none());
        }
    }
}
