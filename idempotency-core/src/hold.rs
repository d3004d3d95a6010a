//! One attempt's hold on its key, from the first request to the last; safe to drop at any point.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep, timeout_at};

use crate::ask::{Ask, ask};
use crate::error::{StoreError, StoreErrorKind};
use crate::key::Key;
use crate::lease::{Bounds, Lease};
use crate::lock::{Claim, Effect, Lock};
use crate::moves::{Acquired, Grant, Held};
use crate::record::{Completion, Omitted};
use crate::renewer::Registration;
use crate::shared::Inner;

/// How often one call is asked while its answer is in doubt, within its limit.
const TRIES: u32 = 3;

/// Growing, jittered delays; made only when one is needed, as most calls succeed at once.
#[derive(Default)]
struct Delays(Option<ExponentialBackoff>);

impl Delays {
    fn next(&mut self) -> Duration {
        let delays = self.0.get_or_insert_with(|| {
            ExponentialBuilder::default()
                .with_min_delay(Duration::from_millis(5))
                .with_max_delay(Duration::from_secs(1))
                .with_jitter()
                .without_max_times()
                .build()
        });
        delays.next().unwrap_or(Duration::from_secs(1))
    }
}

/// A claim on its way. Dropped before its answer is known, it is asked again in the background and
/// what it got is released: the operation has not begun.
#[derive(Debug)]
pub(crate) struct Asking<'a> {
    inner: &'a Arc<Inner>,
    key: &'a Key,
    claim: &'a Claim,
    runtime: Handle,
    in_doubt: bool,
}

impl<'a> Asking<'a> {
    pub(crate) fn new(inner: &'a Arc<Inner>, key: &'a Key, claim: &'a Claim) -> Self {
        Self { inner, key, claim, runtime: Handle::current(), in_doubt: false }
    }

    /// Asks for the lock; again, with the same owner, while the answer is in doubt. Gives with the
    /// answer when the request was sent that it answers.
    pub(crate) async fn answer(&mut self, limit: Duration) -> Result<(Acquired, Instant), StoreError> {
        match self.answer_once(limit / TRIES).await {
            // Apart, so that a call that is answered at once does not carry the room for it.
            Err(error) => Box::pin(self.answer_again(error, limit)).await,
            answer => answer,
        }
    }

    async fn answer_again(
        &mut self,
        mut error: StoreError,
        limit: Duration,
    ) -> Result<(Acquired, Instant), StoreError> {
        let per_try = limit / TRIES;
        // The first try took its share at the most.
        let give_up_at = Instant::now() + (limit - per_try);
        let mut delays = Delays::default();
        for _ in 1..TRIES {
            let delay = delays.next();
            let left = give_up_at.saturating_duration_since(Instant::now() + delay);
            if !error.is_passing() || left.is_zero() {
                break;
            }
            sleep(delay).await;
            error = match self.answer_once(per_try.min(left)).await {
                Err(error) => error,
                answer => return answer,
            };
        }
        // Whatever an earlier try did is found out in the background.
        Err(error)
    }

    async fn answer_once(&mut self, limit: Duration) -> Result<(Acquired, Instant), StoreError> {
        let was_in_doubt = std::mem::replace(&mut self.in_doubt, true);
        let asked_at = Instant::now();
        let answer = ask("acquire_lock", limit, || self.inner.store.acquire_lock(self.key, self.claim)).await;
        self.in_doubt = match &answer {
            Ok(_) => false,
            Err(error) => was_in_doubt || matches!(error.kind(), StoreErrorKind::InDoubt | StoreErrorKind::Internal),
        };
        Ok((answer?, asked_at))
    }

    /// Leaves a lock that may have been got to lapse: an unprotected run goes on without it.
    pub(crate) fn leave(mut self) {
        self.in_doubt = false;
    }

    pub(crate) fn hold(self, grant: Grant, asked_at: Instant, bounds: Bounds) -> Hold {
        let lease = Arc::new(Lease::new(self.key.clone(), grant.lock, self.claim.lease, bounds, asked_at));
        let registration = self.inner.renewer.register(&lease, &self.runtime);
        Hold {
            inner: self.inner.clone(),
            runtime: self.runtime.clone(),
            grant,
            lease,
            registration: Some(registration),
            phase: Phase::Granted,
        }
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if self.in_doubt {
            let (inner, key, claim) = (self.inner.clone(), self.key.clone(), self.claim.clone());
            self.inner.background.spawn_on(give_back(inner, key, claim), &self.runtime);
        }
    }
}

/// Finds out whether a claim got its lock, and releases it. No longer than its lease: then the lock,
/// if there is one, has lapsed.
async fn give_back(inner: Arc<Inner>, key: Key, claim: Claim) {
    let give_up_at = Instant::now() + claim.lease;
    let mut delays = Delays::default();
    while Instant::now() < give_up_at {
        let limit = inner.settings.store_limit;
        match ask("acquire_lock", limit, || inner.store.acquire_lock(&key, &claim)).await {
            Ok(Acquired::Acquired(grant)) => {
                let ending = End::Release(Effect::None);
                if let Err(error) = ending.carry_out(&inner, &key, grant, || give_up_at).await {
                    tracing::warn!(%key, %error, "a lock that nothing ran under could not be released; it will lapse");
                }
                return;
            }
            Ok(_) => return,
            Err(error) if !error.is_passing() => return,
            Err(_) => sleep(delays.next()).await,
        }
    }
}

/// How an attempt ends.
#[derive(Clone, Debug)]
pub(crate) enum End {
    Store(Completion, Duration),
    Release(Effect),
}

impl End {
    const fn operation(&self) -> &'static str {
        match self {
            Self::Store(..) => "store_result",
            Self::Release(_) => "release_lock",
        }
    }

    /// Tells the store once.
    fn tell<'a>(&'a self, inner: &'a Inner, key: &'a Key, lock: &'a Lock) -> Ask<'a, Held> {
        let limit = (inner.settings.store_limit / TRIES).max(Duration::from_millis(1));
        match self {
            Self::Store(result, retention) => {
                ask("store_result", limit, || inner.store.store_result(key, lock, result, *retention))
            }
            Self::Release(effect) => ask("release_lock", limit, || inner.store.release_lock(key, lock, *effect)),
        }
    }

    /// Tells the store, at least once, and again on passing errors until `until()`. Where the store
    /// refuses a value for good, the fact alone is recorded, and the refusal is the answer.
    async fn carry_out(
        self,
        inner: &Inner,
        key: &Key,
        grant: Grant,
        until: impl Fn() -> Instant,
    ) -> Result<Held, StoreError> {
        let first = self.tell(inner, key, &grant.lock).await;
        self.carry_on(first, inner, key, grant, until).await
    }

    /// As [`End::carry_out`], from the first answer on.
    async fn carry_on(
        mut self,
        mut answer: Result<Held, StoreError>,
        inner: &Inner,
        key: &Key,
        grant: Grant,
        until: impl Fn() -> Instant,
    ) -> Result<Held, StoreError> {
        let mut delays = Delays::default();
        let mut refused = None;
        loop {
            let error = match answer {
                Ok(held) => return refused.map_or(Ok(held), Err),
                Err(error) => error,
            };
            match &mut self {
                Self::Store(result @ Completion::Value(_), _) if refuses_for_good(error.kind()) => {
                    *result = Completion::Omitted(Omitted::RefusedByStore);
                    refused = Some(error);
                }
                _ if !error.is_passing() || Instant::now() >= until() => return Err(refused.unwrap_or(error)),
                _ => {
                    tracing::warn!(%key, %error, "an attempt's end was not recorded; trying again");
                    sleep(delays.next()).await;
                }
            }
            answer = self.tell(inner, key, &grant.lock).await;
        }
    }
}

const fn refuses_for_good(kind: StoreErrorKind) -> bool {
    matches!(kind, StoreErrorKind::Full | StoreErrorKind::TooLarge)
}

/// A lock that is held, and how far its attempt has come.
#[derive(Debug)]
pub(crate) struct Hold {
    inner: Arc<Inner>,
    runtime: Handle,
    pub(crate) grant: Grant,
    pub(crate) lease: Arc<Lease>,
    /// Renews the lease; taken by whoever ends the attempt in the background.
    registration: Option<Registration>,
    phase: Phase,
}

/// What dropping a [`Hold`] does.
#[derive(Debug)]
enum Phase {
    /// The operation was not polled, or the lock is there for no more than to exclude others while it is:
    /// the lock is released.
    Granted,
    /// It was polled. Nobody knows what it did, so the lock is left to lapse, or ended with this effect.
    Running(Option<Effect>),
    /// It is over: its end is carried out in the background.
    Ending(End),
    /// The store has been told.
    Over,
}

impl Hold {
    /// From here on, nobody knows what the operation has done until it returns. Cut off, the lock is left
    /// to lapse, or ended with the effect `if_cut_off`.
    pub(crate) fn runs(&mut self, if_cut_off: Option<Effect>) {
        self.phase = Phase::Running(if_cut_off);
    }

    /// Confirms the lock by one extend, for a claim that promised to.
    pub(crate) async fn confirm(&mut self, limit: Duration) -> Result<Held, StoreError> {
        let lease = &self.lease;
        let asked_at = Instant::now();
        let length = lease.length_from(asked_at);
        let held = ask("extend_lock", limit, || self.inner.store.extend_lock(&lease.key, &lease.lock, length)).await?;
        lease.renewed(asked_at, length);
        Ok(held)
    }

    /// Ends the attempt: within the limit here, after it in the background for as long as the lock
    /// may be held. A hung store never holds back an operation that has finished.
    pub(crate) async fn end(mut self, end: End) -> Result<Held, StoreError> {
        self.phase = Phase::Ending(end.clone());
        self.lease.begin_end();
        let answer = match end.tell(&self.inner, &self.lease.key, &self.grant.lock).await {
            // Apart, so that a call that is answered at once does not carry the room for it.
            failed @ Err(_) => {
                let (inner, lease) = (&*self.inner, &self.lease);
                let limit = self.inner.settings.store_limit;
                // The first try took its share at the most.
                let give_up_at = Instant::now() + (limit - limit / TRIES);
                let operation = end.operation();
                let again = end.carry_on(failed, inner, &lease.key, self.grant, || lease.until());
                Box::pin(timeout_at(give_up_at, again)).await.unwrap_or_else(|_| Err(self.late(operation)))
            }
            told => told,
        };
        // What failed in passing is asked on, by dropping this.
        if !matches!(&answer, Err(error) if error.is_passing()) {
            self.phase = Phase::Over;
        }
        answer
    }

    fn late(&self, operation: &'static str) -> StoreError {
        let limit = self.inner.settings.store_limit;
        StoreError::new(StoreErrorKind::InDoubt, operation)
            .with_message(format!("no answer within {limit:?}; it is asked on in the background"))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let end = match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Granted => End::Release(Effect::None),
            Phase::Ending(end) => end,
            Phase::Running(Some(effect)) => End::Release(effect),
            Phase::Running(None) | Phase::Over => return,
        };
        let (inner, grant, lease) = (self.inner.clone(), self.grant, self.lease.clone());
        let registration = self.registration.take();
        let ending = async move {
            if let Err(error) = end.carry_out(&inner, &lease.key, grant, || lease.until()).await {
                tracing::error!(key = %lease.key, %error, "an attempt's end could not be recorded; its key is unknown");
            }
            drop(registration);
        };
        self.inner.background.spawn_on(ending, &self.runtime);
    }
}
