//! Puts a key together.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::{Key, KeyError, MOST_ID_PARTS, text};
use crate::fingerprint::Fingerprint;
use crate::time::{Timestamp, checked};

/// Puts a [`Key`] together; [`KeyBuilder::build`] tells the first thing that is wrong with it.
#[derive(Debug)]
#[must_use = "a builder is no key before `build`"]
pub struct KeyBuilder {
    scope: String,
    /// The operation and the id's parts, escaped and joined.
    rest: String,
    id_parts: usize,
    fingerprint: Fingerprint,
    error: Option<KeyError>,
}

impl KeyBuilder {
    pub(super) fn new(operation: &[u8], id: &[u8]) -> Self {
        let rest = String::with_capacity(operation.len() + id.len() + 16);
        let mut key = Self { scope: String::new(), rest, id_parts: 0, fingerprint: Fingerprint::NONE, error: None };
        match text::check("operation", operation) {
            Ok(operation) => text::escape_into(&mut key.rest, operation),
            Err(error) => key.error = Some(error),
        }
        key.part(id)
    }

    fn checked(mut self, part: &'static str, bytes: &[u8], put: impl FnOnce(&mut Self, &str)) -> Self {
        match text::check(part, bytes) {
            Ok(text) => put(&mut self, text),
            Err(error) => return self.fail(error),
        }
        self
    }

    fn fail(mut self, error: KeyError) -> Self {
        self.error.get_or_insert(error);
        self
    }

    /// Adds a part to the id, for operations that one part does not name (a refund of an order).
    pub fn part(self, part: impl AsRef<[u8]>) -> Self {
        self.checked("id", part.as_ref(), |key, part| {
            key.rest.push('/');
            text::escape_into(&mut key.rest, part);
            key.id_parts += 1;
        })
    }

    /// Sets whose key this is: a tenant, an API key, a user. Keys of two scopes never meet.
    pub fn scope(self, scope: impl AsRef<[u8]>) -> Self {
        self.checked("scope", scope.as_ref(), |key, scope| {
            key.scope.clear();
            text::escape_into(&mut key.scope, scope);
        })
    }

    /// Sets the request that the key stands for, so that the key is caught when it comes again with
    /// another. See [`Fingerprint::of`] for what counts.
    pub fn request<T: Serialize + ?Sized>(self, request: &T) -> Self {
        match Fingerprint::of(request) {
            Ok(fingerprint) => Self { fingerprint, ..self },
            Err(error) => self.fail(error.into()),
        }
    }

    /// As [`KeyBuilder::request`], for a request's raw bytes.
    pub fn request_bytes(self, request: &[u8]) -> Self {
        Self { fingerprint: Fingerprint::of_bytes(request), ..self }
    }

    /// Adds the period of length `every`, counted from 1970, in which a moment lies.
    pub(crate) fn period(self, at: Timestamp, every: Duration) -> Self {
        let every = match checked("the schedule's period", every) {
            Ok(every) => every,
            Err(error) => return self.fail(error.into()),
        };
        // At least a millisecond and at most a hundred years: neither zero nor too large for a u64.
        let period = u64::try_from(every.as_micros()).unwrap_or(u64::MAX);
        let start = Timestamp::from_micros(at.as_micros() / period * period);
        self.part(format!("{every:?}")).part(start.to_string())
    }

    /// Checks the parts and makes the key.
    ///
    /// # Errors
    /// [`KeyError`]: the first part given that is empty, too long, not UTF-8 or has control
    /// characters, or the request whose fingerprint could not be made.
    pub fn build(self) -> Result<Key, KeyError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        if self.id_parts > MOST_ID_PARTS {
            return Err(KeyError::TooManyParts { parts: self.id_parts });
        }
        let text = [self.scope.as_str(), "/", self.rest.as_str()].concat();
        Ok(Key { text: Arc::from(text), fingerprint: self.fingerprint })
    }
}

pub(super) fn schedule_slot(job: &[u8], at: Timestamp, every: Duration) -> KeyBuilder {
    KeyBuilder::new(b"schedule", job).period(at, every)
}

pub(super) fn from_payload<T: Serialize + ?Sized>(operation: &[u8], payload: &T) -> KeyBuilder {
    match Fingerprint::of(payload) {
        Ok(fingerprint) => {
            let digest: String = fingerprint.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
            let id = format!("payload-v{}-{digest}", fingerprint.version());
            KeyBuilder { fingerprint, ..KeyBuilder::new(operation, id.as_bytes()) }
        }
        Err(error) => KeyBuilder::new(operation, b"payload").fail(error.into()),
    }
}
