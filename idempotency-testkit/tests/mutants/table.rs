//! The mutants: what is broken in each, whence it is known, and which rule catches it.

use std::time::Duration;

use idempotency_testkit::Rule;
use idempotency_testkit::schedule::{Bounds, Failure, Passed, Property, World};
use proptest::prelude::*;

use crate::driver::{commands, drive};
use crate::executors::{self, Flaw};
use crate::services::{pay, pay_each, pay_in_two_minds, pay_shyly};
use crate::stores::{Defect, broken};

/// How a mutant is tried.
#[derive(Clone, Copy)]
pub(crate) enum Trial {
    /// One client's commands.
    Commands(Defect),
    /// The same, and the store goes down and comes up.
    Restarts(Defect),
    /// The same, and the clock steps back.
    ClockSteps(Defect),
    /// The everyday service, in any schedule.
    Pay(Defect),
    /// The same, where only so much goes wrong.
    PayWithin(Defect, Bounds),
    /// The same, and the store goes down and comes up.
    PayRestarted(Defect),
    /// Requests for other amounts under the same key.
    PayAmounts(Defect),
    /// Policies that differ.
    TwoMinds(Defect),
    /// An error without effect after an unknown attempt.
    Shyly(Defect),
    /// Requests under keys of their own.
    Orders(Defect),
    /// An executor.
    Executor(Flaw, Setting),
}

pub(crate) struct Mutant {
    pub(crate) name: &'static str,
    /// The rule of the contract, or the place where it was seen.
    pub(crate) from: &'static str,
    pub(crate) rule: Rule,
    pub(crate) trial: Trial,
}

/// How an executor is tried.
#[derive(Clone, Copy)]
pub(crate) struct Setting {
    bounds: Bounds,
    /// Whether nothing that may go wrong excuses a second effect.
    once: bool,
    /// How long the operation takes before it has its effect.
    takes: Duration,
}

const QUIET: Setting = Setting { bounds: Bounds::NONE, once: false, takes: Duration::ZERO };
const ONE_FAILURE: Setting = Setting { bounds: Bounds::NONE.with_failures(1), once: true, ..QUIET };
const LOSSES: Setting = Setting { bounds: Bounds::NONE.with_losses(2).with_late(1), ..QUIET };

pub(crate) const MUTANTS: &[Mutant] = &[
    mutant(
        "lock-without-fence",
        "◆ a lock is owner and fence",
        Rule::Fenced,
        Trial::Commands(Defect::LockWithoutFence),
    ),
    mutant(
        "unknown-forgotten-early",
        "◆ unknown retention",
        Rule::TimesAreKept,
        Trial::Commands(Defect::UnknownForgottenEarly),
    ),
    mutant(
        "fences-from-the-clock",
        "◆ fences outlive a step of the clock",
        Rule::FencesGrow,
        Trial::ClockSteps(Defect::FencesFromTheClock),
    ),
    mutant(
        "new-fence-on-repeat",
        "◆ the same lock again",
        Rule::LostAnswersAreRecognised,
        Trial::Pay(Defect::NewFenceOnRepeat),
    ),
    mutant(
        "prior-forgotten-on-repeat",
        "◆ the same prior again",
        Rule::UnknownIsNeverSilent,
        Trial::Pay(Defect::PriorForgottenOnRepeat),
    ),
    mutant(
        "ended-locks-again",
        "◆ a late duplicate must not lock",
        Rule::EndedStaysEnded,
        Trial::Pay(Defect::EndedLocksAgain),
    ),
    mutant(
        "latest-policy-counts",
        "◆ the strictest policy stays",
        Rule::StrictestPolicyStays,
        Trial::TwoMinds(Defect::LatestPolicyCounts),
    ),
    mutant(
        "no-effect-frees",
        "◆ an attempt speaks only for itself",
        Rule::UnknownIsNeverSilent,
        Trial::Shyly(Defect::NoEffectFrees),
    ),
    mutant(
        "answers-before-durable",
        "◆ acknowledged is durable",
        Rule::AcknowledgedIsDurable,
        Trial::Restarts(Defect::AnswersBeforeDurable),
    ),
    mutant(
        "repeats-before-durable",
        "◆ a repeated answer too",
        Rule::AcknowledgedIsDurable,
        Trial::PayRestarted(Defect::RepeatsBeforeDurable),
    ),
    mutant(
        "settles-past-the-lock",
        "◆ settling is a takeover",
        Rule::Fenced,
        Trial::Commands(Defect::SettlesPastTheLock),
    ),
    mutant(
        "replay-by-get-without-fingerprint",
        "◆ whoever replays by get compares",
        Rule::NoCrossTalk,
        Trial::Executor(Flaw::ReplaysWithoutFingerprint, QUIET),
    ),
    mutant(
        "get-then-lock",
        "most that are written by hand",
        Rule::OneLiveHolder,
        Trial::PayWithin(Defect::GetThenLock, Bounds::NONE),
    ),
    mutant(
        "release-without-owner",
        "powertools-typescript#5675",
        Rule::Fenced,
        Trial::Commands(Defect::ReleaseWithoutOwner),
    ),
    mutant(
        "takeover-overwrites-a-result",
        "powertools-typescript#5714",
        Rule::NoLockOverAResult,
        Trial::PayWithin(Defect::TakeoverInTwoSteps, Bounds::NONE.with_crashes(1).with_lapses(1)),
    ),
    mutant(
        "milliseconds-for-seconds",
        "powertools-java#1281",
        Rule::TimesAreKept,
        Trial::Pay(Defect::MillisecondsForSeconds),
    ),
    mutant(
        "seconds-for-milliseconds",
        "powertools-java#1281",
        Rule::TimesAreKept,
        Trial::Pay(Defect::SecondsForMilliseconds),
    ),
    mutant(
        "takeover-skips-fingerprint",
        "powertools-typescript#5705",
        Rule::NoCrossTalk,
        Trial::PayAmounts(Defect::TakeoverSkipsFingerprint),
    ),
    mutant(
        "replay-skips-fingerprint",
        "powertools-python#3781",
        Rule::NoCrossTalk,
        Trial::PayAmounts(Defect::ReplaySkipsFingerprint),
    ),
    mutant(
        "own-lock-is-a-conflict",
        "idempot-js#185",
        Rule::LostAnswersAreRecognised,
        Trial::Pay(Defect::OwnLockIsAConflict),
    ),
    mutant("evicts-locks", "moka as a store", Rule::HoldersKeepTheirLock, Trial::Orders(Defect::Evicts)),
    mutant("evicts-results", "moka as a store", Rule::NothingIsForgottenEarly, Trial::Orders(Defect::EvictsResults)),
    mutant("no-deadline", "powertools-python#8386", Rule::OneLiveHolder, Trial::Pay(Defect::NoDeadline)),
    mutant("stale-result-taken", "redisson#775", Rule::Fenced, Trial::Commands(Defect::StaleResultTaken)),
    mutant("extend-takes-back", "redisson#4698", Rule::Fenced, Trial::Commands(Defect::ExtendTakesBack)),
    mutant("lapsed-is-forgotten", "SET NX PX", Rule::UnknownIsNeverSilent, Trial::Pay(Defect::LapsedIsForgotten)),
    mutant("set-then-get", "klauthed-data", Rule::HoldersKeepTheirLock, Trial::Shyly(Defect::SetThenGet)),
    mutant("keys-joined", "parts joined carelessly", Rule::NoCrossTalk, Trial::Commands(Defect::KeysJoined)),
    mutant(
        "retention-starts-again",
        "store_result, repeated",
        Rule::TimesAreKept,
        Trial::Commands(Defect::RetentionStartsAgain),
    ),
    mutant("value-cut", "a column too short", Rule::ResultsDoNotChange, Trial::Commands(Defect::ValueCut)),
    mutant(
        "result-overwritten",
        "last writer wins",
        Rule::ResultsDoNotChange,
        Trial::Commands(Defect::ResultOverwritten),
    ),
    mutant(
        "attempts-start-again",
        "attempt numbers",
        Rule::AttemptsAreCounted,
        Trial::Commands(Defect::AttemptsStartAgain),
    ),
    mutant(
        "unconfirmed-frees-all",
        "what came before stands",
        Rule::UnknownIsNeverSilent,
        Trial::Commands(Defect::UnconfirmedFreesAll),
    ),
    mutant(
        "freed-on-drop",
        "idempotent 2.0 `OwnedClaimGuard`",
        Rule::ToldBeforeAgain,
        Trial::Executor(Flaw::FreedOnDrop, Setting { bounds: Bounds::NONE.with_drops(1), ..QUIET }),
    ),
    mutant(
        "renewal-dies",
        "idempotent 2.0 `guard.rs`",
        Rule::OneEffect,
        Trial::Executor(Flaw::RenewalDies, Setting { takes: Duration::from_secs(45), ..ONE_FAILURE }),
    ),
    mutant(
        "completion-not-retried",
        "idempotent 2.0 `layer.rs`",
        Rule::OneEffect,
        Trial::Executor(Flaw::CompletionNotRetried, ONE_FAILURE),
    ),
    mutant(
        "fails-open",
        "IdempotentAPI#23",
        Rule::OneEffect,
        Trial::Executor(Flaw::FailsOpen, Setting { bounds: Bounds::NONE.with_failures(3), once: true, ..QUIET }),
    ),
    mutant(
        "error-frees",
        "a timeout taken for a refusal",
        Rule::ToldBeforeAgain,
        Trial::Executor(Flaw::ErrorFrees, LOSSES),
    ),
    mutant(
        "too-large-frees",
        "autumn-web, cratestack",
        Rule::ToldBeforeAgain,
        Trial::Executor(Flaw::TooLargeFrees, QUIET),
    ),
    mutant(
        "loses-value",
        "invariant 8",
        Rule::NoLostValue,
        Trial::Executor(Flaw::LosesValue, Setting { once: false, ..ONE_FAILURE }),
    ),
    mutant(
        "waits-for-ever",
        "waiting has a bound",
        Rule::RequestsEnd,
        Trial::Executor(Flaw::WaitsForEver, Setting { bounds: Bounds::NONE.with_crashes(1), ..QUIET }),
    ),
    mutant("looks-then-runs", "axum-idempotent", Rule::OneEffect, Trial::Executor(Flaw::LooksThenRuns, QUIET)),
];

const fn mutant(name: &'static str, from: &'static str, rule: Rule, trial: Trial) -> Mutant {
    Mutant { name, from, rule, trial }
}

impl Trial {
    /// What is broken, in a sentence.
    pub(crate) fn what(self) -> String {
        match self {
            Self::Commands(defect)
            | Self::Restarts(defect)
            | Self::ClockSteps(defect)
            | Self::Pay(defect)
            | Self::PayWithin(defect, _)
            | Self::PayRestarted(defect)
            | Self::PayAmounts(defect)
            | Self::TwoMinds(defect)
            | Self::Shyly(defect)
            | Self::Orders(defect) => defect.what(),
            Self::Executor(flaw, _) => flaw.what(),
        }
    }

    /// The same trial with nothing broken.
    pub(crate) fn mended(self) -> Self {
        let right = Defect::Nothing;
        match self {
            Self::Commands(_) => Self::Commands(right),
            Self::Restarts(_) => Self::Restarts(Defect::NothingButRestarts),
            Self::ClockSteps(_) => Self::ClockSteps(right),
            Self::Pay(_) => Self::Pay(right),
            Self::PayWithin(_, bounds) => Self::PayWithin(right, bounds),
            Self::PayRestarted(_) => Self::PayRestarted(Defect::NothingButRestarts),
            Self::PayAmounts(_) => Self::PayAmounts(right),
            Self::TwoMinds(_) => Self::TwoMinds(right),
            Self::Shyly(_) => Self::Shyly(right),
            Self::Orders(_) => Self::Orders(right),
            Self::Executor(_, setting) => Self::Executor(Flaw::Nothing, setting),
        }
    }

    pub(crate) fn run(self, schedules: u32, seed: u64) -> Result<Passed, Box<Failure>> {
        let amounts = |many: bool| if many { (1..3_u32).boxed() } else { Just(1_u32).boxed() };
        let over = |defect, many| {
            let property = Property::of(amounts(many)).on_store(broken(defect)).runs(schedules).seed(seed);
            if many { property } else { property.one_request() }
        };
        let driven = |defect, bounds| {
            let property = Property::of(commands()).one_request().copies(1).bounds(bounds).on_store(broken(defect));
            property.runs(schedules).seed(seed).within(Duration::from_secs(86_400)).without_effects().try_check(drive)
        };
        match self {
            Self::Commands(defect) => driven(defect, Bounds::NONE),
            Self::Restarts(defect) => driven(defect, Bounds::NONE.with_restarts(1)),
            Self::ClockSteps(defect) => driven(defect, Bounds::NONE.with_clock_steps(1)),
            Self::Pay(defect) => over(defect, false).try_check(pay),
            Self::PayWithin(defect, bounds) => over(defect, false).bounds(bounds).try_check(pay),
            Self::PayRestarted(defect) => {
                over(defect, false).bounds(Bounds::NONE.with_restarts(1).with_crashes(1)).try_check(pay)
            }
            Self::PayAmounts(defect) => over(defect, true).try_check(pay),
            Self::TwoMinds(defect) => over(defect, false).try_check(pay_in_two_minds),
            Self::Shyly(defect) => over(defect, false).try_check(pay_shyly),
            Self::Orders(defect) => over(defect, true).try_check(pay_each),
            Self::Executor(flaw, Setting { bounds, once, takes }) => {
                let many = flaw == Flaw::ReplaysWithoutFingerprint;
                let property = Property::of(amounts(many)).bounds(bounds).runs(schedules).seed(seed).copies(2);
                let property = if many { property } else { property.one_request() };
                let property = if once { property.at_most_once() } else { property };
                let property = property.within(takes + Duration::from_secs(60));
                property.try_check(move |world: World, amount| executors::pay(flaw, takes, world, amount))
            }
        }
    }
}
