//! The world outside, where effects are had.

use std::sync::Arc;

use idempotency_core::{Fence, Key};

use super::flying::launch;
use super::network::{Cargo, Shared};

/// The world outside: the payment provider, the mailbox, the warehouse. Whatever a service does there
/// is recorded here, call by call, and the schedule decides when each call arrives, and whose answer
/// is lost.
///
/// Give the key under which the effect must be had once, which is not always the one that the service
/// locks: that they differ may be the defect.
#[derive(Clone, Debug)]
pub struct Effects {
    pub(super) net: Shared,
    pub(super) client: u8,
}

/// The world outside did not say that an effect was had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EffectError {
    /// No answer came: it may have been had, or be had later.
    NoAnswer,
    /// It was refused, as a larger fence had been seen. It was not had.
    Stale,
}

impl std::fmt::Display for EffectError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NoAnswer => "no answer came from outside: the effect may have been had",
            Self::Stale => "refused outside, as a larger fence had been seen: the effect was not had",
        })
    }
}

impl std::error::Error for EffectError {}

impl Effects {
    /// Has an effect, as a provider that deduplicates nothing: called twice, it is had twice.
    ///
    /// # Errors
    /// [`EffectError::NoAnswer`], where the schedule loses the answer.
    ///
    /// # Cancellation
    /// Dropped once it was polled, the call may still arrive.
    pub async fn record(&self, key: &Key) -> Result<(), EffectError> {
        self.have(key, None, None).await
    }

    /// Has one of several effects of one operation, such as the charge and the mail about it: each name is
    /// had once a key.
    ///
    /// # Errors
    /// [`EffectError::NoAnswer`], where the schedule loses the answer.
    pub async fn record_as(&self, key: &Key, name: &str) -> Result<(), EffectError> {
        self.have(key, Some(name), None).await
    }

    /// Has an effect, as a provider that refuses a fence smaller than the largest it has seen for the
    /// key.
    ///
    /// # Errors
    /// [`EffectError`]
    pub async fn record_fenced(&self, key: &Key, fence: Fence) -> Result<(), EffectError> {
        self.have(key, None, Some(fence)).await
    }

    /// Asks whether the effect was had. The look bars attempts with smaller fences from now on, where
    /// these are sent along ([`record_fenced`](Self::record_fenced)).
    ///
    /// # Errors
    /// [`EffectError::NoAnswer`]
    pub async fn look(&self, key: &Key, fence: Fence) -> Result<bool, EffectError> {
        launch(&self.net, self.client, Cargo::Look { key: key.clone(), fence }).await.effect()
    }

    async fn have(&self, key: &Key, name: Option<&str>, fence: Option<Fence>) -> Result<(), EffectError> {
        let cargo = Cargo::Effect { key: key.clone(), name: name.map(Arc::from), fence };
        launch(&self.net, self.client, cargo).await.effect().map(drop)
    }
}
