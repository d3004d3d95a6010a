//! One run, from the claim to the result.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::ask::ask;
use crate::attempt::Attempt;
use crate::codec::{self, Replay, Unencodable};
use crate::error::{Error, InvalidCall, NotReplayable, StoreError, StoreErrorKind};
use crate::hold::{Asking, End, Hold};
use crate::key::Key;
use crate::lock::{Claim, Effect, OnUnknown, Owner};
use crate::moves::{Acquired, Held};
use crate::outcome::{How, Origin, Outcome, Unrecorded};
use crate::plan::{Classify, Plan, Reconcile};
use crate::record::{Completion, Omitted, Snapshot, State};
use crate::shared::Inner;
use crate::store::Watch;

/// How often a waiter asks, should no notification come: at first, and at the longest.
const FIRST_POLL: Duration = Duration::from_millis(25);
const LONGEST_POLL: Duration = Duration::from_secs(1);

pub(crate) struct Run<'a> {
    inner: &'a Arc<Inner>,
    key: &'a Key,
    plan: Plan,
}

/// What the store's answer leads to.
pub(crate) enum Begun {
    Granted(Hold),
    Replay(Box<Snapshot>),
    Unprotected(StoreError),
}

impl<'a> Run<'a> {
    pub(crate) fn new(inner: &'a Arc<Inner>, key: &'a Key, mut plan: Plan) -> Result<Self, Error> {
        match plan.error.take() {
            Some(error) => Err(error.into()),
            None => Ok(Self { inner, key, plan }),
        }
    }

    pub(crate) async fn execute<T, E, F, Fut, C, R>(
        self,
        operation: F,
        classify: C,
        reconcile: R,
    ) -> Result<Outcome<T>, E>
    where
        T: Replay,
        E: From<Error>,
        F: FnOnce(Attempt) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        C: Classify<E>,
        R: Reconcile<T, E>,
    {
        let on_unknown = self.plan.settings.on_unknown;
        if on_unknown == OnUnknown::Reconcile && !R::ASKS {
            return Err(Error::from(InvalidCall::NothingToReconcileWith).into());
        }
        let mut hold = match self.begin().await? {
            Begun::Granted(hold) => hold,
            Begun::Replay(snapshot) => return Ok(self.replay(*snapshot)?),
            Begun::Unprotected(error) => {
                tracing::error!(key = %self.key, %error, "running without protection: the store cannot be reached");
                let value = operation(Attempt::unprotected(self.key.clone(), on_unknown)).await?;
                return Ok(Outcome::new(value, How::Unprotected(error), 0, None));
            }
        };
        let attempt = Attempt::protected(hold.lease.clone(), hold.grant, on_unknown);
        if let Some(prior) = attempt.prior() {
            tracing::warn!(key = %self.key, attempt = attempt.number(), prior = prior.attempt, allowed_by = ?on_unknown,
                "a prior attempt is unknown");
            // A look has no effect: failing, panicking or dropped in it gives the key back as unknown.
            match reconcile.reconcile(attempt.clone()).await {
                Ok(Some(value)) => return Ok(self.complete(hold, value, How::Reconciled).await),
                Ok(None) => {}
                Err(error) => {
                    self.give_up(hold, Effect::None).await;
                    return Err(error);
                }
            }
        }
        // The look, or the answer to the claim, may have taken longer than the lease: another may have run
        // by now, and this attempt has not.
        if hold.lease.is_doubtful() {
            let number = hold.grant.attempt;
            self.give_up(hold, Effect::None).await;
            return Err(self.in_progress(number, Duration::ZERO).into());
        }
        hold.runs(self.plan.if_cut_off);
        match operation(attempt).await {
            Ok(value) => Ok(self.complete(hold, value, How::Executed).await),
            Err(error) => {
                let effect = classify.effect(&error);
                self.give_up(hold, effect).await;
                Err(error)
            }
        }
    }

    /// Asks for the lock, and waits for it if that is wished.
    pub(crate) async fn begin(&self) -> Result<Begun, Error> {
        let limit = self.plan.settings.store_limit;
        let give_up_at = self.plan.wait.map(|wait| Instant::now() + wait);
        let mut claim = self.claim();
        let mut began_anew = false;
        let mut watch: Option<Watch> = None;
        let mut poll = FIRST_POLL;
        loop {
            let mut asking = Asking::new(self.inner, self.key, &claim);
            let (answer, asked_at) = match asking.answer(limit).await {
                Ok(answered) => answered,
                // Not beside a run of which the store has told, nor over a record that it cannot read.
                Err(error) if self.plan.fail_open && watch.is_none() && cannot_be_reached(error.kind()) => {
                    asking.leave();
                    return Ok(Begun::Unprotected(error));
                }
                Err(source) => return Err(Error::Store { key: self.key.clone(), source }),
            };
            let (attempt, remaining) = match answer {
                Acquired::Acquired(grant) => {
                    let hold = asking.hold(grant, asked_at, self.plan.bounds());
                    return self.confirmed(hold).await.map(Begun::Granted);
                }
                Acquired::Completed(snapshot) => return self.same_request(snapshot).map(Begun::Replay),
                Acquired::Mismatch => return Err(Error::Mismatch { key: self.key.clone() }),
                Acquired::Unknown { prior, on_unknown } => {
                    return Err(Error::OutcomeUnknown { key: self.key.clone(), prior, on_unknown });
                }
                // Only an operator can have ended an attempt that had no answer yet: begin another.
                Acquired::Ended if !began_anew => {
                    drop(asking);
                    claim = self.claim();
                    began_anew = true;
                    continue;
                }
                Acquired::Ended => {
                    let source = StoreError::new(StoreErrorKind::Internal, "acquire_lock")
                        .with_message("it says of a new owner that its attempt is over");
                    return Err(Error::Store { key: self.key.clone(), source });
                }
                Acquired::InProgress { attempt, remaining } => (attempt, remaining),
            };
            let left = give_up_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Err(self.in_progress(attempt, remaining));
            }
            if let Some(changed) = watch.take() {
                let longest = poll.min(remaining).min(left).max(Duration::from_millis(1));
                drop(Box::pin(timeout(longest, changed)).await);
                poll = (poll * 2).min(LONGEST_POLL);
            }
            // Watched from before the key is asked for again, so that no change is missed in between.
            watch = Some(self.inner.store.watch(self.key));
        }
    }

    /// The value that is recorded, if one is; no lock is asked for.
    pub(crate) async fn recorded<T: Replay>(&self) -> Result<Option<Outcome<T>>, Error> {
        let Inner { store, settings, .. } = &**self.inner;
        let found = ask("get", settings.store_limit, || store.get(self.key)).await;
        match found.map_err(|source| Error::Store { key: self.key.clone(), source })? {
            Some(snapshot) if matches!(snapshot.record.state, State::Completed { .. }) => {
                self.replay(*self.same_request(Box::new(snapshot))?).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn claim(&self) -> Claim {
        let settings = &self.plan.settings;
        Claim {
            owner: Owner::random(),
            fingerprint: self.key.fingerprint(),
            lease: settings.lease,
            retention: settings.retention,
            unknown_retention: settings.unknown_retention,
            on_unknown: settings.on_unknown,
            confirms: self.plan.confirms,
            settles: false,
            context: self.plan.context.clone(),
            attributes: self.plan.attributes.clone(),
        }
    }

    async fn confirmed(&self, mut hold: Hold) -> Result<Hold, Error> {
        if self.plan.confirms {
            match hold.confirm(self.plan.settings.store_limit).await {
                Ok(Held::Held) => {}
                Ok(Held::Lost) => return Err(self.in_progress(hold.grant.attempt, Duration::ZERO)),
                Err(source) => return Err(Error::Store { key: self.key.clone(), source }),
            }
        }
        Ok(hold)
    }

    /// The store compared fingerprints; a layer or store that does not must not show another's result.
    fn same_request(&self, snapshot: Box<Snapshot>) -> Result<Box<Snapshot>, Error> {
        if snapshot.record.fingerprint == self.key.fingerprint() {
            Ok(snapshot)
        } else {
            Err(Error::Mismatch { key: self.key.clone() })
        }
    }

    fn in_progress(&self, attempt: u32, retry_after: Duration) -> Error {
        Error::InProgress { key: self.key.clone(), attempt, retry_after }
    }

    fn replay<T: Replay>(&self, snapshot: Snapshot) -> Result<Outcome<T>, Error> {
        let attempt = snapshot.record.attempt;
        let origin = Origin::of(&snapshot);
        let decoded = match snapshot.record.state {
            State::Completed { result: Completion::Value(sealed), .. } => {
                codec::decode(&self.plan.settings.codec, self.key, &sealed).map_err(NotReplayable::Codec)
            }
            State::Completed { result: Completion::Omitted(why), .. } => Err(NotReplayable::Omitted(why)),
            State::InProgress { .. } | State::Unknown { .. } | State::Released { .. } => {
                return Err(self.in_progress(attempt, Duration::ZERO));
            }
        };
        match decoded {
            Ok(value) => {
                tracing::debug!(key = %self.key, attempt, "replayed");
                Ok(Outcome::new(value, How::Replayed(Box::new(origin)), attempt, None))
            }
            Err(why) => Err(Error::NotReplayable { key: self.key.clone(), attempt, why }),
        }
    }

    /// Records a value. Whatever becomes of that, the caller gets the value.
    async fn complete<T: Replay>(&self, hold: Hold, value: T, how: How) -> Outcome<T> {
        let settings = &self.plan.settings;
        let (attempt, prior) = (hold.grant.attempt, hold.grant.prior);
        let (completion, unencodable) = if self.plan.fact_only || hold.lease.keeps_fact_only() {
            (Completion::Omitted(Omitted::ByChoice), None)
        } else {
            match codec::encode(&settings.codec, self.key, &value, settings.result_limit) {
                Ok(sealed) => (Completion::Value(sealed), None),
                Err(why) => (Completion::Omitted(why.as_omitted()), Some(why)),
            }
        };
        let how = match (hold.end(End::Store(completion, settings.retention)).await, unencodable) {
            (Ok(Held::Held), None) => how,
            (Ok(Held::Lost), _) => How::Unrecorded(Unrecorded::LockLost),
            (Err(error), _) => How::Unrecorded(Unrecorded::Store(error)),
            (Ok(Held::Held), Some(Unencodable::Codec(error))) => How::Unrecorded(Unrecorded::NotEncodable(error)),
            (Ok(Held::Held), Some(Unencodable::TooLarge { bytes })) => {
                How::Unrecorded(Unrecorded::TooLarge { bytes, limit: settings.result_limit })
            }
        };
        if let How::Unrecorded(why) = &how {
            tracing::error!(key = %self.key, attempt, %why, "the operation ran, but its result is not recorded");
        }
        Outcome::new(value, how, attempt, prior)
    }

    pub(crate) async fn give_up(&self, hold: Hold, effect: Effect) {
        // A lock that is lost is no error for a caller that is done anyway.
        if let Err(error) = hold.end(End::Release(effect)).await {
            tracing::warn!(key = %self.key, %error, ?effect, "a failed attempt's end is not recorded");
        }
    }
}

/// Whether an error says that the store is out of reach, and nothing of the key.
const fn cannot_be_reached(kind: StoreErrorKind) -> bool {
    matches!(kind, StoreErrorKind::Unavailable | StoreErrorKind::InDoubt | StoreErrorKind::Closed)
}
