//! A key's parts to its text, and back.

use std::sync::Arc;

use super::{Key, KeyError, LONGEST_PART, MOST_ID_PARTS};
use crate::fingerprint::Fingerprint;

/// Checks one part and gives it as text.
pub(super) fn check<'a>(part: &'static str, bytes: &'a [u8]) -> Result<&'a str, KeyError> {
    if bytes.is_empty() {
        return Err(KeyError::Empty { part });
    }
    if bytes.len() > LONGEST_PART {
        return Err(KeyError::TooLong { part, bytes: bytes.len() });
    }
    let text = std::str::from_utf8(bytes).map_err(|error| KeyError::NotUtf8 { part, at: error.valid_up_to() })?;
    match text.char_indices().find(|(_, c)| c.is_control()) {
        Some((at, found)) => Err(KeyError::ControlCharacter { part, at, found }),
        None => Ok(text),
    }
}

/// Appends a part, `%` and `/` escaped.
pub(super) fn escape_into(text: &mut String, part: &str) {
    for c in part.chars() {
        match c {
            '%' => text.push_str("%25"),
            '/' => text.push_str("%2F"),
            other => text.push(other),
        }
    }
}

/// A part as it was given.
pub(super) fn unescape(escaped: &str) -> String {
    escaped.replace("%2F", "/").replace("%25", "%")
}

/// Reads a whole key back.
pub(super) fn parse(bytes: &[u8]) -> Result<Key, KeyError> {
    let text =
        std::str::from_utf8(bytes).map_err(|error| KeyError::NotUtf8 { part: "text", at: error.valid_up_to() })?;
    let mut segments = text.split('/');
    let scope = segments.next().unwrap_or_default();
    if !scope.is_empty() {
        check_segment("scope", scope)?;
    }
    check_segment("operation", segments.next().ok_or(KeyError::NotAKey("it has no operation"))?)?;
    let mut parts = 0;
    for segment in segments {
        check_segment("id", segment)?;
        parts += 1;
    }
    match parts {
        0 => Err(KeyError::NotAKey("it has no id")),
        1..=MOST_ID_PARTS => Ok(Key { text: Arc::from(text), fingerprint: Fingerprint::NONE }),
        parts => Err(KeyError::TooManyParts { parts }),
    }
}

fn check_segment(part: &'static str, segment: &str) -> Result<(), KeyError> {
    let plain = unescape(segment);
    check(part, plain.as_bytes())?;
    let mut again = String::with_capacity(segment.len());
    escape_into(&mut again, &plain);
    // One key has one text: `%41` for `A`, or a lone `%`, is not it.
    if again == segment { Ok(()) } else { Err(KeyError::NotAKey("a part is not escaped as a key's parts are")) }
}
