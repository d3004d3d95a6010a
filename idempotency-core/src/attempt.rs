//! What an operation is told of its own attempt.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::key::{DownstreamKey, Key};
use crate::lease::{Lease, LeaseLost};
use crate::lock::{Fence, Lock, OnUnknown};
use crate::moves::Grant;
use crate::record::Prior;

/// One try to run an operation, as the operation sees it.
///
/// Cheap to clone; may be kept and sent elsewhere.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// `None` in an unprotected run.
    lease: Option<Arc<Lease>>,
    key: Key,
    grant: Option<Grant>,
    on_unknown: OnUnknown,
}

impl Attempt {
    pub(crate) fn protected(lease: Arc<Lease>, grant: Grant, on_unknown: OnUnknown) -> Self {
        Self { key: lease.key.clone(), lease: Some(lease), grant: Some(grant), on_unknown }
    }

    pub(crate) const fn unprotected(key: Key, on_unknown: OnUnknown) -> Self {
        Self { lease: None, key, grant: None, on_unknown }
    }

    /// The key.
    #[must_use]
    pub const fn key(&self) -> &Key {
        &self.key
    }

    /// The attempt's number, from 1; 0 in an unprotected run.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.grant.map_or(0, |grant| grant.attempt)
    }

    /// The attempt's fencing token, to be sent along to whoever can reject a smaller one. An
    /// unprotected run has the smallest.
    #[must_use]
    pub fn fence(&self) -> Fence {
        self.grant.map_or(Fence::new(0), |grant| grant.lock.fence)
    }

    /// The attempt's lock, for stores that give more along with it, such as a transaction; `None` in an
    /// unprotected run.
    #[must_use]
    pub fn lock(&self) -> Option<Lock> {
        self.grant.map(|grant| grant.lock)
    }

    /// The attempt before this one of which nobody knows whether it had its effect.
    ///
    /// It may still be running, and have its effect later: what bars it is a provider that
    /// deduplicates on the [downstream key](Self::downstream) or rejects smaller fences.
    #[must_use]
    pub fn prior(&self) -> Option<Prior> {
        self.grant.and_then(|grant| grant.prior)
    }

    /// The policy by which this attempt was allowed to run after the [prior](Self::prior) one.
    #[must_use]
    pub const fn allowed_by(&self) -> OnUnknown {
        self.on_unknown
    }

    /// The key for the provider's own deduplication, the same for every attempt.
    #[must_use]
    pub fn downstream(&self) -> DownstreamKey {
        self.key.downstream()
    }

    /// Has only the fact kept that the operation is done, not its value, as
    /// [`Call::keep_fact_only`](crate::Call::keep_fact_only) does: for an operation that learns only as it
    /// runs that its value cannot or must not be stored. To be said before it returns.
    pub fn keep_fact_only(&self) {
        if let Some(lease) = &self.lease {
            lease.keep_fact_only();
        }
    }

    /// The time left on the lease, as this process believes; it is renewed in the background. Zero
    /// once it is lost and in an unprotected run.
    #[must_use]
    pub fn lease_remaining(&self) -> Duration {
        match &self.lease {
            Some(lease) if lease.why_lost().is_none() => lease.until().saturating_duration_since(Instant::now()),
            _ => Duration::ZERO,
        }
    }

    /// Why the lease is lost, if it is: another attempt may be running by now.
    #[must_use]
    pub fn is_lost(&self) -> Option<LeaseLost> {
        self.lease.as_ref().and_then(|lease| lease.why_lost())
    }

    /// Waits until the lease is lost; for ever where it never is. For a `select!` beside work that
    /// had better stop then. Cancellation-safe.
    pub async fn lost(&self) -> LeaseLost {
        match &self.lease {
            Some(lease) => lease.lost().await,
            None => std::future::pending().await,
        }
    }
}
