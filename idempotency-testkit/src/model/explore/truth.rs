//! What is true of a key, told step by step without a look at its record.

use idempotency_core::{
    Acquired, Claim, Completion, Effect, Fence, Fingerprint, Grant, Held, Lock, OnUnknown, Timestamp,
};

use super::step::{LEASE, RETENTION, ticks};
use crate::rule::Rule;

/// What a wrong answer breaks, and what would have been right.
pub(super) type Wrong = (Rule, String);

/// What became of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Nothing yet.
    None,
    /// It was released, by this word.
    Released(Effect),
    /// Its result is this one.
    Done(Completion),
}

/// An attempt of which nobody knows whether it had its effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unsettled {
    pub(super) attempt: u32,
    pub(super) remembered: Timestamp,
}

/// The attempt that was granted the key last.
#[derive(Clone, Debug)]
pub(super) struct Latest {
    pub(super) grant: Grant,
    pub(super) fingerprint: Fingerprint,
    /// When its lease ends.
    pub(super) until: Timestamp,
    /// Whether the operation may have run under it.
    pub(super) may_have_run: bool,
    /// The attempt before it that nobody has settled.
    pub(super) unsettled: Option<Unsettled>,
    pub(super) end: End,
    /// Until when the key is remembered.
    pub(super) remembered: Timestamp,
    pub(super) strictest: OnUnknown,
    unknown_retention: std::time::Duration,
}

/// What is true of a key.
#[derive(Clone, Debug, Default)]
pub(super) struct Truth {
    /// Every lock ever granted on it.
    pub(super) granted: Vec<Lock>,
    pub(super) latest: Option<Latest>,
}

impl Latest {
    pub(super) const fn unknown_retention(&self) -> std::time::Duration {
        self.unknown_retention
    }

    fn is_live(&self, now: Timestamp) -> bool {
        self.end == End::None && now < self.until
    }

    /// Of which attempt nobody knows whether it had its effect.
    fn unknown(&self, now: Timestamp) -> Option<Unsettled> {
        match self.end {
            End::None if now < self.until || !self.may_have_run => self.unsettled,
            End::None | End::Released(Effect::Unknown) => {
                Some(Unsettled { attempt: self.grant.attempt, remembered: self.remembered })
            }
            End::Released(_) => self.unsettled,
            End::Done(_) => None,
        }
    }

    /// An unknown attempt is remembered for its own time, and no shorter than one before it.
    fn remember_unknown(&mut self, from: Timestamp) {
        let own = from.plus(self.unknown_retention);
        self.remembered = self.unsettled.map_or(own, |before| before.remembered.max(own));
    }

    fn lease_from(&mut self, now: Timestamp) {
        self.until = now.plus(ticks(LEASE));
        self.remember_unknown(self.until);
    }
}

fn wrong<T>(rule: Rule, right: impl Into<String>) -> Result<T, Wrong> {
    Err((rule, right.into()))
}

fn must(is_so: bool, rule: Rule, right: &str) -> Result<(), Wrong> {
    if is_so { Ok(()) } else { wrong(rule, right) }
}

impl Truth {
    fn known(&self, now: Timestamp) -> Option<&Latest> {
        self.latest.as_ref().filter(|latest| now < latest.remembered)
    }

    /// Whether the latest attempt was ended.
    pub(super) fn is_over(&self) -> bool {
        self.latest.as_ref().is_some_and(|latest| latest.end != End::None)
    }

    /// Whether the store must still remember the key.
    pub(super) fn is_remembered(&self, now: Timestamp) -> bool {
        self.known(now).is_some()
    }

    /// Takes in an answer of `acquire`.
    pub(super) fn acquired(&mut self, claim: &Claim, now: Timestamp, found: &Acquired) -> Result<(), Wrong> {
        let Some(known) = self.known(now) else { return self.granted(claim, now, found, None) };
        let unknown = known.unknown(now);
        let done = matches!(known.end, End::Done(_));
        let occupied = known.is_live(now) || unknown.is_some() || done;
        if occupied && known.fingerprint != claim.fingerprint {
            return must(*found == Acquired::Mismatch, Rule::NoCrossTalk, "it is another request: mismatch");
        }
        if known.grant.lock.owner == claim.owner {
            match known.end {
                // A free key stands for whichever request comes next, but its owner is known all the same.
                End::None => return self.same_lock_again(now, found),
                End::Released(_) => {
                    return must(*found == Acquired::Ended, Rule::EndedStaysEnded, "this owner's attempt is over");
                }
                End::Done(_) => {}
            }
        }
        if let End::Done(result) = &known.end {
            return match found {
                Acquired::Acquired(_) => wrong(Rule::NoLockOverAResult, "the key is completed"),
                Acquired::Completed(found) => match &found.record.state {
                    idempotency_core::State::Completed { result: kept, .. } if kept == result => Ok(()),
                    _ => wrong(Rule::ResultsDoNotChange, "the result is another"),
                },
                _ => wrong(Rule::NothingIsForgottenEarly, "the key is completed"),
            };
        }
        if known.is_live(now) {
            return match found {
                Acquired::Acquired(_) => wrong(Rule::OneLiveHolder, "another attempt's lease is live"),
                Acquired::InProgress { remaining, attempt } => {
                    let right = *remaining == now.until(known.until) && *attempt == known.grant.attempt;
                    must(right, Rule::TimesAreKept, "the time left on the lease is another")
                }
                _ => wrong(Rule::RowsAreAnswered, "it is in progress"),
            };
        }
        if let Some(unknown) = unknown {
            let allowed = claim.on_unknown != OnUnknown::Refuse && claim.on_unknown >= known.strictest;
            if !claim.settles && !allowed {
                return match found {
                    Acquired::Unknown { prior, .. } if prior.attempt == unknown.attempt => Ok(()),
                    Acquired::Acquired(_) => wrong(Rule::StrictestPolicyStays, "its policy does not let it take over"),
                    _ => wrong(Rule::UnknownIsNeverSilent, format!("attempt {} is unknown", unknown.attempt)),
                };
            }
        }
        self.granted(claim, now, found, unknown)
    }

    fn same_lock_again(&mut self, now: Timestamp, found: &Acquired) -> Result<(), Wrong> {
        let Some(latest) = &mut self.latest else { return Ok(()) };
        let Acquired::Acquired(grant) = found else {
            return wrong(Rule::LostAnswersAreRecognised, "this owner holds the lock");
        };
        must(grant.lock == latest.grant.lock, Rule::LostAnswersAreRecognised, "it is the same lock again")?;
        must(grant.prior == latest.grant.prior, Rule::UnknownIsNeverSilent, "it is told the same again")?;
        must(grant.attempt == latest.grant.attempt, Rule::AttemptsAreCounted, "it is the same attempt")?;
        latest.lease_from(now);
        Ok(())
    }

    /// The key is free, or may be taken over from an unknown attempt.
    fn granted(
        &mut self,
        claim: &Claim,
        now: Timestamp,
        found: &Acquired,
        unknown: Option<Unsettled>,
    ) -> Result<(), Wrong> {
        let Acquired::Acquired(grant) = found else { return wrong(Rule::LocksEnd, "the lock can be had") };
        let highest = self.granted.iter().map(|lock| lock.fence).max().unwrap_or(Fence::default());
        must(grant.lock.owner == claim.owner, Rule::RowsAreAnswered, "the lock is this owner's")?;
        must(grant.lock.fence > highest, Rule::FencesGrow, "the fence is larger than every one before it")?;
        let told = grant.prior.map(|prior| Unsettled { attempt: prior.attempt, remembered: prior.remembered_until });
        must(
            told.map(|told| told.attempt) == unknown.map(|unknown| unknown.attempt),
            Rule::UnknownIsNeverSilent,
            "it is told of the unknown attempt, and of no other",
        )?;
        must(told == unknown, Rule::TimesAreKept, "the unknown attempt is remembered for as long as it asked")?;
        let known = self.known(now);
        let attempt = known.map_or(0, |known| known.grant.attempt) + 1;
        must(grant.attempt == attempt, Rule::AttemptsAreCounted, "it is one attempt more")?;
        let before = known.map_or(OnUnknown::RunAgain, |known| known.strictest);
        // An operator who settles asks for no policy of its own.
        let strictest = if claim.settles && unknown.is_some() { before } else { before.max(claim.on_unknown) };
        self.granted.push(grant.lock);
        let mut latest = Latest {
            grant: *grant,
            fingerprint: claim.fingerprint,
            until: now,
            may_have_run: !claim.confirms,
            unsettled: unknown,
            end: End::None,
            remembered: now,
            strictest,
            unknown_retention: claim.unknown_retention,
        };
        latest.lease_from(now);
        self.latest = Some(latest);
        Ok(())
    }

    /// The attempt that this lock is of, if it is the latest and remembered.
    fn holder(&mut self, lock: Lock, now: Timestamp) -> Option<&mut Latest> {
        self.latest.as_mut().filter(|latest| latest.grant.lock == lock && now < latest.remembered)
    }

    pub(super) fn extended(&mut self, lock: Lock, now: Timestamp, found: Held) -> Result<(), Wrong> {
        let Some(latest) = self.holder(lock, now).filter(|latest| latest.end == End::None) else {
            return must(found == Held::Lost, Rule::Fenced, "the lock is lost");
        };
        must(found == Held::Held, Rule::HoldersKeepTheirLock, "the lock is held")?;
        latest.may_have_run = true;
        latest.lease_from(now);
        Ok(())
    }

    pub(super) fn stored(&mut self, lock: Lock, result: &Completion, now: Timestamp, found: Held) -> Result<(), Wrong> {
        match self.holder(lock, now) {
            Some(latest) if latest.end == End::None => {
                must(found == Held::Held, Rule::HoldersKeepTheirLock, "the lock is held")?;
                latest.end = End::Done(result.clone());
                latest.unsettled = None;
                latest.remembered = now.plus(ticks(RETENTION));
                Ok(())
            }
            Some(latest) if matches!(latest.end, End::Done(_)) => {
                must(found == Held::Held, Rule::LostAnswersAreRecognised, "it was stored by this lock")
            }
            _ => must(found == Held::Lost, Rule::Fenced, "the lock is lost"),
        }
    }

    pub(super) fn released(&mut self, lock: Lock, effect: Effect, now: Timestamp, found: Held) -> Result<(), Wrong> {
        let Some(latest) = self.holder(lock, now) else {
            return must(found == Held::Lost, Rule::Fenced, "the lock is lost");
        };
        match latest.end {
            End::None => {
                must(found == Held::Held, Rule::HoldersKeepTheirLock, "the lock is held")?;
                if effect == Effect::Settled {
                    latest.unsettled = None;
                }
                latest.end = End::Released(effect);
                if effect == Effect::Unknown || latest.unsettled.is_some() {
                    latest.remember_unknown(now);
                } else {
                    latest.remembered = now.plus(ticks(RETENTION));
                }
                Ok(())
            }
            End::Released(before) if before == effect => {
                must(found == Held::Held, Rule::LostAnswersAreRecognised, "it was released by this very call")
            }
            // Another word about an attempt that is over changes nothing; how that is answered is free.
            End::Released(_) => Ok(()),
            End::Done(_) => must(found == Held::Lost, Rule::Fenced, "the key is completed"),
        }
    }
}
