//! What an operation is told of its own attempt.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
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
    exclusive: Option<Exclusive>,
}

/// What an exclusive run is: by itself an operation of its own, or that of a slot.
#[derive(Clone, Debug)]
enum Exclusive {
    Run,
    Slot(Arc<Attempt>),
}

impl Attempt {
    pub(crate) fn protected(lease: Arc<Lease>, grant: Grant, on_unknown: OnUnknown) -> Self {
        Self { key: lease.key.clone(), lease: Some(lease), grant: Some(grant), on_unknown, exclusive: None }
    }

    /// As an exclusive run's job sees it, with its attempt at the slot, if it has one.
    pub(crate) fn exclusive(self, slot: Option<Self>) -> Self {
        let exclusive = slot.map_or(Exclusive::Run, |slot| Exclusive::Slot(Arc::new(slot)));
        Self { exclusive: Some(exclusive), ..self }
    }

    pub(crate) const fn unprotected(key: Key, on_unknown: OnUnknown) -> Self {
        Self { lease: None, key, grant: None, on_unknown, exclusive: None }
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
    ///
    /// In an [exclusive run](crate::Exclusive): the run before this one, if it did not end; or else the
    /// attempt at this [slot](Self::slot) that did not, numbered and fenced as the slot's.
    #[must_use]
    pub fn prior(&self) -> Option<Prior> {
        let own = self.grant.and_then(|grant| grant.prior);
        own.or_else(|| self.slot()?.prior())
    }

    /// In an [exclusive run](crate::Exclusive) of a slot, the attempt at that slot: its key, number and
    /// prior attempt, where this one's are the job's.
    #[must_use]
    pub fn slot(&self) -> Option<&Self> {
        match &self.exclusive {
            Some(Exclusive::Slot(slot)) => Some(slot),
            Some(Exclusive::Run) | None => None,
        }
    }

    /// The policy by which this attempt was allowed to run after the [prior](Self::prior) one.
    #[must_use]
    pub const fn allowed_by(&self) -> OnUnknown {
        self.on_unknown
    }

    /// The key for the provider's own deduplication, the same for every attempt.
    ///
    /// In an [exclusive run](crate::Exclusive): the same for every attempt at its slot; without a slot, one
    /// for this run alone, as each does something else.
    #[must_use]
    pub fn downstream(&self) -> DownstreamKey {
        match (&self.exclusive, self.grant) {
            (Some(Exclusive::Slot(slot)), _) => slot.downstream(),
            (Some(Exclusive::Run), Some(grant)) => self.key.downstream_for(&grant.lock.owner.to_string()),
            (Some(Exclusive::Run) | None, _) => self.key.downstream(),
        }
    }

    /// Has only the fact kept that the operation is done, not its value, as
    /// [`Call::keep_fact_only`](crate::Call::keep_fact_only) does: for an operation that learns only as it
    /// runs that its value cannot or must not be stored. To be said before it returns.
    pub fn keep_fact_only(&self) {
        self.leases().for_each(Lease::keep_fact_only);
    }

    /// The time left on the lease, as this process believes; it is renewed in the background. Zero
    /// once it is lost and in an unprotected run.
    #[must_use]
    pub fn lease_remaining(&self) -> Duration {
        match self.is_lost() {
            None => {
                let until = self.leases().map(Lease::until).min();
                until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()))
            }
            Some(_) => Duration::ZERO,
        }
    }

    /// Why the lease is lost, if it is: another attempt may be running by now.
    #[must_use]
    pub fn is_lost(&self) -> Option<LeaseLost> {
        self.leases().find_map(Lease::why_lost)
    }

    /// Waits until the lease is lost; for ever where it never is. For a `select!` beside work that
    /// had better stop then. Cancellation-safe.
    pub async fn lost(&self) -> LeaseLost {
        let mut waits: Vec<_> = self.leases().map(|lease| Box::pin(lease.lost())).collect();
        poll_fn(|cx| {
            let lost = waits.iter_mut().find_map(|wait| match wait.as_mut().poll(cx) {
                Poll::Ready(why) => Some(why),
                Poll::Pending => None,
            });
            lost.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// Why the lease is lost, if it is, judged by the clock too.
    pub(crate) fn lost_by_now(&self) -> Option<LeaseLost> {
        self.leases().find_map(Lease::lost_by_now)
    }

    /// The leases under which it runs: none in an unprotected run, two in an exclusive run of a slot.
    fn leases(&self) -> impl Iterator<Item = &Lease> {
        let slots = self.slot().and_then(|slot| slot.lease.as_deref());
        self.lease.as_deref().into_iter().chain(slots)
    }
}
