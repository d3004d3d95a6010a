//! Which fence an acquisition without an answer may have been given, and to whom.

use idempotency_core::{Fence, Owner, Record};

use super::search::Op;
use crate::call::Call;

/// The fences that an acquisition without an answer may have been given.
#[derive(Debug, Default)]
pub(super) struct Fences {
    /// Every call's, once for each.
    claimants: Vec<u128>,
    of_owners: Vec<(u128, Fence)>,
    of_priors: Vec<(u32, Fence)>,
}

/// Who told of a fence.
#[derive(Clone, Copy, Debug)]
pub(super) enum Told {
    ByOwner,
    AsPrior(u32),
    Nowhere,
}

impl Fences {
    /// All that the answers tell, and the locks that are called with.
    pub(super) fn told(ops: &[Op<'_>]) -> Self {
        let mut fences = Self::default();
        for op in ops {
            match op.call {
                Call::Extend(lock, _) | Call::Store(lock, ..) | Call::Release(lock, _) => {
                    fences.of_owners.push((lock.owner.as_u128(), lock.fence));
                }
                Call::Acquire(claim) => fences.claimants.push(claim.owner.as_u128()),
                Call::Get => {}
            }
            let (latest, prior) = op.told();
            fences.of_owners.extend(latest.map(|(_, lock)| (lock.owner.as_u128(), lock.fence)));
            fences.of_priors.extend(prior.map(|prior| (prior.attempt, prior.fence)));
        }
        fences.claimants.sort_unstable();
        fences.of_owners.sort_unstable();
        fences.of_owners.dedup();
        fences.of_priors.sort_unstable();
        fences.of_priors.dedup();
        fences
    }

    pub(super) fn is_never_heard_of_again(&self, owner: Owner) -> bool {
        let owner = owner.as_u128();
        let at = self.of_owners.partition_point(|(other, _)| *other < owner);
        let told = self.of_owners.get(at).is_some_and(|(other, _)| *other == owner);
        let first = self.claimants.partition_point(|other| *other < owner);
        !told && self.claimants.get(first + 1) != Some(&owner)
    }

    pub(super) fn of(&self, owner: Owner, kept: Option<&Record>) -> impl Iterator<Item = (Told, Fence)> {
        let owner = owner.as_u128();
        let begin = self.of_owners.partition_point(|(other, _)| *other < owner);
        let own = self.of_owners[begin..].iter().take_while(move |(other, _)| *other == owner);
        // One that nobody tells is the smallest that is left, which hinders least what comes after it.
        // It is not one that a lock is called with: those are tried, too.
        let untold = move |mut fence: Fence| {
            while self.of_owners.binary_search(&(owner, fence)).is_ok() {
                fence = fence.next();
            }
            (Told::Nowhere, fence)
        };
        let larger = kept.map(|record| untold(record.lock.fence.next()));
        own.map(|(_, fence)| (Told::ByOwner, *fence))
            .chain(self.of_priors.iter().map(|(attempt, fence)| (Told::AsPrior(*attempt), *fence)))
            .chain(larger)
            .chain([untold(Fence::default())])
    }
}
