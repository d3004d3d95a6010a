//! The promises by name, and which of them an answer breaks.

use std::fmt;

use idempotency_core::{Acquired, Completion, Held, Record, Snapshot, State, Timestamp};

use crate::call::{Answer, Call, describe};

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident: $short:literal, $promise:literal;)*) => {
        /// A promise of the contract. Whatever is found broken is told by its name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Rule {
            $(#[doc = $promise] $(#[$doc])* $name,)*
        }

        impl Rule {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The short name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $short,)* }
            }

            /// What is promised, as one sentence.
            #[must_use]
            pub const fn promise(self) -> &'static str {
                match self { $(Self::$name => $promise,)* }
            }
        }
    };
}

rules! {
    OneLiveHolder: "one live holder", "At no instant do two locks of a key have a live lease.";
    ResultsDoNotChange: "results do not change", "Once completed, every reader sees the same bytes until the retention ends.";
    Fenced: "fenced", "A stale lock changes nothing, ever.";
    NoLockOverAResult: "no lock over a result", "A completed key is never acquired.";
    NoCrossTalk: "no cross-talk", "Another request under the same key never runs and never sees the other's result, and no two keys share a record.";
    AcknowledgedIsDurable: "acknowledged is durable", "What was answered is still so after the store went down and came up again.";
    UnknownIsNeverSilent: "unknown is never silent", "A run after an unknown attempt is told so, and a repeated answer tells it again.";
    NoLostValue: "no lost value", "If the operation returned a value, its caller gets that value.";
    NothingIsForgottenEarly: "nothing is forgotten early", "Locks, unknown attempts and unexpired results are never evicted.";
    FencesGrow: "fences grow", "Each acquisition of a key has a larger fence than the one before it.";
    LostAnswersAreRecognised: "lost answers are recognised", "A call that is sent again is answered as it was the first time.";
    EndedStaysEnded: "ended stays ended", "A late duplicate of an old claim does not lock again.";
    StrictestPolicyStays: "the strictest policy stays", "A looser claim does not take over from an unknown attempt.";
    ReleaseSpeaksForItself: "a release speaks for itself", "An attempt that had no effect leaves an unknown one before it unknown.";
    LocksEnd: "locks end", "A lock whose lease ran out, or that was released, can be had again.";
    HoldersKeepTheirLock: "holders keep their lock", "Whoever holds a lock can extend it, and end it with a result or without.";
    AttemptsAreCounted: "attempts are counted", "Each acquisition of a remembered key is one attempt more.";
    TimesAreKept: "times are kept", "Leases and retentions last as long as was asked for, in the store's time.";
    RowsAreAnswered: "every row is answered", "Every call is answered by the first row of the contract's tables that fits.";
    NothingElseChanges: "nothing else changes", "A call that changes nothing by the contract changes nothing.";
    OneEffect: "one effect a key", "However often a request comes, it has its effect once.";
    ToldBeforeAgain: "told before again", "A second effect is had only by an attempt that was told that the one before it is unknown.";
    RequestsEnd: "requests end", "A request is answered in the time that its store's limits and its lease allow.";
    NoPanic: "no panic", "Nothing panics.";
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A rule was broken by an answer.
#[derive(Clone, Debug)]
pub struct Broken {
    /// The rule.
    pub rule: Rule,
    /// What was asked.
    pub call: Call,
    /// When, on the store's clock.
    pub now: Timestamp,
    /// What was kept under the key before, as far as the answers so far tell.
    pub before: Option<Box<Record>>,
    /// What the contract answers.
    pub expected: Answer,
    /// What the store answered.
    pub found: Answer,
}

impl Broken {
    pub(crate) fn new(call: &Call, now: Timestamp, before: Option<&Record>, expected: Answer, found: &Answer) -> Self {
        let live = before.filter(|record| now < record.forgotten_at());
        let rule = match call {
            Call::Get => by_get(before.is_some(), &expected, found),
            Call::Acquire(claim) => by_acquire(claim, live, before.is_some(), &expected, found),
            Call::Extend(lock, _) | Call::Store(lock, ..) | Call::Release(lock, _) => match (&expected, found) {
                (Answer::Held(Held::Lost), _) => Rule::Fenced,
                // A call that had ended the lock before was sent again.
                _ if live.is_some_and(|record| record.lock == *lock && !is_in_progress(record)) => {
                    Rule::LostAnswersAreRecognised
                }
                _ => Rule::HoldersKeepTheirLock,
            },
        };
        Self { rule, call: call.clone(), now, before: before.cloned().map(Box::new), expected, found: found.clone() }
    }
}

const fn is_in_progress(record: &Record) -> bool {
    matches!(record.state, State::InProgress { .. })
}

fn by_acquire(
    claim: &idempotency_core::Claim,
    before: Option<&Record>,
    ever_used: bool,
    expected: &Answer,
    found: &Answer,
) -> Rule {
    let (Answer::Acquired(expected), Answer::Acquired(found)) = (expected, found) else { return Rule::RowsAreAnswered };
    // Whatever is told of a key that was never used is another's.
    let fresh = matches!(found, Acquired::Acquired(grant) if grant.attempt == 1);
    if !ever_used && !fresh {
        return Rule::NoCrossTalk;
    }
    let again = before.is_some_and(|record| record.lock.owner == claim.owner && is_in_progress(record));
    match (expected, found) {
        (Acquired::Acquired(_), Acquired::Acquired(found))
            if again && Some(found.lock) != before.map(|known| known.lock) =>
        {
            Rule::LostAnswersAreRecognised
        }
        (Acquired::Acquired(expected), Acquired::Acquired(found)) => {
            if expected.prior.map(|prior| prior.attempt) != found.prior.map(|prior| prior.attempt) {
                Rule::UnknownIsNeverSilent
            } else if expected.lock.fence != found.lock.fence {
                Rule::FencesGrow
            } else if expected.attempt != found.attempt {
                Rule::AttemptsAreCounted
            } else if expected.prior != found.prior {
                Rule::TimesAreKept
            } else {
                Rule::RowsAreAnswered
            }
        }
        (Acquired::Mismatch, _) => Rule::NoCrossTalk,
        (Acquired::InProgress { .. }, Acquired::Acquired(_)) => Rule::OneLiveHolder,
        // As if the key had never been used: the result is not overridden, it is gone.
        (Acquired::Completed(_), Acquired::Acquired(grant)) if grant.attempt == 1 => Rule::NothingIsForgottenEarly,
        (Acquired::Completed(_), Acquired::Acquired(_)) => Rule::NoLockOverAResult,
        (Acquired::Ended, _) => Rule::EndedStaysEnded,
        (Acquired::Unknown { on_unknown, .. }, Acquired::Acquired(_)) if *on_unknown > claim.on_unknown => {
            Rule::StrictestPolicyStays
        }
        (Acquired::Unknown { .. }, _) => Rule::UnknownIsNeverSilent,
        (Acquired::Acquired(_), _) if again => Rule::LostAnswersAreRecognised,
        (Acquired::Acquired(_), Acquired::InProgress { .. } | Acquired::Unknown { .. } | Acquired::Ended) => {
            Rule::LocksEnd
        }
        (Acquired::Acquired(_), Acquired::Completed(_) | Acquired::Mismatch) => Rule::TimesAreKept,
        (Acquired::Completed(expected), Acquired::Completed(found)) => by_snapshots(expected, found),
        (Acquired::Completed(_), _) => Rule::NothingIsForgottenEarly,
        (Acquired::InProgress { .. }, Acquired::InProgress { .. } | Acquired::Unknown { .. }) => Rule::TimesAreKept,
        (Acquired::InProgress { .. }, Acquired::Mismatch) => Rule::RowsAreAnswered,
        (Acquired::InProgress { .. }, _) => Rule::HoldersKeepTheirLock,
    }
}

fn by_get(ever_used: bool, expected: &Answer, found: &Answer) -> Rule {
    match (expected, found) {
        (Answer::Found(Some(_)), Answer::Found(None)) => Rule::NothingIsForgottenEarly,
        (Answer::Found(Some(expected)), Answer::Found(Some(found))) => by_snapshots(expected, found),
        (Answer::Found(None), Answer::Found(Some(_))) if !ever_used => Rule::NoCrossTalk,
        (Answer::Found(None), Answer::Found(Some(_))) => Rule::TimesAreKept,
        _ => Rule::RowsAreAnswered,
    }
}

fn by_snapshots(expected: &Snapshot, found: &Snapshot) -> Rule {
    let (expected, found) = (&expected.record, &found.record);
    let value = |record: &Record| match &record.state {
        State::Completed { result: Completion::Value(value), .. } => Some(value.clone()),
        State::Completed { .. } | State::InProgress { .. } | State::Unknown { .. } | State::Released { .. } => None,
    };
    if expected.lock != found.lock {
        return Rule::OneLiveHolder;
    }
    if value(expected) != value(found) {
        return Rule::ResultsDoNotChange;
    }
    match (&expected.state, &found.state) {
        // It is its own attempt that is unknown, or one before it.
        (State::Unknown { .. }, State::Released { .. })
            if expected.prior.is_some_and(|prior| prior.attempt < expected.attempt) =>
        {
            Rule::ReleaseSpeaksForItself
        }
        (State::Unknown { .. }, State::Released { .. }) => Rule::UnknownIsNeverSilent,
        (State::InProgress { confirmed: true, .. }, State::InProgress { confirmed: false, .. }) => {
            Rule::UnknownIsNeverSilent
        }
        _ if expected.prior.map(|prior| prior.attempt) != found.prior.map(|prior| prior.attempt) => {
            Rule::UnknownIsNeverSilent
        }
        _ if expected.on_unknown > found.on_unknown => Rule::StrictestPolicyStays,
        _ if std::mem::discriminant(&expected.state) != std::mem::discriminant(&found.state) => {
            Rule::NothingElseChanges
        }
        _ if expected.fingerprint != found.fingerprint => Rule::NoCrossTalk,
        _ if expected.attempt != found.attempt => Rule::AttemptsAreCounted,
        _ => Rule::TimesAreKept,
    }
}

/// In a few lines that name the rule, the call, what was answered, and what the contract answers.
impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "broken: {}. {}", self.rule, self.rule.promise())?;
        writeln!(f, "  asked     {}", self.call)?;
        let before = self.before.as_deref().map_or_else(|| "nothing".into(), |record| describe(record, self.now));
        writeln!(f, "  kept      {before}")?;
        writeln!(f, "  answered  {}", self.found)?;
        write!(f, "  contract  {}", self.expected)?;
        if self.found.to_string() == self.expected.to_string() {
            write!(f, "\n  whole     {:?}\n  contract  {:?}", self.found, self.expected)?;
        }
        Ok(())
    }
}

impl std::error::Error for Broken {}
