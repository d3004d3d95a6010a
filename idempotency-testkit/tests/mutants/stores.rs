//! Stores with one thing broken.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use idempotency_core::moves::{self, Move};
use idempotency_core::{
    Acquired, Claim, Clock, Completion, Effect, Fence, Guarantees, Held, IdempotencyStore, Key, Lock, OnUnknown,
    Record, Snapshot, State, StoreError, Timestamp, Watch,
};
use idempotency_testkit::ReferenceStore;
use idempotency_testkit::schedule::{SimClock, Simulated};

told! {
    /// What is broken.
    Defect
    /// Nothing.
    Nothing,
    /// A lock is its owner alone, without the fence.
    LockWithoutFence,
    /// An unknown attempt is forgotten when a result would be.
    UnknownForgottenEarly,
    /// Fences are the clock's microseconds, and what is remembered does not count.
    FencesFromTheClock,
    /// A claim that is sent again gets a new fence.
    NewFenceOnRepeat,
    /// A claim that is sent again is not told of the prior attempt.
    PriorForgottenOnRepeat,
    /// A late duplicate of a claim whose attempt is over locks again.
    EndedLocksAgain,
    /// The latest claim's policy counts, not the strictest.
    LatestPolicyCounts,
    /// A release without effect frees the key, whatever came before.
    NoEffectFrees,
    /// Nothing, but what is not durable is lost when the store goes down.
    NothingButRestarts,
    /// Answers before it is durable.
    AnswersBeforeDurable,
    /// What it only repeats, it answers before it is durable.
    RepeatsBeforeDurable,
    /// An operator's settling needs no lock.
    SettlesPastTheLock,
    /// Looks, and then locks.
    GetThenLock,
    /// Whoever releases, releases.
    ReleaseWithoutOwner,
    /// Looks for an orphan, and then takes over whatever is there.
    TakeoverInTwoSteps,
    /// Leases a thousand times as long.
    MillisecondsForSeconds,
    /// Leases a thousandth as long.
    SecondsForMilliseconds,
    /// A takeover does not compare fingerprints.
    TakeoverSkipsFingerprint,
    /// A replay does not compare fingerprints.
    ReplaySkipsFingerprint,
    /// Its own claim, sent again, is somebody else's.
    OwnLockIsAConflict,
    /// Keeps one key, and forgets the others whatever they are.
    Evicts,
    /// Keeps one key, and those that are in progress.
    EvictsResults,
    /// A lock has no deadline of its own: any other caller may think it an orphan.
    NoDeadline,
    /// A result is taken from whoever brings it.
    StaleResultTaken,
    /// An extend takes a lapsed key back from whoever has it.
    ExtendTakesBack,
    /// The lock is a key that expires with its lease, and nothing is left.
    LapsedIsForgotten,
    /// `SET NX` fails, `GET` finds nothing any more: taken for a new key.
    SetThenGet,
    /// Parts of keys are joined without a mark in between.
    KeysJoined,
    /// A result that is stored again is kept anew.
    RetentionStartsAgain,
    /// A value that is over a few bytes is cut.
    ValueCut,
    /// A result can be stored again, with another value.
    ResultOverwritten,
    /// Attempts are not counted over a release.
    AttemptsStartAgain,
    /// A lock that was to be confirmed, and never was, counts as free though an attempt before is unknown.
    UnconfirmedFreesAll,
}

#[derive(Debug)]
pub(crate) struct BrokenStore {
    defect: Defect,
    inner: ReferenceStore<SimClock>,
    /// What survives the store's going down, by key.
    disk: Mutex<HashMap<String, Option<Record>>>,
    /// The keys in the order in which they came.
    known: Mutex<Vec<Key>>,
}

/// Makes the store of a run.
pub(crate) fn broken(defect: Defect) -> impl Fn(SimClock) -> Simulated + Send + Sync + Clone + 'static {
    move |clock| {
        let inner = ReferenceStore::new(clock);
        let store = Arc::new(BrokenStore { defect, inner, disk: Mutex::default(), known: Mutex::default() });
        let simulated = Simulated::new(store.clone());
        if store.syncs() { simulated.with_restart(move || store.restart()) } else { simulated }
    }
}

/// Lets others go first.
async fn await_point() {
    let mut first = true;
    std::future::poll_fn(|cx| {
        if std::mem::take(&mut first) {
            cx.waker().wake_by_ref();
            return std::task::Poll::Pending;
        }
        std::task::Poll::Ready(())
    })
    .await;
}

const fn lock_only<A>(answer: A) -> Move<A> {
    Move { answer, write: None }
}

impl BrokenStore {
    fn is(&self, defect: Defect) -> bool {
        self.defect == defect
    }

    /// Its durability is simulated only where that is what is tried: it costs await points.
    fn syncs(&self) -> bool {
        matches!(self.defect, Defect::NothingButRestarts | Defect::AnswersBeforeDurable | Defect::RepeatsBeforeDurable)
    }

    fn restart(&self) {
        if self.syncs() {
            for key in self.known.lock().unwrap().iter() {
                let kept = self.disk.lock().unwrap().get(key.as_str()).cloned().flatten();
                self.inner.tamper(key, kept);
            }
        }
    }

    fn is_durable(&self, key: &Key) -> bool {
        self.disk.lock().unwrap().get(key.as_str()).cloned().flatten() == self.inner.record(key)
    }

    /// Waits until what was seen is on disk.
    async fn durable(&self, key: &Key, wrote: bool) {
        let waits = match self.defect {
            Defect::AnswersBeforeDurable => false,
            Defect::RepeatsBeforeDurable => wrote,
            Defect::NothingButRestarts => true,
            _ => return,
        };
        if waits && !self.is_durable(key) {
            let seen = self.inner.record(key);
            await_point().await;
            self.disk.lock().unwrap().insert(key.as_str().into(), seen);
        }
    }

    fn key(&self, key: &Key) -> Key {
        let mut known = self.known.lock().unwrap();
        if !known.iter().any(|one| one.as_str() == key.as_str()) {
            known.push(key.clone());
            let evicts = |key: &Key| match self.defect {
                Defect::Evicts => true,
                Defect::EvictsResults => {
                    let kept = self.inner.record(key);
                    kept.is_some_and(|record| matches!(record.state, State::Completed { .. }))
                }
                _ => false,
            };
            let (newest, older) = known.split_last().unwrap();
            older.iter().filter(|old| old.as_str() != newest.as_str() && evicts(old)).for_each(|old| {
                self.inner.tamper(old, None);
            });
        }
        if self.is(Defect::KeysJoined) {
            let joined: String = key.id_parts().collect();
            return Key::new(key.operation(), joined).build().unwrap().with_fingerprint(key.fingerprint());
        }
        key.clone()
    }

    fn lease(&self, lease: Duration) -> Duration {
        match self.defect {
            Defect::MillisecondsForSeconds => lease * 1000,
            Defect::SecondsForMilliseconds => lease / 1000,
            _ => lease,
        }
    }

    fn acquired(&self, known: Option<&Record>, claim: &Claim, now: Timestamp, next: Fence) -> Move<Acquired> {
        let claim = &Claim { lease: self.lease(claim.lease), ..claim.clone() };
        let right = |known: Option<&Record>| moves::acquire(known, claim, now, next);
        let Some(record) = known else { return right(None) };
        let own = record.lock.owner == claim.owner;
        let in_progress = matches!(record.state, State::InProgress { .. });
        let live = now < record.forgotten_at();
        let changed = |change: &dyn Fn(&mut Record)| {
            let mut record = record.clone();
            change(&mut record);
            right(Some(&record))
        };
        let someone_else = |record: &mut Record| record.lock.owner = idempotency_core::Owner::from_u128(u128::MAX);
        match self.defect {
            Defect::FencesFromTheClock => {
                let mut made = right(known);
                let fence = Fence::new(now.as_micros());
                if let (Acquired::Acquired(grant), Some(record)) = (&mut made.answer, &mut made.write)
                    && !(own && in_progress)
                {
                    grant.lock.fence = fence;
                    record.lock.fence = fence;
                }
                made
            }
            Defect::NewFenceOnRepeat if own && in_progress && live => changed(&|record| {
                record.lock.fence = next;
            }),
            Defect::PriorForgottenOnRepeat if own && in_progress && live => changed(&|record| record.prior = None),
            Defect::EndedLocksAgain if own && !in_progress && !matches!(record.state, State::Completed { .. }) => {
                changed(&someone_else)
            }
            Defect::LatestPolicyCounts => changed(&|record| record.on_unknown = OnUnknown::RunAgain),
            Defect::NoDeadline if !own && in_progress => changed(&|record| {
                if let State::InProgress { lease_until, .. } = &mut record.state {
                    *lease_until = now;
                }
            }),
            Defect::TakeoverSkipsFingerprint if record.unknown_at(now).is_some() => {
                changed(&|record| record.fingerprint = claim.fingerprint)
            }
            Defect::ReplaySkipsFingerprint if matches!(record.state, State::Completed { .. }) => {
                changed(&|record| record.fingerprint = claim.fingerprint)
            }
            Defect::OwnLockIsAConflict if own && in_progress => changed(&someone_else),
            Defect::LapsedIsForgotten if in_progress && record.unknown_at(now).is_some() => right(None),
            Defect::AttemptsStartAgain if matches!(record.state, State::Released { .. }) && !own => {
                changed(&|record| record.attempt = 0)
            }
            Defect::UnconfirmedFreesAll => changed(&|record| {
                if matches!(record.state, State::InProgress { confirmed: false, .. }) {
                    record.prior = None;
                }
            }),
            _ => right(known),
        }
    }

    fn ended(
        &self,
        known: Option<&Record>,
        lock: &Lock,
        make: &dyn Fn(Option<&Record>, Lock) -> Move<Held>,
    ) -> Move<Held> {
        // Under whatever lock there is.
        let any = || known.map_or(*lock, |record| record.lock);
        match (self.defect, known) {
            (Defect::LockWithoutFence, Some(record)) if record.lock.owner == lock.owner => make(known, record.lock),
            (
                Defect::StaleResultTaken
                | Defect::ReleaseWithoutOwner
                | Defect::ExtendTakesBack
                | Defect::SettlesPastTheLock,
                _,
            ) => make(known, any()),
            _ => make(known, *lock),
        }
    }
}

#[async_trait]
impl IdempotencyStore for BrokenStore {
    async fn get(&self, key: &Key) -> Result<Option<Snapshot>, StoreError> {
        let key = self.key(key);
        let found = self.inner.get(&key).await;
        self.durable(&key, false).await;
        found
    }

    async fn acquire_lock(&self, key: &Key, claim: &Claim) -> Result<Acquired, StoreError> {
        let key = &self.key(key);
        let now = || self.inner.clock().now();
        match self.defect {
            Defect::GetThenLock => {
                let seen = self.inner.record(key);
                await_point().await;
                return Ok(self.inner.make(key, |_, now, next| self.acquired(seen.as_ref(), claim, now, next)));
            }
            Defect::TakeoverInTwoSteps => {
                let seen = self.inner.record(key);
                if seen.as_ref().is_some_and(|record| record.unknown_at(now()).is_some()) {
                    await_point().await;
                    return Ok(self.inner.make(key, |_, now, next| self.acquired(seen.as_ref(), claim, now, next)));
                }
            }
            Defect::SetThenGet => {
                let taken = self.inner.record(key).is_some_and(|record| record.lock.owner != claim.owner);
                if taken {
                    await_point().await;
                    let released = |record: &Record| matches!(record.state, State::Released { .. });
                    if self.inner.record(key).as_ref().is_some_and(released) {
                        // Nothing there: new, it thinks, and writes nothing.
                        return Ok(self
                            .inner
                            .make(key, |known, now, next| lock_only(moves::acquire(known, claim, now, next).answer)));
                    }
                }
            }
            _ => {}
        }
        let before = self.inner.record(key);
        let answer = self.inner.make(key, |known, now, next| self.acquired(known, claim, now, next));
        self.durable(key, before != self.inner.record(key)).await;
        Ok(answer)
    }

    async fn extend_lock(&self, key: &Key, lock: &Lock, lease: Duration) -> Result<Held, StoreError> {
        let key = &self.key(key);
        let lease = self.lease(lease);
        let own = self.is(Defect::LockWithoutFence) || self.is(Defect::ExtendTakesBack);
        let answer = self.inner.make(key, |known, now, _| {
            let make = |known: Option<&Record>, lock| moves::extend(known, lock, lease, now);
            if own { self.ended(known, lock, &make) } else { make(known, *lock) }
        });
        self.durable(key, true).await;
        Ok(answer)
    }

    async fn store_result(
        &self,
        key: &Key,
        lock: &Lock,
        result: &Completion,
        retention: Duration,
    ) -> Result<Held, StoreError> {
        let key = &self.key(key);
        let cut = match result {
            Completion::Value(value) if self.is(Defect::ValueCut) => {
                Completion::Value(value.slice(..value.len().min(3)))
            }
            other => other.clone(),
        };
        let own = self.is(Defect::LockWithoutFence) || self.is(Defect::StaleResultTaken);
        let before = self.inner.record(key);
        let answer = self.inner.make(key, |known, now, _| {
            let again = known.is_some_and(|record| record.lock == *lock && now < record.forgotten_at());
            let make = |known: Option<&Record>, lock| moves::store(known, lock, &cut, retention, now);
            let mut made = if own { self.ended(known, lock, &make) } else { make(known, *lock) };
            if again
                && let Some(mut record) = known.cloned()
                && let State::Completed { until, result, .. } = &mut record.state
            {
                match self.defect {
                    Defect::RetentionStartsAgain => *until = now.plus(retention),
                    Defect::ResultOverwritten => result.clone_from(&cut),
                    _ => return made,
                }
                made.write = Some(record);
            }
            made
        });
        self.durable(key, before != self.inner.record(key)).await;
        Ok(answer)
    }

    async fn release_lock(&self, key: &Key, lock: &Lock, effect: Effect) -> Result<Held, StoreError> {
        let key = &self.key(key);
        let own = match self.defect {
            Defect::LockWithoutFence | Defect::ReleaseWithoutOwner => true,
            Defect::SettlesPastTheLock => effect == Effect::Settled,
            _ => false,
        };
        let answer = self.inner.make(key, |known, now, _| {
            let effect =
                if self.is(Defect::NoEffectFrees) && effect == Effect::None { Effect::Settled } else { effect };
            let make = |known: Option<&Record>, lock| moves::release(known, lock, effect, now);
            let mut made = if own { self.ended(known, lock, &make) } else { make(known, *lock) };
            if let (Defect::UnknownForgottenEarly, Some(record), Some(known)) = (self.defect, &mut made.write, known)
                && let (State::Unknown { until }, State::InProgress { retention, .. }) =
                    (&mut record.state, &known.state)
            {
                *until = now.plus(*retention);
            }
            made
        });
        self.durable(key, true).await;
        Ok(answer)
    }

    fn watch(&self, key: &Key) -> Watch {
        self.inner.watch(key)
    }

    async fn guarantees(&self) -> Result<Guarantees, StoreError> {
        Ok(Guarantees::none("broken"))
    }
}
