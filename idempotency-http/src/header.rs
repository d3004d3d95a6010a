//! The value of the `Idempotency-Key` header.

use std::fmt;

use http::HeaderValue;
use sfv::{BareItem, Item, ItemSerializer, List, ListEntry, Parser, StringRef};

/// The longest key, in bytes: the longest part of a key in the store.
pub const LONGEST_KEY: usize = 255;

/// A key as the header carries it: 1 to [`LONGEST_KEY`] printable ASCII characters.
///
/// `abc` and `"abc"` are one key. Its `Debug` shows the length only, as a client may take a secret for a
/// key.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct HeaderKey(String);

/// How a header's value is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Reading {
    /// As a structured field's string (RFC 9651, section 3.3.3), or bare, as most clients send it. Bare, a
    /// key has neither spaces nor `"`, `\` and `,`.
    #[default]
    Lenient,
    /// As a structured field's string only: `"abc"`.
    Strict,
}

impl HeaderKey {
    /// Takes a key that is to be sent.
    ///
    /// # Errors
    /// [`HeaderError`]: empty, too long, or not of printable ASCII.
    pub fn new(key: impl Into<String>) -> Result<Self, HeaderError> {
        let key = key.into();
        match key.len() {
            0 => Err(HeaderError::Empty),
            1..=LONGEST_KEY if key.bytes().all(|byte| matches!(byte, b' '..=b'~')) => Ok(Self(key)),
            1..=LONGEST_KEY => Err(HeaderError::BadCharacter),
            bytes => Err(HeaderError::TooLong { bytes }),
        }
    }

    /// A key that was made to be one.
    #[cfg(feature = "client")]
    pub(crate) const fn of_valid(key: String) -> Self {
        Self(key)
    }

    /// Reads the one key of all lines of a header; `None` where there is no line.
    ///
    /// Lines, or members of one line, that say the same key are one.
    ///
    /// # Errors
    /// [`HeaderError`], also for two keys that differ.
    pub fn read<'a>(
        lines: impl IntoIterator<Item = &'a HeaderValue>,
        reading: Reading,
    ) -> Result<Option<Self>, HeaderError> {
        let mut key: Option<Self> = None;
        for line in lines {
            for found in members(line.as_bytes(), reading)? {
                let found = Self::new(found)?;
                match &key {
                    None => key = Some(found),
                    Some(key) if *key != found => return Err(HeaderError::Several),
                    Some(_) => {}
                }
            }
        }
        Ok(key)
    }

    /// The key itself, without quotes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The header's value: a structured field's string.
    #[must_use]
    pub fn to_value(&self) -> HeaderValue {
        let quoted = StringRef::from_str(&self.0).map(|key| ItemSerializer::new().bare_item(key).finish());
        // Printable ASCII is a string of structured fields, and that is a header's value.
        quoted.ok().and_then(|quoted| HeaderValue::try_from(quoted).ok()).unwrap_or(HeaderValue::from_static("\"\""))
    }

    /// The header's value without quotes, for servers that do not take them off; `None` for a key that has
    /// spaces, `"`, `\\` or `,`, which would not be read as one.
    #[must_use]
    pub fn to_bare_value(&self) -> Option<HeaderValue> {
        let is_bare = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b',');
        self.0.bytes().all(is_bare).then(|| HeaderValue::try_from(self.0.as_str()).ok())?
    }
}

impl From<HeaderKey> for String {
    fn from(key: HeaderKey) -> Self {
        key.0
    }
}

impl fmt::Debug for HeaderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HeaderKey({} bytes)", self.0.len())
    }
}

fn members(line: &[u8], reading: Reading) -> Result<Vec<String>, HeaderError> {
    let line = line.trim_ascii();
    if line.is_empty() {
        return Err(HeaderError::Empty);
    }
    match (reading, line[0]) {
        (_, b'"') => quoted(line, reading),
        (Reading::Strict, _) => Err(HeaderError::NotAString),
        (Reading::Lenient, _) => line.split(|&byte| byte == b',').map(|member| bare(member.trim_ascii())).collect(),
    }
}

fn quoted(line: &[u8], reading: Reading) -> Result<Vec<String>, HeaderError> {
    if let Ok(item) = Parser::new(line).parse::<Item>() {
        return Ok(vec![string(item.bare_item)?]);
    }
    // A proxy joins two lines by a comma; the draft's header is no list, so only the lenient know of it.
    if reading == Reading::Strict {
        return Err(HeaderError::NotAString);
    }
    let list: List = Parser::new(line).parse().map_err(|_| HeaderError::NotAString)?;
    let strings = list.into_iter().map(|entry| match entry {
        ListEntry::Item(item) => string(item.bare_item),
        ListEntry::InnerList(_) => Err(HeaderError::NotAString),
    });
    strings.collect()
}

fn string(item: BareItem) -> Result<String, HeaderError> {
    match item {
        BareItem::String(string) => Ok(string.into()),
        BareItem::Decimal(_)
        | BareItem::Integer(_)
        | BareItem::ByteSequence(_)
        | BareItem::Boolean(_)
        | BareItem::Token(_)
        | BareItem::Date(_)
        | BareItem::DisplayString(_) => Err(HeaderError::NotAString),
    }
}

fn bare(member: &[u8]) -> Result<String, HeaderError> {
    if member.is_empty() {
        return Err(HeaderError::Empty);
    }
    // Before its bytes are copied.
    if member.len() > LONGEST_KEY {
        return Err(HeaderError::TooLong { bytes: member.len() });
    }
    match std::str::from_utf8(member) {
        Ok(text) if member.iter().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\')) => {
            Ok(text.to_owned())
        }
        _ => Err(HeaderError::BadCharacter),
    }
}

/// Why a header has no key. Nothing of its content is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// There is nothing in it, or nothing between two commas.
    #[error("the key is empty")]
    Empty,
    /// It has more than [`LONGEST_KEY`] bytes.
    #[error("the key has {bytes} bytes; the most are {LONGEST_KEY}")]
    TooLong {
        /// How many it has.
        bytes: usize,
    },
    /// It has a character that is not printable ASCII, or, without quotes, a space, `"` or `\`.
    #[error("the key has a character that it may not have: a key is of printable ASCII, and quoted if it has spaces")]
    BadCharacter,
    /// It is no string of structured fields.
    #[error("the key is not a quoted string (RFC 9651, section 3.3.3)")]
    NotAString,
    /// There are two that differ.
    #[error("there are two different keys")]
    Several,
}
