//! One exclusive run: the lock, in it the slot, in it the job.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

use super::Exclusively;
use crate::attempt::Attempt;
use crate::codec::Replay;
use crate::error::Error;
use crate::hold::{End, Hold};
use crate::key::Key;
use crate::lease::LeaseLost;
use crate::lock::{Effect, OnUnknown};
use crate::moves::Held;
use crate::outcome::{How, Origin, Outcome, Unrecorded};
use crate::plan::{NoReconcile, Plan};
use crate::record::{Completion, Omitted};
use crate::run::{Begun, Run};
use crate::shared::{Inner, Settings};
use crate::time::SHORTEST;

pub(super) struct Job<'a> {
    pub(super) inner: &'a Arc<Inner>,
    pub(super) key: Key,
    pub(super) slot: Option<Key>,
    pub(super) settings: Settings,
    pub(super) at_least_for: Duration,
    pub(super) keeps_running: bool,
}

/// Why a job gave no report.
enum Ended<E> {
    /// It failed.
    Failed(E),
    /// It was stopped.
    Lost(LeaseLost),
    /// Nothing ran: the slot's key says why.
    Core(Error),
}

impl<E> From<Error> for Ended<E> {
    fn from(error: Error) -> Self {
        Self::Core(error)
    }
}

impl Job<'_> {
    pub(super) async fn run<T, E, F, Fut>(self, job: F) -> Result<Exclusively<T>, E>
    where
        T: Replay,
        E: From<Error> + Send,
        F: FnOnce(Attempt) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        // First, so that whoever comes to a slot that is done keeps nobody off another.
        if let Some(slot) = &self.slot
            && let Some(done) = Run::new(self.inner, slot, self.slots_plan())?.recorded::<T>().await?
            && let Ok((report, origin)) = done.replayed()
        {
            return Ok(Exclusively::AlreadyDone { report, origin });
        }
        let lock = Run::new(self.inner, &self.key, self.plan())?;
        // Dropped at any point from here on, by a panic too, the hold gives the lock back: it holds others
        // off from what runs in here, and then nothing does.
        let hold = match lock.begin().await {
            Ok(Begun::Granted(hold)) => hold,
            Ok(Begun::Replay(last)) => return Ok(Exclusively::TooSoon { last: Origin::of(&last) }),
            Ok(Begun::Unprotected(source)) => return Err(Error::Store { key: self.key, source }.into()),
            Err(Error::InProgress { attempt, retry_after, .. }) => {
                return Ok(Exclusively::Busy { attempt, retry_after });
            }
            Err(error) => return Err(error.into()),
        };
        let attempt = Attempt::protected(hold.lease.clone(), hold.grant, OnUnknown::RunAgain);
        if let Some(prior) = attempt.prior() {
            tracing::warn!(key = %self.key, run = attempt.number(), prior = prior.attempt, "the run before did not end");
        }
        // The answer to the claim may have taken longer than the lease.
        if hold.lease.is_doubtful() {
            lock.give_up(hold, Effect::None).await;
            return Ok(Exclusively::Busy { attempt: attempt.number(), retry_after: Duration::ZERO });
        }
        let begun = Instant::now();
        let ended = match &self.slot {
            None => self
                .guarded(attempt.exclusive(None), job)
                .await
                .map(|report| Outcome::new(report, How::Executed, hold.grant.attempt, hold.grant.prior)),
            Some(slot) => self.run_slot(slot, attempt, job).await,
        };
        let failed = match ended {
            Ok(outcome) => match outcome.replayed() {
                Ok((report, origin)) => {
                    lock.give_up(hold, Effect::None).await;
                    return Ok(Exclusively::AlreadyDone { report, origin });
                }
                Err(outcome) => return Ok(self.succeeded(hold, begun, outcome).await),
            },
            Err(failed) => failed,
        };
        let number = hold.grant.attempt;
        lock.give_up(hold, Effect::None).await;
        match failed {
            Ended::Failed(error) => Err(error),
            Ended::Lost(why) => Err(Error::LockLost { key: self.key, attempt: number, why }.into()),
            // Whoever had the slot before may still be ending it.
            Ended::Core(Error::InProgress { attempt, retry_after, .. }) => {
                Ok(Exclusively::Busy { attempt, retry_after })
            }
            Ended::Core(error) => Err(error.into()),
        }
    }

    async fn run_slot<T, E, F, Fut>(&self, slot: &Key, attempt: Attempt, job: F) -> Result<Outcome<T>, Ended<E>>
    where
        T: Replay,
        E: Send,
        F: FnOnce(Attempt) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let classify = |ended: &Ended<E>| match ended {
            Ended::Failed(_) | Ended::Core(_) => Effect::None,
            // It may be half done, and is not waited for: nothing runs any more.
            Ended::Lost(_) => Effect::Unknown,
        };
        let run = |slot| self.guarded(attempt.exclusive(Some(slot)), job);
        Run::new(self.inner, slot, self.slots_plan())?.execute(run, classify, NoReconcile).await
    }

    /// Polls the job for as long as its locks hold.
    async fn guarded<T, E, F, Fut>(&self, attempt: Attempt, job: F) -> Result<T, Ended<E>>
    where
        F: FnOnce(Attempt) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let mut job = pin!(job(attempt.clone()));
        let mut lost = pin!(attempt.lost());
        poll_fn(|cx| {
            if !self.keeps_running {
                let lost = match lost.as_mut().poll(cx) {
                    Poll::Ready(why) => Some(why),
                    Poll::Pending => attempt.lost_by_now(),
                };
                if let Some(why) = lost {
                    return Poll::Ready(Err(Ended::Lost(why)));
                }
            }
            job.as_mut().poll(cx).map_err(Ended::Failed)
        })
        .await
    }

    /// Ends a run that went well: others are held off for what is left of their time, and nobody after it is
    /// told of a run before it that did not end.
    async fn succeeded<T>(&self, hold: Hold, begun: Instant, outcome: Outcome<T>) -> Exclusively<T> {
        let was_doubtful = hold.lease.is_doubtful();
        let left = self.at_least_for.saturating_sub(begun.elapsed());
        let end = match left >= SHORTEST {
            true => End::Store(Completion::Omitted(Omitted::ByChoice), left),
            // Not as one without an effect, which would give a key that was unknown back as unknown.
            false => End::Release(Effect::Settled),
        };
        match hold.end(end).await {
            Ok(Held::Held) => Exclusively::Ran(outcome),
            Ok(Held::Lost) => Exclusively::Overtaken(self.unrecorded(outcome, Unrecorded::LockLost)),
            Err(error) => {
                let outcome = self.unrecorded(outcome, Unrecorded::Store(error));
                if was_doubtful { Exclusively::Overtaken(outcome) } else { Exclusively::Ran(outcome) }
            }
        }
    }

    fn unrecorded<T>(&self, outcome: Outcome<T>, why: Unrecorded) -> Outcome<T> {
        tracing::error!(key = %self.key, %why, "the end of an exclusive run is not recorded");
        // A slot's report has a record of its own.
        if self.slot.is_some() {
            return outcome;
        }
        let (attempt, prior) = (outcome.attempt(), outcome.prior());
        Outcome::new(outcome.into_inner(), How::Unrecorded(why), attempt, prior)
    }

    fn plan(&self) -> Plan {
        let settings = Settings { on_unknown: OnUnknown::RunAgain, ..self.settings.clone() };
        Plan { strict_end: true, ..Plan::new(settings) }
    }

    fn slots_plan(&self) -> Plan {
        Plan { strict_end: true, if_cut_off: Some(Effect::Unknown), ..Plan::new(self.settings.clone()) }
    }
}
