//! A response as it is kept with its key.

use std::borrow::Cow;
use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use http_body::Body;
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::headers::ReplayedHeaders;
use super::response_body::ReplyBody;

/// A response as it is kept: its bytes in one piece, from which it is read without a copy.
///
/// Version, status, headers and trailers (how many, then each name and value after its length), body. In
/// formats for people it is [`Readable`]. Both forms are what a later release must still read: a change is a
/// new variant, and a new version.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Recorded(Bytes);

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
        // Over HTTP/1.1, trailers come only where the head names them.
        let is_kept = |name: &HeaderName| {
            kept.keeps(name, &head.headers, sized) && (name != header::TRAILER || trailers.is_some())
        };
        let headers = head.headers.iter().filter(|(name, _)| is_kept(name));
        let trailers = trailers.into_iter().flatten();
        let trailers = trailers.filter(|(name, _)| kept.keeps(name, &head.headers, false));
        Self::written(head.status, headers, trailers, body)
    }

    fn written<'a>(
        status: StatusCode,
        headers: impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)>,
        trailers: impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)>,
        body: &[u8],
    ) -> Self {
        /// Room for a few short headers.
        const HEAD: usize = 128;
        let mut out = BytesMut::with_capacity(HEAD + body.len());
        out.put_u8(VERSION);
        out.put_u16(status.as_u16());
        put_list(&mut out, headers);
        put_list(&mut out, trailers);
        out.put_slice(body);
        Self(out.freeze())
    }

    /// The response again.
    pub(super) fn to_response(&self) -> Option<(Response<Bytes>, Option<HeaderMap>)> {
        let Parts { status, headers, trailers, body } = Parts::of(&self.0)?;
        let mut response = Response::new(self.0.slice_ref(body));
        *response.status_mut() = status;
        *response.headers_mut() = self.map_of(headers)?;
        Some((response, if trailers.count == 0 { None } else { Some(self.map_of(trailers)?) }))
    }

    fn map_of(&self, pairs: Pairs<'_>) -> Option<HeaderMap> {
        // Room for those that the layer adds. Of one name there may be more lines than a map has room for names.
        let mut map = HeaderMap::try_with_capacity(pairs.count + 3).unwrap_or_default();
        for pair in pairs {
            let (name, value) = self.header_of(pair)?;
            map.try_append(name, value).ok()?;
        }
        Some(map)
    }

    fn header_of(&self, (name, value): (&[u8], &[u8])) -> Option<(HeaderName, HeaderValue)> {
        let value = HeaderValue::from_maybe_shared(self.0.slice_ref(value)).ok()?;
        Some((HeaderName::from_bytes(name).ok()?, value))
    }

    /// `None` where the bytes are no response.
    fn of_bytes(bytes: Bytes) -> Option<Self> {
        let recorded = Self(bytes);
        let Parts { headers, trailers, .. } = Parts::of(&recorded.0)?;
        let is_one = headers.chain(trailers).all(|pair| recorded.header_of(pair).is_some());
        is_one.then_some(recorded)
    }
}

fn put_list<'a>(out: &mut BytesMut, list: impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)>) {
    let at = out.len();
    out.put_u32(0);
    let mut count = 0_u32;
    for (name, value) in list {
        for part in [name.as_str().as_bytes(), value.as_bytes()] {
            out.put_u32(part.len() as u32);
            out.put_slice(part);
        }
        count += 1;
    }
    out[at..at + 4].copy_from_slice(&count.to_be_bytes());
}

/// What a response's bytes say.
struct Parts<'a> {
    status: StatusCode,
    headers: Pairs<'a>,
    trailers: Pairs<'a>,
    body: &'a [u8],
}

impl<'a> Parts<'a> {
    /// `None` where they are none.
    fn of(bytes: &'a [u8]) -> Option<Self> {
        let (&[VERSION], rest) = bytes.split_first_chunk()? else { return None };
        let (status, rest) = rest.split_first_chunk()?;
        let status = StatusCode::from_u16(u16::from_be_bytes(*status)).ok()?;
        let (headers, rest) = Pairs::split_from(rest)?;
        let (trailers, body) = Pairs::split_from(rest)?;
        Some(Self { status, headers, trailers, body })
    }
}

/// Names and values.
#[derive(Clone)]
struct Pairs<'a> {
    count: usize,
    rest: &'a [u8],
}

impl<'a> Pairs<'a> {
    fn split_from(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (count, rest) = bytes.split_first_chunk()?;
        let pairs = Self { count: u32::from_be_bytes(*count) as usize, rest };
        let mut walked = pairs.clone();
        let are_all_there = walked.by_ref().count() == pairs.count;
        are_all_there.then_some((pairs, walked.rest))
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        self.count = self.count.checked_sub(1)?;
        let (name, rest) = split_part(self.rest)?;
        let (value, rest) = split_part(rest)?;
        self.rest = rest;
        Some((name, value))
    }
}

fn split_part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(u32::from_be_bytes(*length) as usize)
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

impl<'a> Readable<'a> {
    fn of(recorded: &'a Recorded) -> Option<Self> {
        let list = |list: Pairs<'a>| {
            let pair = |(name, value): (&'a [u8], &'a [u8])| {
                Some((Cow::Borrowed(std::str::from_utf8(name).ok()?), Octets::of(value)))
            };
            list.map(pair).collect::<Option<Vec<_>>>()
        };
        let Parts { status, headers, trailers, body } = Parts::of(&recorded.0)?;
        Some(Self::V1 {
            status: status.as_u16(),
            headers: list(headers)?,
            body: Octets::of(body),
            trailers: list(trailers)?,
        })
    }

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
        let (headers, trailers) = (list(headers)?, list(trailers)?);
        let status = StatusCode::from_u16(status).ok()?;
        Some(Recorded::written(status, pairs(&headers), pairs(&trailers), &body.into_bytes()))
    }
}

fn pairs(list: &[(HeaderName, HeaderValue)]) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
    list.iter().map(|(name, value)| (name, value))
}

/// Shows the status and the length only: headers may be secret, and which ones were is not kept.
impl fmt::Debug for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = Parts::of(&self.0).map(|parts| parts.status);
        write!(f, "Recorded({status:?}, {} bytes)", self.0.len())
    }
}

impl Serialize for Recorded {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            let readable = Readable::of(self).ok_or_else(|| S::Error::custom("it is no response"))?;
            return readable.serialize(serializer);
        }
        serializer.serialize_bytes(&self.0)
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
        let headers = [pair("location", b"/p/1"), pair("x", b"\xFF"), pair("x", b"")];
        let trailers = [pair("sum", b"1")];
        Recorded::written(StatusCode::CREATED, pairs(&headers), pairs(&trailers), b"{\"id\":1}")
    }

    #[test]
    fn json_shows_text_as_text_and_keeps_every_byte() {
        let json = serde_json::to_string(&sample()).unwrap();
        assert!(json.contains(r#""text":"/p/1""#), "{json}");
        assert_eq!(serde_json::from_str::<Recorded>(&json).unwrap(), sample());
        let (response, trailers) = sample().to_response().unwrap();
        assert_eq!((response.status(), response.headers()["x"].as_bytes()), (StatusCode::CREATED, &b"\xFF"[..]));
        assert_eq!((response.headers().len(), trailers.unwrap().len()), (3, 1));
    }

    #[test]
    fn its_bytes_are_what_every_release_reads() {
        let written = b"\x01\x00\xC9\
            \x00\x00\x00\x03\x00\x00\x00\x08location\x00\x00\x00\x04/p/1\
            \x00\x00\x00\x01x\x00\x00\x00\x01\xFF\x00\x00\x00\x01x\x00\x00\x00\x00\
            \x00\x00\x00\x01\x00\x00\x00\x03sum\x00\x00\x00\x011{\"id\":1}";
        assert_eq!(sample().0, written[..]);
        assert_eq!(Recorded::of_bytes(Bytes::from_static(written)), Some(sample()));
        let head = written.len() - "{\"id\":1}".len();
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
        let name = |name: &[u8]| [&b"\x01\x00\xC8\0\0\0\x01\0\0\0\x01"[..], name, b"\0\0\0\x01v\0\0\0\0"].concat();
        assert!(Recorded::of_bytes(name(b"n").into()).is_some() && Recorded::of_bytes(name(b" ").into()).is_none());
        let huge = [&[VERSION, 0, 200][..], &[0xFF; 4]].concat();
        for bad in [&b""[..], b"\x02\x00\xC8\0\0\0\0\0\0\0\0", b"\x01\x00\x01\0\0\0\0\0\0\0\0", &huge] {
            assert_eq!(Recorded::of_bytes(Bytes::copy_from_slice(bad)), None);
        }
    }
}
