//! A random walk over the moves, with a ghost that keeps the invariants.

use std::time::Duration;

use idempotency_core::{
    Acquired, Claim, Completion, Effect, Fence, Fingerprint, Grant, Held, Lock, OnUnknown, Timestamp,
};
use proptest::prelude::*;

use crate::support::desk::{Desk, LEASE, RETENTION, UNKNOWN_RETENTION, claim};

#[derive(Clone, Debug)]
enum Step {
    Acquire { owner: u128, other: bool, on_unknown: OnUnknown, confirms: bool, settles: bool },
    // The lock is one of all that were ever granted.
    Extend(prop::sample::Index),
    Store(prop::sample::Index, u8),
    Release(prop::sample::Index, Effect),
    Pass(Duration),
}

fn policies() -> impl Strategy<Value = OnUnknown> {
    prop::sample::select(vec![OnUnknown::RunAgain, OnUnknown::Reconcile, OnUnknown::Refuse])
}

fn steps() -> impl Strategy<Value = Step> {
    let effects = prop::sample::select(vec![Effect::None, Effect::Unknown, Effect::Settled]);
    let times = prop::sample::select(vec![1, 5, 10, 11, 100, 1011]).prop_map(Duration::from_secs);
    let acquire =
        (1..=3u128, prop::bool::weighted(0.2), policies(), prop::bool::weighted(0.3), prop::bool::weighted(0.2));
    prop_oneof![
        5 => acquire.prop_map(|(owner, other, on_unknown, confirms, settles)|
            Step::Acquire { owner, other, on_unknown, confirms, settles }),
        2 => any::<prop::sample::Index>().prop_map(Step::Extend),
        2 => any::<(prop::sample::Index, u8)>().prop_map(|(lock, value)| Step::Store(lock, value)),
        2 => (any::<prop::sample::Index>(), effects).prop_map(|(lock, effect)| Step::Release(lock, effect)),
        3 => times.prop_map(Step::Pass),
    ]
}

/// What became of the latest grant.
#[derive(Clone, Debug, PartialEq)]
enum End {
    None,
    Released,
    Unknown,
    Done(Completion),
}

#[derive(Debug)]
struct Latest {
    grant: Grant,
    fingerprint: Fingerprint,
    until: Timestamp,
    /// Whether the operation may have run under it.
    may_have_run: bool,
    /// The attempt before it that nobody has settled.
    unsettled: Option<u32>,
    end: End,
    remembered: Timestamp,
    strictest: OnUnknown,
}

/// What is true, told step by step, without a look at the record.
#[derive(Debug, Default)]
struct Truth {
    granted: Vec<Lock>,
    latest: Option<Latest>,
    highest: Fence,
}

impl Latest {
    fn is_live(&self, now: Timestamp) -> bool {
        self.end == End::None && now < self.until
    }

    /// The attempt of which nobody knows whether it had its effect.
    fn unknown(&self, now: Timestamp) -> Option<u32> {
        match self.end {
            End::None if now < self.until || !self.may_have_run => self.unsettled,
            End::None | End::Unknown => Some(self.grant.attempt),
            End::Released => self.unsettled,
            End::Done(_) => None,
        }
    }
}

impl Truth {
    fn acquired(&mut self, desk: &Desk, claim: &Claim, answer: &Acquired) {
        let now = desk.now;
        let known = self.latest.as_ref().filter(|latest| now < latest.remembered);
        let unknown = known.and_then(|latest| latest.unknown(now));
        let occupied =
            known.is_some_and(|latest| latest.is_live(now) || unknown.is_some() || matches!(latest.end, End::Done(_)));
        if occupied && known.is_some_and(|latest| latest.fingerprint != claim.fingerprint) {
            assert_eq!(*answer, Acquired::Mismatch, "5: cross-talk");
        }
        match answer {
            Acquired::Acquired(grant) if known.is_some_and(|latest| latest.grant.lock == grant.lock) => {
                let latest = self.latest.as_mut().unwrap();
                assert_eq!(
                    (latest.end.clone(), claim.owner),
                    (End::None, latest.grant.lock.owner),
                    "an ended lock again"
                );
                assert_eq!(*grant, latest.grant, "the same lock again, told otherwise");
                latest.until = now.plus(claim.lease);
                latest.remembered = latest.until.plus(UNKNOWN_RETENTION);
            }
            Acquired::Acquired(grant) => {
                assert!(!known.is_some_and(|latest| latest.is_live(now)), "1: two live holders");
                assert!(!known.is_some_and(|latest| matches!(latest.end, End::Done(_))), "4: a lock over a result");
                assert!(grant.lock.fence > self.highest, "fences grow");
                assert_eq!(grant.prior.map(|prior| prior.attempt), unknown, "7: unknown is never silent");
                assert_eq!(grant.attempt, known.map_or(0, |latest| latest.grant.attempt) + 1);
                let strictest = known.map_or(OnUnknown::RunAgain, |latest| latest.strictest);
                if unknown.is_some() && !claim.settles {
                    assert!(claim.on_unknown >= strictest && claim.on_unknown != OnUnknown::Refuse, "a looser claim");
                }
                self.highest = grant.lock.fence;
                self.granted.push(grant.lock);
                let loosened = unknown.is_some() && claim.settles;
                self.latest = Some(Latest {
                    grant: *grant,
                    fingerprint: claim.fingerprint,
                    until: now.plus(claim.lease),
                    may_have_run: !claim.confirms,
                    unsettled: unknown,
                    end: End::None,
                    remembered: now.plus(claim.lease + UNKNOWN_RETENTION),
                    strictest: if loosened { strictest } else { strictest.max(claim.on_unknown) },
                });
            }
            Acquired::Completed(found) => {
                let latest = known.unwrap();
                let kept = match &found.record.state {
                    idempotency_core::State::Completed { result, .. } => End::Done(result.clone()),
                    other => panic!("completed, but {other:?}"),
                };
                assert_eq!(latest.end, kept, "2: results do not change");
                assert_eq!(latest.fingerprint, claim.fingerprint, "5: another's result");
            }
            Acquired::InProgress { .. } => assert!(known.unwrap().is_live(now)),
            Acquired::Unknown { prior, .. } => assert_eq!(Some(prior.attempt), unknown),
            Acquired::Mismatch => assert!(occupied),
            Acquired::Ended => assert_eq!(known.unwrap().grant.lock.owner, claim.owner),
        }
    }

    /// The latest grant, if this is its lock and it is remembered.
    fn holder(&mut self, lock: Lock, now: Timestamp) -> Option<&mut Latest> {
        self.latest.as_mut().filter(|latest| latest.grant.lock == lock && now < latest.remembered)
    }
}

/// A walk's claim: the policy `confirms` never goes with settling, which is no run.
fn claimed(owner: u128, other: bool, on_unknown: OnUnknown, confirms: bool, settles: bool) -> Claim {
    let request: &[u8] = if other { b"other" } else { b"one" };
    Claim { fingerprint: Fingerprint::of_bytes(request), on_unknown, confirms, settles, ..claim(owner) }
}

fn step(desk: &mut Desk, truth: &mut Truth, step: Step) {
    let before = desk.record.clone();
    let now = desk.now;
    match step {
        Step::Pass(time) => desk.pass(time),
        Step::Acquire { owner, other, on_unknown, confirms, settles } => {
            let claim = claimed(owner, other, on_unknown, confirms, settles);
            let answer = desk.acquire(&claim);
            truth.acquired(desk, &claim, &answer);
            if !matches!(answer, Acquired::Acquired(_)) {
                assert_eq!(desk.record, before, "no lock, but a change");
            }
        }
        Step::Extend(_) | Step::Store(..) | Step::Release(..) if truth.granted.is_empty() => {}
        Step::Extend(lock) => {
            let lock = *lock.get(&truth.granted);
            let held = desk.extend(lock);
            match truth.holder(lock, now).filter(|latest| latest.end == End::None) {
                Some(latest) => {
                    assert_eq!(held, Held::Held);
                    latest.may_have_run = true;
                    latest.until = now.plus(LEASE);
                    latest.remembered = latest.until.plus(UNKNOWN_RETENTION);
                }
                None => assert_eq!((held, &desk.record), (Held::Lost, &before), "3: fenced"),
            }
        }
        Step::Store(lock, value) => {
            let lock = *lock.get(&truth.granted);
            let result = Completion::Value(vec![value].into());
            let held = desk.store(lock, &result);
            match truth.holder(lock, now) {
                Some(latest) if latest.end == End::None => {
                    assert_eq!(held, Held::Held);
                    latest.end = End::Done(result);
                    latest.remembered = now.plus(RETENTION);
                }
                Some(latest) if matches!(latest.end, End::Done(_)) => {
                    assert_eq!((held, &desk.record), (Held::Held, &before))
                }
                _ => assert_eq!((held, &desk.record), (Held::Lost, &before), "3: fenced"),
            }
        }
        Step::Release(lock, effect) => {
            let lock = *lock.get(&truth.granted);
            let held = desk.release(lock, effect);
            match truth.holder(lock, now) {
                Some(latest) if latest.end == End::None => {
                    assert_eq!(held, Held::Held);
                    if effect == Effect::Settled {
                        latest.unsettled = None;
                    }
                    latest.end = if effect == Effect::Unknown { End::Unknown } else { End::Released };
                    let unknown = latest.unknown(now).is_some();
                    latest.remembered = now.plus(if unknown { UNKNOWN_RETENTION } else { RETENTION });
                }
                Some(latest) => assert_eq!(
                    (held == Held::Held && matches!(latest.end, End::Done(_)), &desk.record),
                    (false, &before)
                ),
                None => assert_eq!((held, &desk.record), (Held::Lost, &before), "3: fenced"),
            }
        }
    }
    let remembered = truth.latest.as_ref().is_some_and(|latest| desk.now < latest.remembered);
    assert_eq!(desk.read().is_some(), remembered, "forgotten before its time, or kept after it");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_walk_breaks_an_invariant(walk in prop::collection::vec(steps(), 1..40)) {
        let (mut desk, mut truth) = (Desk::new(), Truth::default());
        for next in walk {
            step(&mut desk, &mut truth, next);
        }
    }
}
