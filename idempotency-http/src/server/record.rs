//! A response as it is kept with its key.

use std::borrow::Cow;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use http_body::Body;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::headers::ReplayedHeaders;
use super::response_body::ReplyBody;

/// A response as it is kept.
///
/// In formats for people it is [`Readable`]; in others its bytes in one piece, from which it is read without
/// a copy: version, status, headers and trailers (how many, then each name and value after its length), body.
/// Both forms are what a later release must still read: a change is a new variant, and a new version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Recorded {
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
    trailers: Vec<(HeaderName, HeaderValue)>,
}

/// The version of the bytes.
const VERSION: u8 = 1;

impl Recorded {
    pub(super) fn of(
        head: &http::response::Parts,
        sized: bool,
        kept: &ReplayedHeaders,
        body: &Bytes,
        trailers: Option<&HeaderMap>,
    ) -> Self {
        let pair = |(name, value): (&HeaderName, &HeaderValue)| (name.clone(), value.clone());
        // Over HTTP/1.1, trailers come only where the head names them.
        let is_kept = |name: &HeaderName| {
            kept.keeps(name, &head.headers, sized) && (name != header::TRAILER || trailers.is_some())
        };
        let trailers = trailers.into_iter().flatten();
        Self {
            status: head.status,
            headers: head.headers.iter().filter(|(name, _)| is_kept(name)).map(pair).collect(),
            body: body.clone(),
            trailers: trailers.filter(|(name, _)| kept.keeps(name, &head.headers, false)).map(pair).collect(),
        }
    }

    /// The response again.
    pub(super) fn into_response(self) -> (Response<Bytes>, Option<HeaderMap>) {
        let Self { status, headers, body, trailers } = self;
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = map_of(headers);
        (response, (!trailers.is_empty()).then(|| map_of(trailers)))
    }

    fn to_bytes(&self) -> BytesMut {
        let lists = [&self.headers, &self.trailers];
        let length = |(name, value): &(HeaderName, HeaderValue)| name.as_str().len() + value.len() + 8;
        let all: usize = lists.iter().flat_map(|list| list.iter()).map(length).sum();
        let mut out = BytesMut::with_capacity(all + self.body.len() + 11);
        out.put_u8(VERSION);
        out.put_u16(self.status.as_u16());
        for list in lists {
            out.put_u32(list.len() as u32);
            for (name, value) in list {
                for part in [name.as_str().as_bytes(), value.as_bytes()] {
                    out.put_u32(part.len() as u32);
                    out.put_slice(part);
                }
            }
        }
        out.put_slice(&self.body);
        out
    }

    /// `None` where the bytes are no response.
    fn of_bytes(mut bytes: Bytes) -> Option<Self> {
        if bytes.try_get_u8().ok()? != VERSION {
            return None;
        }
        let status = StatusCode::from_u16(bytes.try_get_u16().ok()?).ok()?;
        let (headers, trailers) = (take_list(&mut bytes)?, take_list(&mut bytes)?);
        Some(Self { status, headers, body: bytes, trailers })
    }
}

fn take_list(bytes: &mut Bytes) -> Option<Vec<(HeaderName, HeaderValue)>> {
    let count = bytes.try_get_u32().ok()? as usize;
    // Each takes eight bytes at the least: what is damaged cannot ask for more room than it has itself.
    let mut list = Vec::with_capacity(count.min(bytes.len() / 8));
    for _ in 0..count {
        let name = HeaderName::from_bytes(&take_part(bytes)?).ok()?;
        list.push((name, HeaderValue::from_maybe_shared(take_part(bytes)?).ok()?));
    }
    Some(list)
}

fn take_part(bytes: &mut Bytes) -> Option<Bytes> {
    let length = bytes.try_get_u32().ok()? as usize;
    (length <= bytes.len()).then(|| bytes.split_to(length))
}

fn map_of(pairs: Vec<(HeaderName, HeaderValue)>) -> HeaderMap {
    // Room for those that the layer adds. Of one name there may be more lines than a map has room for names.
    let mut map = HeaderMap::try_with_capacity(pairs.len() + 3).unwrap_or_default();
    for (name, value) in pairs {
        map.append(name, value);
    }
    map
}

/// A response as people read it.
#[derive(Serialize, Deserialize)]
enum Readable<'a> {
    /// The first form.
    V1 {
        status: u16,
        headers: Vec<(Cow<'a, str>, Octets<'a>)>,
        body: Octets<'a>,
        trailers: Vec<(Cow<'a, str>, Octets<'a>)>,
    },
}

/// Bytes that people can read where they are text.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Octets<'a> {
    Text(Cow<'a, str>),
    Bytes(Bytes),
}

impl<'a> Octets<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(Cow::Borrowed(text)),
            Err(_) => Self::Bytes(Bytes::copy_from_slice(bytes)),
        }
    }

    fn into_bytes(self) -> Bytes {
        match self {
            Self::Text(text) => text.into_owned().into(),
            Self::Bytes(bytes) => bytes,
        }
    }
}

impl<'a> From<&'a Recorded> for Readable<'a> {
    fn from(recorded: &'a Recorded) -> Self {
        let list = |list: &'a [(HeaderName, HeaderValue)]| {
            let pair = |(name, value): &'a (HeaderName, HeaderValue)| {
                (Cow::Borrowed(name.as_str()), Octets::of(value.as_bytes()))
            };
            list.iter().map(pair).collect()
        };
        Self::V1 {
            status: recorded.status.as_u16(),
            headers: list(&recorded.headers),
            body: Octets::of(&recorded.body),
            trailers: list(&recorded.trailers),
        }
    }
}

impl Readable<'_> {
    /// `None` where it is no response.
    fn into_recorded(self) -> Option<Recorded> {
        let Self::V1 { status, headers, body, trailers } = self;
        let list = |list: Vec<(Cow<'_, str>, Octets<'_>)>| -> Option<Vec<_>> {
            let pair = |(name, value): (Cow<'_, str>, Octets<'_>)| {
                let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
                Some((name, HeaderValue::from_maybe_shared(value.into_bytes()).ok()?))
            };
            list.into_iter().map(pair).collect()
        };
        Some(Recorded {
            status: StatusCode::from_u16(status).ok()?,
            headers: list(headers)?,
            body: body.into_bytes(),
            trailers: list(trailers)?,
        })
    }
}

impl Serialize for Recorded {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return Readable::from(self).serialize(serializer);
        }
        serializer.serialize_bytes(&self.to_bytes())
    }
}

impl<'de> Deserialize<'de> for Recorded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let recorded = if deserializer.is_human_readable() {
            Readable::deserialize(deserializer)?.into_recorded()
        } else {
            Self::of_bytes(Bytes::deserialize(deserializer)?)
        };
        recorded.ok_or_else(|| D::Error::custom("it is no response"))
    }
}

/// What a run gives: what is recorded, and for its own caller the response itself.
pub(super) struct Answered<B: Body> {
    /// `None` where only the fact is kept.
    pub(super) recorded: Option<Recorded>,
    /// `None` in a replay. Boxed, as it is moved often on its way.
    pub(super) first: Option<Box<Response<ReplyBody<B>>>>,
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

    fn sample() -> Recorded {
        let pair =
            |name, value: &'static [u8]| (HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
        Recorded {
            status: StatusCode::CREATED,
            headers: vec![pair("location", b"/p/1"), pair("x", b"\xFF"), pair("x", b"")],
            body: "{\"id\":1}".into(),
            trailers: vec![pair("sum", b"1")],
        }
    }

    #[test]
    fn json_shows_text_as_text_and_keeps_every_byte() {
        let json = serde_json::to_string(&sample()).unwrap();
        assert!(json.contains(r#""text":"/p/1""#), "{json}");
        assert_eq!(serde_json::from_str::<Recorded>(&json).unwrap(), sample());
        let (response, trailers) = sample().into_response();
        assert_eq!((response.status(), response.headers()["x"].as_bytes()), (StatusCode::CREATED, &b"\xFF"[..]));
        assert_eq!((response.headers().len(), trailers.unwrap().len()), (3, 1));
    }

    #[test]
    fn its_bytes_are_what_every_release_reads() {
        let written = b"\x01\x00\xC9\
            \x00\x00\x00\x03\x00\x00\x00\x08location\x00\x00\x00\x04/p/1\
            \x00\x00\x00\x01x\x00\x00\x00\x01\xFF\x00\x00\x00\x01x\x00\x00\x00\x00\
            \x00\x00\x00\x01\x00\x00\x00\x03sum\x00\x00\x00\x011{\"id\":1}";
        assert_eq!(sample().to_bytes(), written[..]);
        assert_eq!(Recorded::of_bytes(Bytes::from_static(written)), Some(sample()));
        let head = written.len() - sample().body.len();
        for length in 0..head {
            assert_eq!(Recorded::of_bytes(Bytes::from_static(&written[..length])), None, "{length}");
        }
    }

    #[test]
    fn what_is_no_response_is_none() {
        let with = |status: u16, name: &str, value: &str| {
            let json = format!(
                r#"{{"V1":{{"status":{status},"headers":[["{name}",{{"text":"{value}"}}]],"body":{{"text":""}},"trailers":[]}}}}"#
            );
            serde_json::from_str::<Recorded>(&json).is_ok()
        };
        assert!(with(200, "a", "b"));
        assert!(!with(99, "a", "b") && !with(200, "a b", "c") && !with(200, "a", "b\\n"));
        let huge = [&[VERSION, 0, 200][..], &[0xFF; 4]].concat();
        for bad in [&b""[..], b"\x02\x00\xC8\0\0\0\0\0\0\0\0", b"\x01\x00\x01\0\0\0\0\0\0\0\0", &huge] {
            assert_eq!(Recorded::of_bytes(Bytes::copy_from_slice(bad)), None);
        }
    }
}
