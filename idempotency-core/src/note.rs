//! What a caller has kept with the record and shown on replay.

use std::collections::BTreeMap;
use std::sync::Arc;

/// The longest value of a context's field, in bytes.
pub const LONGEST_CONTEXT: usize = 256;

/// The most that all attributes may have together, names and values, in bytes.
pub const MOST_ATTRIBUTES: usize = 1024;

/// Where a call comes from, so that a replay can be linked to the first run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context(Option<Arc<ContextFields>>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct ContextFields {
    trace_parent: Option<String>,
    correlation_id: Option<String>,
}

impl Context {
    /// Adds the caller's trace parent (W3C Trace Context, section 3.2).
    ///
    /// # Errors
    /// [`InvalidNote`] over [`LONGEST_CONTEXT`] bytes or with control characters.
    pub fn with_trace_parent(self, trace_parent: impl Into<String>) -> Result<Self, InvalidNote> {
        let trace_parent = Some(check("trace parent", trace_parent.into(), LONGEST_CONTEXT)?);
        Ok(self.changed(|fields| fields.trace_parent = trace_parent))
    }

    /// Adds the id by which the caller follows a request through its logs.
    ///
    /// # Errors
    /// [`InvalidNote`] over [`LONGEST_CONTEXT`] bytes or with control characters.
    pub fn with_correlation_id(self, correlation_id: impl Into<String>) -> Result<Self, InvalidNote> {
        let correlation_id = Some(check("correlation id", correlation_id.into(), LONGEST_CONTEXT)?);
        Ok(self.changed(|fields| fields.correlation_id = correlation_id))
    }

    /// The trace parent, if one was given.
    #[must_use]
    pub fn trace_parent(&self) -> Option<&str> {
        self.0.as_ref()?.trace_parent.as_deref()
    }

    /// The correlation id, if one was given.
    #[must_use]
    pub fn correlation_id(&self) -> Option<&str> {
        self.0.as_ref()?.correlation_id.as_deref()
    }

    fn changed(self, change: impl FnOnce(&mut ContextFields)) -> Self {
        let mut fields = self.0.unwrap_or_default();
        change(Arc::make_mut(&mut fields));
        Self(Some(fields))
    }
}

/// A small map of the caller's own: a webhook's type, an order, a source.
///
/// At most [`MOST_ATTRIBUTES`] bytes together. It is kept in the clear; put no secret into it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes(Option<Arc<BTreeMap<String, String>>>);

impl Attributes {
    /// Adds or replaces an attribute.
    ///
    /// # Errors
    /// [`InvalidNote`] where the name is empty, either has control characters, or all attributes
    /// together would have more than [`MOST_ATTRIBUTES`] bytes.
    pub fn with(self, name: impl Into<String>, value: impl Into<String>) -> Result<Self, InvalidNote> {
        let name = check("attribute's name", name.into(), MOST_ATTRIBUTES)?;
        if name.is_empty() {
            return Err(InvalidNote { what: "attribute's name", problem: "is empty" });
        }
        let value = check("attribute's value", value.into(), MOST_ATTRIBUTES)?;
        let mut map = self.0.unwrap_or_default();
        Arc::make_mut(&mut map).insert(name, value);
        if map.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > MOST_ATTRIBUTES {
            return Err(InvalidNote { what: "attributes", problem: "have more than 1,024 bytes together" });
        }
        Ok(Self(Some(map)))
    }

    /// The value of an attribute.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.as_ref()?.get(name).map(String::as_str)
    }

    /// All attributes, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().flat_map(|map| map.iter()).map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

fn check(what: &'static str, text: String, most: usize) -> Result<String, InvalidNote> {
    if text.len() > most {
        return Err(InvalidNote { what, problem: "is too long" });
    }
    if text.chars().any(char::is_control) {
        return Err(InvalidNote { what, problem: "has control characters" });
    }
    Ok(text)
}

/// A context or attribute that cannot be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {what} {problem}")]
pub struct InvalidNote {
    what: &'static str,
    problem: &'static str,
}
