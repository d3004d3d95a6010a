//! JSON whose numbers are as they were written.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use serde_json::Value;

/// A JSON text's content.
///
/// A number is its text: as a float, `10000000000000000000001` and `…2` would be one amount, and
/// one event's id another's.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Json<'a> {
    Null,
    Bool(bool),
    Number(&'a str),
    String(String),
    Array(Vec<Self>),
    /// Of a field that stands twice, the last counts.
    Object(BTreeMap<String, Self>),
}

impl<'a> Json<'a> {
    /// `None` where the text is no JSON, is nested too deeply, or has a number that no float comes near.
    pub(super) fn of(text: &'a [u8]) -> Option<Self> {
        // Whether it is one, and not too deep, is serde_json's to say: what is read from here on is well formed.
        serde_json::from_slice::<Value>(text).ok()?;
        Reader { text: std::str::from_utf8(text).ok()?, at: 0 }.value()
    }

    /// What an RFC 6901 pointer points to.
    pub(super) fn pointer(&self, pointer: &str) -> Option<&Self> {
        if pointer.is_empty() {
            return Some(self);
        }
        let names = pointer.strip_prefix('/')?.split('/').map(|name| name.replace("~1", "/").replace("~0", "~"));
        names.into_iter().try_fold(self, |within, name| match within {
            Self::Object(fields) => fields.get(&name),
            Self::Array(elements) => {
                let is_index = name == "0" || !name.starts_with(['0', '+']);
                is_index.then(|| name.parse::<usize>().ok())?.and_then(|index| elements.get(index))
            }
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::String(_) => None,
        })
    }
}

/// Reads what is known to be well formed.
struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    /// The next byte that is no space.
    fn next(&mut self) -> Option<u8> {
        let rest = &self.text.as_bytes()[self.at..];
        self.at += rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        self.text.as_bytes().get(self.at).copied()
    }

    /// Whether the next is this one; then it is read.
    fn eats(&mut self, byte: u8) -> bool {
        let is_next = self.next() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn value(&mut self) -> Option<Json<'a>> {
        match self.next()? {
            b'"' => self.string().map(Json::String),
            b'[' => {
                self.at += 1;
                let mut elements = Vec::new();
                while !self.eats(b']') {
                    elements.push(self.value()?);
                    self.eats(b',');
                }
                Some(Json::Array(elements))
            }
            b'{' => {
                self.at += 1;
                let mut fields = BTreeMap::new();
                while !self.eats(b'}') {
                    self.next()?;
                    let name = self.string()?;
                    self.eats(b':');
                    fields.insert(name, self.value()?);
                    self.eats(b',');
                }
                Some(Json::Object(fields))
            }
            _ => {
                let rest = &self.text[self.at..];
                let end = rest.find([',', ']', '}', ' ', '\t', '\n', '\r']).unwrap_or(rest.len());
                self.at += end;
                Some(match &rest[..end] {
                    "null" => Json::Null,
                    "true" => Json::Bool(true),
                    "false" => Json::Bool(false),
                    number => Json::Number(number),
                })
            }
        }
    }

    fn string(&mut self) -> Option<String> {
        let rest = &self.text[self.at..];
        let mut is_escaped = false;
        let end = rest.bytes().skip(1).position(|byte| {
            let ends = byte == b'"' && !is_escaped;
            is_escaped = byte == b'\\' && !is_escaped;
            ends
        })?;
        // The quotes are two more.
        let quoted = &rest[..end + 2];
        self.at += quoted.len();
        serde_json::from_str(quoted).ok()
    }
}

/// For a fingerprint: a number is not the string of the same text.
impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(text) => serializer.serialize_newtype_variant("Json", 2, "number", text),
            Self::String(text) => serializer.serialize_str(text),
            Self::Array(elements) => serializer.collect_seq(elements),
            Self::Object(fields) => serializer.collect_map(fields),
        }
    }
}

#[cfg(test)]
mod tests {
    use idempotency_testkit::proptest::prelude::*;

    use super::*;

    /// As serde_json has it.
    fn value_of(json: &Json<'_>) -> Value {
        match json {
            Json::Null => Value::Null,
            Json::Bool(value) => (*value).into(),
            Json::Number(text) => serde_json::from_str(text).unwrap(),
            Json::String(text) => text.as_str().into(),
            Json::Array(elements) => elements.iter().map(value_of).collect(),
            Json::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), value_of(value))).collect(),
        }
    }

    #[track_caller]
    fn assert_read(text: &str) {
        let json = Json::of(text.as_bytes());
        assert_eq!(json.as_ref().map(value_of), serde_json::from_str(text).ok(), "{text}");
    }

    #[test]
    fn it_is_read_as_serde_json_reads_it() {
        for text in [
            r#" { "a" : [ 1 , -2.5e-3 , true , false , null , "" ] , "a\"\\" : { } , "a" : "\u00e9\ud83d\ude00é" } "#,
            "[]",
            "[[],[[]],{}]",
            "\"\\\\\"",
            " 7\n",
            "-0",
            "\t\"x\"\r\n",
            // No JSON.
            "",
            " ",
            "{",
            "[1,]",
            "{\"a\" 1}",
            "[1 2]",
            "nul",
            "01",
            "+1",
            "\"",
            "\"\\\"",
            "\"\\ud800\"",
            "1e400",
            "[1]]",
        ] {
            assert_read(text);
        }
        assert_read(&"[".repeat(100_000));
        assert_read(&["[".repeat(200), "]".repeat(200)].concat());
        assert_eq!(Json::of(b"\"\xFF\""), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn almost_json_is_read_as_serde_json_reads_it(text in "[\\[\\]{}\",:\\\\ 0-2eE.+a-ux\n-]{0,24}") {
            assert_read(&text);
        }

        #[test]
        fn json_is_read_as_serde_json_reads_it(strings in prop::collection::vec(".{0,8}", 4), number in any::<f64>()) {
            let [a, b, c, d] = &strings[..] else { panic!("four") };
            let value = serde_json::json!({ a: [b, number, { c: d }, null, true], b: { d: {} } });
            assert_read(&value.to_string());
            assert_read(&format!("{value:#}"));
        }
    }

    #[test]
    fn a_pointer_points_where_serde_json_has_it() {
        let text = r#"{"a":{"b/c":[1,{"~":"x"}]},"":0,"0":1}"#;
        let (json, value) = (Json::of(text.as_bytes()).unwrap(), serde_json::from_str::<Value>(text).unwrap());
        for pointer in [
            "",
            "/",
            "/a",
            "a",
            "/a/b~1c/1/~0",
            "/a/b~1c/0",
            "/a/b~1c/00",
            "/a/b~1c/+1",
            "/a/b~1c/2",
            "/a/b~1c/",
            "/0",
            "/a/b~1c/1/~0/x",
            "/none",
        ] {
            assert_eq!(json.pointer(pointer).map(value_of).as_ref(), value.pointer(pointer), "{pointer}");
        }
    }
}
