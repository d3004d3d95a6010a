//! The reference store with one thing broken.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use idempotency_core::moves::{self, Move};
use idempotency_core::{
    Acquired, Attributes, Claim, Clock, Completion, Effect, Fence, Fingerprint, Guarantees, Held, IdempotencyStore,
    Key, Lock, OnUnknown, Owner, Page, Purged, Record, Snapshot, State, Stats, StoreError, Timestamp, Upkeep, Watch,
    async_trait,
};
use idempotency_testkit::ReferenceStore;

use super::how::How;

#[derive(Debug)]
pub(crate) struct BrokenStore<C> {
    inner: ReferenceStore<C>,
    clock: C,
    how: How,
    /// The keys by age, for those that evict.
    known: Mutex<VecDeque<Key>>,
}

impl<C: Clock + Clone> BrokenStore<C> {
    pub(crate) fn new(clock: C, how: How) -> Self {
        Self { inner: ReferenceStore::new(clock.clone()), clock, how, known: Mutex::default() }
    }

    fn key(&self, key: &Key) -> Key {
        let digest = |text: &str| {
            let digest: String = Fingerprint::of_bytes(text.as_bytes()).as_bytes().iter().map(u8::to_string).collect();
            Key::new("digest", digest).build().unwrap()
        };
        let parts = || [key.scope().unwrap_or_default(), key.operation()].into_iter().chain(key.id_parts());
        match self.how {
            How::JoinsParts => digest(&parts().collect::<Vec<_>>().join("/")),
            How::LowersCase => digest(&key.as_str().to_lowercase()),
            How::DropsTheScope => {
                digest(&parts().skip(1).map(|part| part.replace('/', "%2F") + "/").collect::<String>())
            }
            How::CutsKeys => digest(&key.as_str().chars().take(255).collect::<String>()),
            _ => key.clone(),
        }
    }

    fn lease(&self, lease: Duration) -> Duration {
        match self.how {
            How::TakesMillisecondsForSeconds => lease * 1000,
            How::TakesSecondsOnly => Duration::from_secs(lease.as_secs()),
            _ => lease,
        }
    }

    fn claim(&self, claim: &Claim) -> Claim {
        let mut claim = Claim { lease: self.lease(claim.lease), ..claim.clone() };
        match self.how {
            How::DropsAttributes => claim.attributes = Attributes::default(),
            How::CutsOwners => claim.owner = Owner::from_u128(claim.owner.as_u128() & u128::from(u64::MAX)),
            _ => {}
        }
        claim
    }

    fn acquire(&self, known: Option<&Record>, claim: &Claim, now: Timestamp, mut fence: Fence) -> Move<Acquired> {
        let live = moves::read(known, now);
        let mut changed = known.cloned();
        let in_progress = live.is_some_and(|record| matches!(record.state, State::InProgress { .. }));
        let completed = live.is_some_and(|record| matches!(record.state, State::Completed { .. }));
        if let Some(record) = &mut changed {
            let same_owner = record.lock.owner == claim.owner;
            match self.how {
                How::ForgetsThePriorOnTheSecondGrant if same_owner => record.prior = None,
                How::GrantsTheSameOwnerAnotherLock if same_owner && in_progress => {
                    record.lock.owner = Owner::from_u128(!0);
                    record.state = State::Released { until: record.forgotten_at() };
                }
                How::AnEndedOwnerLocksAgain if same_owner && !completed && !in_progress => {
                    record.lock.owner = Owner::from_u128(!0);
                }
                How::CountsNoAttempts => record.attempt -= 1,
                How::CountsAttemptsInAByte if !in_progress => record.attempt = record.attempt.min(254),
                How::ComparesHalfAnOwner if half(record.lock.owner) == half(claim.owner) => {
                    record.lock.owner = claim.owner;
                }
                How::ComparesHalfAFingerprint
                    if record.fingerprint.as_bytes()[..16] == claim.fingerprint.as_bytes()[..16] =>
                {
                    record.fingerprint = claim.fingerprint;
                }
                How::KeepsTheNotesOfARepeatedClaim if same_owner && in_progress => {
                    record.context = claim.context.clone();
                    record.attributes = claim.attributes.clone();
                }
                How::LoosensThePolicy => record.on_unknown = OnUnknown::RunAgain,
                How::ChecksNoFingerprintOfAResult if completed => record.fingerprint = claim.fingerprint,
                How::ALapsedLockIsFree if record.unknown_at(now).is_some() => {
                    record.state = State::Released { until: record.forgotten_at() };
                }
                How::LocksAResultAgain if completed && !same_owner => {
                    record.state = State::Released { until: record.forgotten_at() };
                }
                _ => {}
            }
        }
        match self.how {
            How::FencesRestartAfterARelease
                if live.is_some_and(|record| matches!(record.state, State::Released { .. })) =>
            {
                fence = Fence::new(1);
                if let Some(record) = &mut changed {
                    record.lock.fence = Fence::default();
                }
            }
            How::FencesFromTheClock => {
                fence = Fence::new(now.as_micros());
                if let (Some(record), false) = (&mut changed, in_progress) {
                    record.lock.fence = Fence::default();
                }
            }
            _ => {}
        }
        let mut made = moves::acquire(changed.as_ref(), claim, now, fence);
        if let (How::KeepsTheNotesOfAReleasedAttempt, Some(next), Some(known)) = (self.how, &mut made.write, live)
            && matches!(known.state, State::Released { .. })
        {
            next.context = known.context.clone();
            next.attributes = known.attributes.clone();
        }
        made
    }

    /// The record with the lock shown, where this store takes any.
    fn taken(&self, known: Option<&Record>, lock: Lock, takes: bool) -> Option<Record> {
        known.cloned().map(|record| if takes { Record { lock, ..record } } else { record })
    }

    fn mended(made: Move<Held>, known: Option<&Record>) -> Move<Held> {
        let write = made.write.zip(known).map(|(write, known)| Record { lock: known.lock, ..write });
        Move { answer: made.answer, write }
    }

    fn evict(&self, key: &Key) {
        let mut known = self.known.lock().unwrap();
        if !known.contains(key) {
            known.push_back(key.clone());
        }
        if known.len() > 300
            && let Some(oldest) = known.pop_front()
        {
            self.inner.tamper(&oldest, None);
        }
    }
}

#[async_trait]
impl<C: Clock + Clone> IdempotencyStore for BrokenStore<C> {
    async fn get(&self, key: &Key) -> Result<Option<Snapshot>, StoreError> {
        self.inner.get(&self.key(key)).await
    }

    async fn acquire_lock(&self, key: &Key, claim: &Claim) -> Result<Acquired, StoreError> {
        let (key, claim) = (self.key(key), self.claim(claim));
        match self.how {
            How::LooksBeforeItLocks => {
                let (known, now) = (self.inner.record(&key), self.clock.now());
                tokio::task::yield_now().await;
                return Ok(self.inner.make(&key, |_, _, fence| moves::acquire(known.as_ref(), &claim, now, fence)));
            }
            How::HangsOnACompletedKey if self.inner.record(&key).is_some_and(|known| is_completed(&known)) => {
                std::future::pending().await
            }
            How::EvictsTheOldest => self.evict(&key),
            _ => {}
        }
        Ok(self.inner.make(&key, |known, now, fence| self.acquire(known, &claim, now, fence)))
    }

    async fn extend_lock(&self, key: &Key, lock: &Lock, lease: Duration) -> Result<Held, StoreError> {
        let lease = self.lease(lease);
        Ok(self.inner.make(&self.key(key), |known, now, _| {
            let taken = self.taken(known, *lock, self.how == How::ExtendsForAnyOwner);
            let made = Self::mended(moves::extend(taken.as_ref(), *lock, lease, now), known);
            match made.write {
                Some(mut record) if self.how == How::LeavesLocksUnconfirmed => {
                    if let State::InProgress { confirmed, .. } = &mut record.state {
                        *confirmed = false;
                    }
                    Move { write: Some(record), ..made }
                }
                write => Move { write, ..made },
            }
        }))
    }

    async fn store_result(
        &self,
        key: &Key,
        lock: &Lock,
        result: &Completion,
        retention: Duration,
    ) -> Result<Held, StoreError> {
        let key = self.key(key);
        let mut result = result.clone();
        match (&mut result, self.how) {
            (Completion::Value(bytes), How::CutsValues) => bytes.truncate(64 * 1024),
            (result @ Completion::Omitted(_), How::ForgetsWhyAValueIsMissing) => {
                *result = Completion::Value([][..].into())
            }
            (Completion::Value(bytes), How::PanicsOnAnEmptyValue) => {
                assert!(!bytes.is_empty(), "a value of no bytes");
            }
            _ => {}
        }
        if self.how == How::StoresInTwoSteps {
            let before = self.inner.record(&key);
            let nothing = Completion::Value([][..].into());
            let held = self.inner.store_result(&key, lock, &nothing, retention).await?;
            tokio::task::yield_now().await;
            if before.is_some_and(|before| !is_completed(&before))
                && let Some(mut record) = self.inner.record(&key)
            {
                if let State::Completed { result: kept, .. } = &mut record.state {
                    *kept = result;
                }
                self.inner.tamper(&key, Some(record));
            }
            return Ok(held);
        }
        let retention = self.lease(retention);
        Ok(self.inner.make(&key, |known, now, _| {
            let stale = known.is_some_and(|known| !is_completed(known) && known.lock.fence >= lock.fence);
            let mut taken = self.taken(known, *lock, self.how == How::StoresOverAStaleLock && stale);
            if self.how == How::LosesALapsedLock && taken.as_ref().is_some_and(|known| known.unknown_at(now).is_some())
            {
                return Move { answer: Held::Lost, write: None };
            }
            let again = known.is_some_and(|known| is_completed(known) && known.lock == *lock);
            if again
                && matches!(self.how, How::StoresOverAResult | How::StartsTheRetentionAgain)
                && let Some(record) = &mut taken
            {
                let State::Completed { result: kept, until, .. } = &record.state else { panic!("it is completed") };
                let (result, until) = match self.how {
                    How::StoresOverAResult => (result.clone(), *until),
                    _ => (kept.clone(), now.plus(retention)),
                };
                record.state = State::Completed { at: now, until, result };
                return Move { answer: Held::Held, write: taken };
            }
            moves::store(taken.as_ref(), *lock, &result, retention, now)
        }))
    }

    async fn release_lock(&self, key: &Key, lock: &Lock, effect: Effect) -> Result<Held, StoreError> {
        Ok(self.inner.make(&self.key(key), |known, now, _| {
            let mut taken = self.taken(known, *lock, self.how == How::ReleasesForAnyone);
            let over = known.is_some_and(|known| !matches!(known.state, State::InProgress { .. }));
            match (&mut taken, self.how) {
                (Some(record), How::NoEffectFreesAnUnknownKey) if effect == Effect::None && !over => {
                    record.prior = None
                }
                (Some(record), How::ShortensTheMemoryOfAnUnknownAttempt) => {
                    if let Some(prior) = &mut record.prior {
                        prior.remembered_until = Timestamp::default();
                    }
                }
                (_, How::ARepeatedReleaseIsLost) if over => return Move { answer: Held::Lost, write: None },
                _ => {}
            }
            Self::mended(moves::release(taken.as_ref(), *lock, effect, now), known)
        }))
    }

    fn watch(&self, key: &Key) -> Watch {
        match self.how {
            How::WakesNobody => Watch::never(),
            How::BlocksInWatch => {
                // Until someone has waited long enough to see that it blocks.
                std::thread::sleep(Duration::from_secs(8));
                Watch::never()
            }
            _ => self.inner.watch(&self.key(key)),
        }
    }

    async fn guarantees(&self) -> Result<Guarantees, StoreError> {
        self.inner.guarantees().await
    }
}

/// As a column of eight bytes keeps it.
const fn half(owner: Owner) -> u64 {
    owner.as_u128() as u64
}

fn is_completed(record: &Record) -> bool {
    matches!(record.state, State::Completed { .. })
}

#[async_trait]
impl<C: Clock + Clone> Upkeep for BrokenStore<C> {
    async fn purge(&self, limit: usize) -> Result<Purged, StoreError> {
        if self.how == How::PurgesTheLiving
            && let Some((key, _)) = self.inner.list(None, 1).await?.records.first()
        {
            self.inner.tamper(key, None);
        }
        self.inner.purge(limit).await
    }

    async fn stats(&self) -> Result<Stats, StoreError> {
        let stats = self.inner.stats().await?;
        Ok(match self.how {
            How::CountsTheLapsedAsInProgress => {
                Stats { in_progress: stats.in_progress + stats.unknown, unknown: 0, ..stats }
            }
            _ => stats,
        })
    }

    async fn list(&self, after: Option<&Key>, limit: usize) -> Result<Page, StoreError> {
        let mut page = self.inner.list(after, limit).await?;
        if self.how == How::ListsAKeyTwice && page.next.is_some() && page.records.len() > 1 {
            // The last of a page is the first of the next, too.
            page.next = page.records.iter().rev().nth(1).map(|(key, _)| key.clone());
        }
        Ok(page)
    }
}
