//! The journal's errors as a store's.

use idempotency_core::{StoreError, StoreErrorKind};

use crate::journal::{FaultKind, JournalError};

/// Names the operation that failed.
pub(crate) trait Operation<T> {
    /// The error as that of `operation`.
    fn during(self, operation: &'static str) -> Result<T, StoreError>;
}

impl<T> Operation<T> for Result<T, JournalError> {
    fn during(self, operation: &'static str) -> Result<T, StoreError> {
        self.map_err(|error| {
            let (kind, what_to_do) = match &error {
                JournalError::Held { .. } => {
                    (StoreErrorKind::Misconfigured, "; end that process, or give each its own folder")
                }
                JournalError::MissingParent { .. } => (StoreErrorKind::Misconfigured, "; create it"),
                JournalError::NotAFolder { .. } => (StoreErrorKind::Misconfigured, "; name a folder"),
                JournalError::ReadOnly { .. } => (StoreErrorKind::Misconfigured, "; change its rights or its mount"),
                JournalError::Full { .. } => (StoreErrorKind::Full, "; free some space"),
                JournalError::Corrupt { .. } => (StoreErrorKind::Damaged, "; restore it from a copy"),
                JournalError::Open { .. } => (StoreErrorKind::Misconfigured, ""),
                JournalError::TooLarge { .. } => (StoreErrorKind::TooLarge, ""),
                JournalError::Closed(fault) if fault.kind() == FaultKind::Full => {
                    (StoreErrorKind::Closed, "; free some space, then open the store again")
                }
                JournalError::Closed(_) => (StoreErrorKind::Closed, "; open the store again"),
            };
            StoreError::new(kind, operation).with_message(format!("{error}{what_to_do}")).with_source(error)
        })
    }
}
