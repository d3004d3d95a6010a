//! The readable codec.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use super::redact::redacted;
use super::{Codec, CodecError, Target};
use crate::key::Key;

/// JSON: for values that change shape between releases, or that people read.
///
/// Floats that are not finite become `null`, and maps need string keys; such a value is found on the
/// first run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Json;

impl Codec for Json {
    fn id(&self) -> &str {
        "json"
    }

    fn encode(&self, _: &Key, value: &dyn erased_serde::Serialize, out: &mut Vec<u8>) -> Result<(), CodecError> {
        encode(value, out)
    }

    fn decode(&self, _: &Key, bytes: &[u8], into: &mut dyn Target) -> Result<(), CodecError> {
        let mut json = serde_json::Deserializer::from_slice(bytes);
        into.read(&mut <dyn erased_serde::Deserializer<'_>>::erase(&mut json))
            .map_err(|error| CodecError::decode(redacted(&error.to_string())))?;
        json.end().map_err(|error| CodecError::decode(told(&error)))
    }
}

/// Appends any value.
pub(super) fn encode<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
    serde_json::to_writer(out, value).map_err(|error| CodecError::encode(told(&error)))
}

/// Reads a value from exactly these bytes.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    serde_json::from_slice(bytes).map_err(|error| CodecError::decode(told(&error)))
}

fn told(error: &serde_json::Error) -> String {
    match error.classify() {
        Category::Data => redacted(&error.to_string()),
        Category::Io | Category::Syntax | Category::Eof => error.to_string(),
    }
}
