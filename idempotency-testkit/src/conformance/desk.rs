//! One key: what is asked of it, held against what the contract answers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use idempotency_core::{Acquired, Claim, Completion, Effect, Fence, Grant, Held, Key, Lock, Record, State, Timestamp};

use super::bench::Bench;
use super::failure::{Failure, Outcome};
use super::words;
use crate::belief::{Belief, Window};
use crate::call::{Answer, Call};
use crate::rule::Rule;

/// One key of the store, and what may be kept under it as far as the answers so far tell.
///
/// Every call made here is held against the moves, and so is a look at the whole record after it.
#[derive(Clone, Debug)]
pub(crate) struct Desk {
    pub(crate) bench: Arc<Bench>,
    pub(crate) key: Key,
    /// Several where the answers leave it open.
    beliefs: Vec<Belief>,
    /// The locks granted, the latest last.
    pub(crate) locks: Vec<Lock>,
    pub(crate) story: Vec<String>,
    began: Option<Timestamp>,
    /// Which kinds of answers were seen.
    pub(crate) seen: BTreeSet<&'static str>,
    /// Whether fences are held to grow even where the store may have forgotten the key.
    pub(crate) fences_outlive_the_record: bool,
}

impl Desk {
    pub(crate) fn new(bench: Arc<Bench>, key: Key) -> Self {
        Self {
            bench,
            key,
            beliefs: vec![Belief::default()],
            locks: Vec::new(),
            story: Vec::new(),
            began: None,
            seen: BTreeSet::new(),
            fences_outlive_the_record: true,
        }
    }

    /// Asks, and looks at the record after it.
    pub(crate) async fn call(&mut self, call: Call) -> Outcome<Answer> {
        let answer = self.ask(&call).await?;
        self.look().await?;
        Ok(answer)
    }

    /// Asks, without a look after it.
    pub(crate) async fn ask(&mut self, call: &Call) -> Outcome<Answer> {
        let asked = self.bench.send(&self.key, call).await;
        let (window, answer) = asked.map_err(|failure| failure.at(&self.key, &self.story))?;
        self.judge(call, window, &answer)?;
        Ok(answer)
    }

    /// The whole record is as it should be.
    pub(crate) async fn look(&mut self) -> Outcome {
        // A look is news only where it fails.
        let lines = self.story.len();
        self.ask(&Call::Get).await?;
        self.story.truncate(lines);
        Ok(())
    }

    /// Holds an answer against the moves.
    pub(crate) fn judge(&mut self, call: &Call, window: Window, answer: &Answer) -> Outcome {
        if let Some(grant) = answer.granted() {
            self.fence_grew(grant.lock)?;
        }
        let mut broken = None;
        let mut after = Vec::with_capacity(self.beliefs.len());
        for belief in &self.beliefs {
            let mut belief = belief.clone();
            match belief.step(call, window, answer) {
                Ok(()) if after.contains(&belief) => {}
                Ok(()) => after.push(belief),
                Err(found) => broken = broken.or(Some(found)),
            }
        }
        if after.is_empty()
            && let Some(broken) = broken
        {
            return Err(Failure::from(broken).at(&self.key, &self.story));
        }
        self.beliefs = after;
        self.note(call, window, answer);
        Ok(())
    }

    fn fence_grew(&self, lock: Lock) -> Outcome {
        let remembered = self.fences_outlive_the_record || self.beliefs.iter().all(|belief| belief.record().is_some());
        let highest = self.locks.iter().map(|lock| lock.fence).max();
        if !remembered || self.locks.contains(&lock) || highest < Some(lock.fence) {
            return Ok(());
        }
        let text = format!("granted under fence {}, after fence {}", lock.fence, highest.unwrap_or_default());
        Err(Failure::of(Rule::FencesGrow, text).at(&self.key, &self.story))
    }

    fn note(&mut self, call: &Call, window: Window, answer: &Answer) {
        let began = *self.began.get_or_insert(window.from);
        self.story.push(format!("{:>8}  {} -> {answer}", words::moment(window.from, began), words::line(call)));
        if let Some(grant) = answer.granted()
            && !self.locks.contains(&grant.lock)
        {
            self.locks.push(grant.lock);
        }
        self.seen.insert(kind(answer));
    }

    /// Takes in calls that were made at once: some order of them must give their answers, and what is
    /// there afterwards.
    pub(crate) async fn at_once(&mut self, calls: Vec<(Call, Window, Answer)>) -> Outcome {
        let found = self.bench.send(&self.key, &Call::Get).await;
        let (window, last) = found.map_err(|failure| failure.at(&self.key, &self.story))?;
        let mut broken = None;
        let mut after = None;
        for belief in &self.beliefs {
            match super::order::in_some_order(belief, &calls, &(Call::Get, window, last.clone())) {
                Ok(belief) => after = Some(belief),
                Err(found) => broken = broken.or(Some(found)),
            }
        }
        for (call, window, answer) in &calls {
            let began = *self.began.get_or_insert(window.from);
            self.story.push(format!(
                "{:>8}  at once: {} -> {answer}",
                words::moment(window.from, began),
                words::line(call)
            ));
        }
        match (after, broken) {
            (Some(belief), _) => {
                self.beliefs = vec![belief];
                self.locks.extend(calls.iter().filter_map(|(_, _, answer)| Some(answer.granted()?.lock)));
                Ok(())
            }
            (None, Some(broken)) => Err(Failure::from(broken).at(&self.key, &self.story)),
            (None, None) => Ok(()),
        }
    }

    /// A call was sent of which nobody knows whether, or when, it was carried out.
    pub(crate) fn in_doubt(&mut self, call: &Call, window: Window, fence: Fence) {
        let after: Vec<_> = self.beliefs.iter().flat_map(|belief| belief.after(call, window, fence)).collect();
        self.beliefs.extend(after);
    }

    /// What is kept, as far as one knows.
    pub(crate) fn record(&self) -> Option<&Record> {
        self.beliefs.first().and_then(Belief::record)
    }

    /// The answer is what the contract says; this says that the case came to where it wanted to be.
    ///
    /// In real time a stalled machine may let a lease run out on the way, and then it is elsewhere.
    pub(crate) fn expect(&self, what: &'static str, is_so: bool) -> Outcome {
        if is_so || self.bench.clock().is_err() {
            return Ok(());
        }
        Err(Failure::of(Rule::RowsAreAnswered, format!("expected {what}")).at(&self.key, &self.story))
    }
}

/// The methods, each held against the moves.
impl Desk {
    pub(crate) async fn acquire(&mut self, claim: &Claim) -> Outcome<Acquired> {
        match self.call(Call::Acquire(Box::new(claim.clone()))).await? {
            Answer::Acquired(acquired) => Ok(acquired),
            Answer::Found(_) | Answer::Held(_) => Err(Failure::other("acquire_lock gave another method's answer")),
        }
    }

    /// Acquires where the contract grants the lock.
    pub(crate) async fn granted(&mut self, claim: &Claim) -> Outcome<Grant> {
        match self.acquire(claim).await? {
            Acquired::Acquired(grant) => Ok(grant),
            other => {
                let text = format!("expected a lock, and found {}", Answer::Acquired(other));
                Err(Failure::of(Rule::RowsAreAnswered, text).at(&self.key, &self.story))
            }
        }
    }

    pub(crate) async fn extend(&mut self, lock: Lock, lease: Duration) -> Outcome<Held> {
        held(self.call(Call::Extend(lock, lease)).await?)
    }

    pub(crate) async fn store(&mut self, lock: Lock, result: &Completion, retention: Duration) -> Outcome<Held> {
        held(self.call(Call::Store(lock, result.clone(), retention)).await?)
    }

    pub(crate) async fn release(&mut self, lock: Lock, effect: Effect) -> Outcome<Held> {
        held(self.call(Call::Release(lock, effect)).await?)
    }

    /// Runs the key from nothing to a result.
    pub(crate) async fn complete(&mut self, claim: &Claim, result: &Completion) -> Outcome<Lock> {
        let lock = self.granted(claim).await?.lock;
        self.store(lock, result, claim.retention).await?;
        Ok(lock)
    }

    /// The last lock granted; one that never was where none is.
    pub(crate) fn last_lock(&self) -> Lock {
        self.locks.last().copied().unwrap_or(Lock { owner: super::sample::claim(1).owner, fence: Fence::new(7) })
    }

    pub(crate) fn is_completed(&self) -> bool {
        matches!(self.record(), Some(Record { state: State::Completed { .. }, .. }))
    }
}

fn held(answer: Answer) -> Outcome<Held> {
    match answer {
        Answer::Held(held) => Ok(held),
        Answer::Found(_) | Answer::Acquired(_) => Err(Failure::other("a method gave another's answer")),
    }
}

fn kind(answer: &Answer) -> &'static str {
    match answer {
        Answer::Found(None) => "nothing",
        Answer::Found(Some(_)) => "found",
        Answer::Held(Held::Held) => "held",
        Answer::Held(Held::Lost) => "lost",
        Answer::Acquired(acquired) => match acquired {
            Acquired::Acquired(grant) => match (grant.attempt, grant.prior) {
                (1, None) => "acquired",
                (1, Some(_)) => "a first attempt with a prior one",
                (_, None) => "acquired again",
                (_, Some(_)) => "taken over",
            },
            Acquired::InProgress { .. } => "in progress",
            Acquired::Completed(_) => "completed",
            Acquired::Mismatch => "mismatch",
            Acquired::Unknown { .. } => "unknown",
            Acquired::Ended => "ended",
        },
    }
}
