//! One state: what is kept, and what is true.

use idempotency_core::moves::Move;
use idempotency_core::{Acquired, Claim, Fence, Held, Lock, Owner, Record, Timestamp};

use super::moves::Moves;
use super::step::{Asked, EFFECTS, LEASE, RETENTION, Step, ticks, value};
use super::truth::{Truth, Wrong};
use crate::call::Answer;
use crate::rule::Rule;

/// A state of all keys.
#[derive(Clone, Debug)]
pub(super) struct World {
    keys: Vec<(Option<Record>, Truth)>,
    pub(super) now: Timestamp,
    /// The largest fence given out.
    highest: u64,
    /// How many owners were granted something: they are numbered in that order.
    owners: u8,
}

/// What the steps are made of.
#[derive(Debug)]
pub(super) struct Possible {
    pub(super) moves: Moves,
    pub(super) asked: Vec<Asked>,
    /// By owner, then as in `asked`.
    pub(super) claims: Vec<Vec<Claim>>,
    pub(super) grants: usize,
}

impl World {
    pub(super) fn new(keys: usize) -> Self {
        // Far enough from the beginning of time that nothing is cut off there.
        Self { keys: vec![(None, Truth::default()); keys], now: Timestamp::from_micros(1 << 40), highest: 0, owners: 0 }
    }

    /// All that may happen next.
    pub(super) fn steps(&self, possible: &Possible) -> Vec<Step> {
        let mut all = vec![Step::Tick];
        let locks: usize = self.keys.iter().map(|(_, truth)| truth.granted.len()).sum();
        for (key, (record, _)) in (0_u8..).zip(&self.keys) {
            // Owners that were granted nothing yet are all alike: one of them stands for all.
            for owner in 0..possible.claims.len().min(usize::from(self.owners) + 1) {
                all.extend((0..possible.asked.len()).map(|asked| Step::Acquire {
                    key,
                    owner: owner as u8,
                    asked: asked as u8,
                }));
            }
            for lock in 0..=locks as u8 {
                all.push(Step::Extend { key, lock });
                all.extend([0, 1].map(|value| Step::Store { key, lock, value }));
                all.extend(EFFECTS.map(|effect| Step::Release { key, lock, effect }));
            }
            if record.as_ref().is_some_and(|record| record.forgotten_at() <= self.now) {
                all.push(Step::Purge { key });
            }
        }
        all
    }

    /// What the moves make of a step: the answer, and what they write.
    pub(super) fn make(&self, step: Step, possible: &Possible) -> (Answer, Option<Record>) {
        let (moves, now) = (&possible.moves, self.now);
        let record = |key: u8| self.keys[usize::from(key)].0.as_ref();
        match step {
            Step::Tick | Step::Purge { .. } => (Answer::Found(None), None),
            Step::Acquire { key, owner, asked } => {
                let claim = &possible.claims[usize::from(owner)][usize::from(asked)];
                // The clock of a store that remembers the key may have stepped back: with one key, the next
                // fence is then the smallest, and what is remembered must make it grow.
                let stepped_back = self.keys.len() == 1 && record(key).is_some();
                let next = Fence::new(if stepped_back { 1 } else { self.highest + 1 });
                let made = (moves.acquire)(record(key), claim, now, next);
                (Answer::Acquired(made.answer), made.write)
            }
            Step::Extend { key, lock } => held((moves.extend)(record(key), self.lock(key, lock), ticks(LEASE), now)),
            Step::Store { key, lock, value: number } => {
                let lock = self.lock(key, lock);
                held((moves.store)(record(key), lock, &value(number), ticks(RETENTION), now))
            }
            Step::Release { key, lock, effect } => {
                held((moves.release)(record(key), self.lock(key, lock), effect, now))
            }
        }
    }

    /// Takes a step. Whether it was taken: not where the bound of grants is reached.
    pub(super) fn take(&mut self, step: Step, possible: &Possible) -> Result<bool, Wrong> {
        let now = self.now;
        let (answer, write) = self.make(step, possible);
        let lock = |key, lock| self.lock(key, lock);
        let (key, judged) = match (step, &answer) {
            (Step::Acquire { key, owner, asked }, Answer::Acquired(found)) => {
                let claim = &possible.claims[usize::from(owner)][usize::from(asked)];
                let truth = &mut self.keys[usize::from(key)].1;
                let count = truth.granted.len();
                truth.acquired(claim, now, found)?;
                if truth.granted.len() > possible.grants {
                    return Ok(false);
                }
                if let (Acquired::Acquired(grant), true) = (found, truth.granted.len() > count) {
                    self.highest = self.highest.max(grant.lock.fence.get());
                    self.owners = self.owners.max(owner + 1);
                }
                (key, (matches!(found, Acquired::Acquired(_)), Rule::NothingElseChanges))
            }
            (Step::Extend { key, lock: number }, Answer::Held(found)) => {
                let lock = lock(key, number);
                self.keys[usize::from(key)].1.extended(lock, now, *found)?;
                (key, (*found == Held::Held, Rule::Fenced))
            }
            (Step::Store { key, lock: number, value: stored }, Answer::Held(found)) => {
                let (lock, truth) = (lock(key, number), &mut self.keys[usize::from(key)].1);
                let was_over = truth.is_over();
                truth.stored(lock, &value(stored), now, *found)?;
                let held = *found == Held::Held;
                (key, (held && !was_over, if held { Rule::ResultsDoNotChange } else { Rule::Fenced }))
            }
            (Step::Release { key, lock: number, effect }, Answer::Held(found)) => {
                let (lock, truth) = (lock(key, number), &mut self.keys[usize::from(key)].1);
                let was_over = truth.is_over();
                truth.released(lock, effect, now, *found)?;
                (key, (*found == Held::Held && !was_over, Rule::Fenced))
            }
            (Step::Purge { key }, _) => {
                self.keys[usize::from(key)].0 = None;
                (key, (false, Rule::NothingElseChanges))
            }
            _ => {
                self.now = now.plus(ticks(1));
                (0, (false, Rule::NothingElseChanges))
            }
        };
        let (may_change, rule) = judged;
        let record = &mut self.keys[usize::from(key)].0;
        match write {
            Some(write) if may_change || record.as_ref() == Some(&write) => *record = Some(write),
            Some(_) => return Err((rule, "nothing changes".into())),
            None => {}
        }
        self.remembers_what_it_must().map(|()| true)
    }

    fn remembers_what_it_must(&self) -> Result<(), Wrong> {
        for (record, truth) in &self.keys {
            let kept = record.as_ref().is_some_and(|record| self.now < record.forgotten_at());
            match (kept, truth.is_remembered(self.now)) {
                (false, true) => {
                    return Err((Rule::NothingIsForgottenEarly, "the record is to be remembered still".into()));
                }
                (true, false) => return Err((Rule::TimesAreKept, "the record's time is over".into())),
                (true, true) | (false, false) => {}
            }
        }
        Ok(())
    }

    fn lock(&self, key: u8, number: u8) -> Lock {
        let never = Lock { owner: Owner::from_u128(0), fence: Fence::new(self.highest + 1) };
        let (own, others) = (&self.keys[usize::from(key)].1, (0_u8..).zip(&self.keys));
        let others = others.filter(|(other, _)| *other != key).flat_map(|(_, (_, truth))| &truth.granted);
        own.granted.iter().chain(others).nth(usize::from(number)).copied().unwrap_or(never)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = (Option<&Record>, &Truth)> {
        self.keys.iter().map(|(record, truth)| (record.as_ref(), truth))
    }

    pub(super) const fn highest(&self) -> u64 {
        self.highest
    }
}

fn held(made: Move<Held>) -> (Answer, Option<Record>) {
    (Answer::Held(made.answer), made.write)
}
