//! What is kept with a request's record.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use idempotency_core::Attributes;

type Of = Arc<dyn Fn(&Parts, &Bytes) -> Attributes + Send + Sync>;

/// Which attributes a request's record has.
#[derive(Clone, Default)]
pub(super) struct Notes(Option<Of>);

impl Notes {
    pub(super) fn new(of: impl Fn(&Parts, &Bytes) -> Attributes + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(of)))
    }

    /// What is noted of a request.
    pub(super) fn of(&self, parts: &Parts, body: &Bytes) -> Attributes {
        self.0.as_ref().map_or_else(Attributes::default, |of| of(parts, body))
    }
}

impl fmt::Debug for Notes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "attributes of the request" } else { "none" })
    }
}
