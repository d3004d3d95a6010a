//! Where a case works: the store, and the time as the store has it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use idempotency_core::{Claim, Clock, IdempotencyStore, Key, ManualClock, Timestamp, Upkeep};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::desk::Desk;
use super::failure::{Failure, Outcome};
use super::sample;
use super::subject::{Capability, Handles, Subject};
use crate::belief::Window;
use crate::call::{Answer, Call};

use crate::rule::Rule;

/// How far a store's times may be from the true ones: they may be kept in milliseconds.
const ROUNDING: Duration = Duration::from_millis(2);

/// What is asked of a key at a time.
const AT_ONCE: usize = 16;

/// How long the claims of a case ask for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) lease: Duration,
    pub(crate) retention: Duration,
    pub(crate) unknown_retention: Duration,
}

const MANUAL: Times =
    Times { lease: sample::LEASE, retention: sample::RETENTION, unknown_retention: sample::UNKNOWN_RETENTION };

const REAL: Times = Times {
    lease: Duration::from_millis(300),
    retention: Duration::from_millis(600),
    unknown_retention: Duration::from_millis(1200),
};

/// The store under test, and the time as it has it.
#[derive(Debug)]
pub(crate) struct Bench {
    subject: Mutex<Option<Subject>>,
    clock: Option<Arc<ManualClock>>,
    pub(crate) times: Times,
    started: Instant,
    /// In real time: the store's clock minus this bench's, at least and at most.
    offset: (i128, i128),
}

/// A moment before a call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mark {
    Store(Timestamp),
    Local(Instant),
}

impl Bench {
    pub(crate) async fn new(subject: Subject) -> Outcome<Arc<Self>> {
        let clock = subject.clock.clone();
        let times = if clock.is_some() { MANUAL } else { REAL };
        let mut bench =
            Self { subject: Mutex::new(Some(subject)), clock, times, started: Instant::now(), offset: (0, 0) };
        if bench.clock.is_none() {
            bench.offset = bench.compare_clocks().await?;
        }
        Ok(Arc::new(bench))
    }

    /// Reads the store's clock a few times, between two looks at one's own.
    async fn compare_clocks(&self) -> Outcome<(i128, i128)> {
        const SHORT: Duration = Duration::from_millis(20);
        let failed = |error| Failure::other(format!("the store's clock could not be read: {error}"));
        let key = sample::key("what time is it");
        let (store, claim) = (self.store(), Claim { lease: SHORT, retention: SHORT, ..sample::claim(1) });
        let (mut least, mut most) = (i128::MIN, i128::MAX);
        for number in 0..10 {
            let claim = Claim { owner: sample::claim(number).owner, unknown_retention: SHORT, ..claim.clone() };
            let _granted_or_not = store.acquire_lock(&key, &claim).await.map_err(failed)?;
            let before = self.local();
            let found = store.get(&key).await.map_err(failed)?;
            let after = self.local();
            if let Some(found) = found {
                let theirs = i128::from(found.now.as_micros());
                least = least.max(theirs - after);
                most = most.min(theirs - before);
            }
        }
        // So that cases which count records find none.
        tokio::time::sleep(4 * SHORT).await;
        if let Ok(upkeep) = self.upkeep() {
            upkeep.purge(1).await.map_err(failed)?;
        }
        if least == i128::MIN {
            return Err(Failure::of(Rule::NothingIsForgottenEarly, "a key that was just acquired is not there"));
        }
        let rounding = i128::try_from(ROUNDING.as_micros()).unwrap_or(0);
        Ok((least.min(most) - rounding, most.max(least) + rounding))
    }

    fn local(&self) -> i128 {
        i128::try_from(self.started.elapsed().as_micros()).unwrap_or(i128::MAX)
    }

    fn subject(&self) -> MutexGuard<'_, Option<Subject>> {
        self.subject.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handles(&self) -> Handles {
        self.of_subject(|subject| subject.handles.clone())
    }

    fn of_subject<T>(&self, look: impl FnOnce(&Subject) -> T) -> T {
        match &*self.subject() {
            Some(subject) => look(subject),
            None => panic!("the store is being opened again"),
        }
    }

    pub(crate) fn store(&self) -> Arc<dyn IdempotencyStore> {
        self.handles().store
    }

    pub(crate) fn upkeep(&self) -> Outcome<Arc<dyn Upkeep>> {
        self.handles().upkeep.ok_or_else(|| Failure::other("the store gives no `Upkeep`"))
    }

    pub(crate) fn clock(&self) -> Outcome<Arc<ManualClock>> {
        self.clock.clone().ok_or_else(|| Failure::other("the store is on no clock that the test moves"))
    }

    pub(crate) fn has(&self, what: Capability) -> bool {
        self.of_subject(|subject| subject.has(what))
    }

    /// Why the store lacks something, as it declares.
    pub(crate) fn declared(&self, what: Capability) -> Option<String> {
        self.of_subject(|subject| subject.lacks.get(&what).cloned())
    }

    /// As many rounds of `most` as this store is to have, and one at least.
    pub(crate) fn rounds(&self, most: u32) -> u32 {
        (most / self.of_subject(|subject| subject.fewer)).max(1)
    }

    pub(crate) fn limit(&self) -> Duration {
        self.of_subject(|subject| subject.limit)
    }

    pub(crate) fn largest(&self) -> usize {
        self.of_subject(|subject| subject.largest)
    }

    pub(crate) fn purged_by(&self) -> Duration {
        self.of_subject(Subject::purge_delay)
    }

    pub(crate) fn forgets_by_itself(&self) -> bool {
        self.of_subject(|subject| subject.forgets_by_itself)
    }

    /// Closes the store and opens it again over the same records.
    pub(crate) async fn reopen(&self) -> Outcome {
        let Some(mut subject) = self.subject().take() else { panic!("the store is being opened again twice") };
        let Some(open) = subject.reopen.clone() else {
            return Err(Failure::other("the subject cannot be opened again"));
        };
        drop(subject.handles);
        let opened = open().await;
        subject.guards.extend(opened.guards);
        subject.handles = opened.handles;
        *self.subject() = Some(subject);
        Ok(())
    }

    /// A claim by this owner, with this bench's times.
    pub(crate) fn claim(&self, owner: u128) -> Claim {
        let Times { lease, retention, unknown_retention } = self.times;
        Claim { lease, retention, unknown_retention, ..sample::claim(owner) }
    }

    /// Lets so much time pass, and a little more where it is real.
    pub(crate) async fn pass(&self, time: Duration) {
        match &self.clock {
            Some(clock) => clock.advance(time),
            None => tokio::time::sleep(time + Duration::from_millis(10)).await,
        }
    }

    pub(crate) fn mark(&self) -> Mark {
        self.clock.as_ref().map_or_else(|| Mark::Local(Instant::now()), |clock| Mark::Store(clock.now()))
    }

    /// The store's time from `mark` until now.
    pub(crate) fn since(&self, mark: Mark) -> Window {
        match (mark, &self.clock) {
            (Mark::Store(then), Some(clock)) => {
                let now = clock.now();
                Window { from: then.min(now), to: then.max(now) }
            }
            (Mark::Local(then), _) => {
                let then = i128::try_from((then - self.started).as_micros()).unwrap_or(i128::MAX);
                let theirs = |local| Timestamp::from_micros(u64::try_from(local).unwrap_or(0));
                Window { from: theirs(then + self.offset.0), to: theirs(self.local() + self.offset.1) }
            }
            (Mark::Store(then), None) => Window::at(then),
        }
    }

    /// Asks the store, within a limit; and when that was.
    pub(crate) async fn send(&self, key: &Key, call: &Call) -> Outcome<(Window, Answer)> {
        let (store, limit) = (self.store(), self.limit());
        let mark = self.mark();
        match timeout(limit, call.send(key, &*store)).await {
            Ok(Ok(answer)) => Ok((self.since(mark), answer)),
            Ok(Err(error)) => {
                Err(Failure::of(Rule::RowsAreAnswered, format!("{call} was answered with an error: {error}")))
            }
            Err(_) => Err(Failure::of(Rule::RequestsEnd, format!("{call} was not answered within {limit:?}"))),
        }
    }

    /// A key's desk, with nothing there yet.
    pub(crate) fn desk(self: &Arc<Self>, id: impl AsRef<[u8]>) -> Desk {
        self.desk_of(sample::key(id))
    }

    pub(crate) fn desk_of(self: &Arc<Self>, key: Key) -> Desk {
        Desk::new(self.clone(), key)
    }

    /// Does the same at many desks, several at a time.
    pub(crate) async fn at_each<F, W>(&self, desks: Vec<Desk>, work: W) -> Outcome<Vec<Desk>>
    where
        F: Future<Output = Outcome<Desk>> + Send + 'static,
        W: Fn(usize, Desk) -> F,
    {
        let mut done: Vec<Option<Desk>> = Vec::new();
        done.resize_with(desks.len(), || None);
        let mut waiting = desks.into_iter().enumerate();
        let mut tasks: JoinSet<Outcome<(usize, Desk)>> = JoinSet::new();
        loop {
            while tasks.len() < AT_ONCE
                && let Some((number, desk)) = waiting.next()
            {
                let one = work(number, desk);
                tasks.spawn(async move { Ok((number, one.await?)) });
            }
            let Some(joined) = tasks.join_next().await else { break };
            let (number, desk) = joined.unwrap_or_else(|error| Err(Failure::panicked(error)))?;
            done[number] = Some(desk);
        }
        Ok(done.into_iter().flatten().collect())
    }
}
