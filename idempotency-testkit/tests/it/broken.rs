//! Stores with one thing broken, each of which fails the case about it, for the right reason.

mod how;
mod store;

use std::sync::Arc;
use std::time::Duration;

use idempotency_core::moves::Move;
use idempotency_core::{ManualClock, SystemClock, Upkeep};
use idempotency_testkit::ReferenceStore;

use idempotency_testkit::conformance::{self, Capability, Failure, Subject, sample};
use idempotency_testkit::{Rule, model};

use self::how::How;
use self::store::BrokenStore;
use crate::small::WithoutUpkeep;

fn subject(how: How) -> Subject {
    let clock = sample::clock();
    let store = BrokenStore::new(clock.clone(), how);
    let subject = match how {
        // Their keys cannot be read back.
        How::JoinsParts | How::LowersCase | How::DropsTheScope | How::CutsKeys => {
            let store = WithoutUpkeep(store);
            Subject::minimal(store).lacks(Capability::Upkeep, "broken").lacks(Capability::Watch, "broken")
        }
        _ => Subject::new(store),
    };
    // One that hangs is to be found out soon.
    let limit = Duration::from_secs(if matches!(how, How::HangsOnACompletedKey | How::BlocksInWatch) { 1 } else { 30 });
    subject.on_clock(clock).answering_within(limit).lacks(Capability::Reopen, "it is in memory")
}

fn failure(how: How, case: &str) -> Failure {
    match conformance::run(case, subject(how)) {
        Err(failure) => failure,
        Ok(()) => panic!("{how:?} passes `{case}`"),
    }
}

#[test]
fn each_broken_store_fails_the_case_about_it() {
    let mut wrong = Vec::new();
    for (how, case, rule) in how::TABLE {
        match conformance::run(case, subject(*how)) {
            Ok(()) => wrong.push(format!("{how:?} passes `{case}`")),
            Err(failure) if failure.rule() == Some(*rule) => println!("{how:?}\n{failure}\n"),
            Err(failure) => wrong.push(format!("{how:?} fails `{case}` as not {rule:?}: {failure}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn every_way_to_break_a_store_is_in_the_table() {
    for how in How::ALL {
        assert!(how::TABLE.iter().any(|(known, ..)| known == how), "{how:?}");
    }
}

#[test]
fn broken_moves_are_found_by_random_commands_and_shrunk_to_a_few() {
    for how in [
        How::ForgetsThePriorOnTheSecondGrant,
        How::NoEffectFreesAnUnknownKey,
        How::ExtendsForAnyOwner,
        How::StoresOverAStaleLock,
        How::AnEndedOwnerLocksAgain,
        How::LoosensThePolicy,
        How::ChecksNoFingerprintOfAResult,
        How::StartsTheRetentionAgain,
        How::ShortensTheMemoryOfAnUnknownAttempt,
        How::LeavesLocksUnconfirmed,
    ] {
        let config = model::Config::new().with_seed(7);
        let failure = model::check(subject(how), config).expect_err(&format!("{how:?} is not found"));
        let text = failure.to_string();
        let commands = text.lines().filter(|line| line.trim_start().split_once(". ").is_some_and(is_numbered)).count();
        assert!((1..=6).contains(&commands), "{how:?} in {commands} commands:\n{text}");
        assert!(text.contains("replay it with IDEMPOTENCY_SEED=7"), "{text}");
        let again = model::check(subject(how), config).expect_err("found once, not twice").to_string();
        assert_eq!(again, text, "not the same from the same seed");
    }
}

fn is_numbered((number, _): (&str, &str)) -> bool {
    number.parse::<u32>().is_ok()
}

#[test]
fn a_failure_tells_what_was_asked_and_how_the_key_came_there() {
    let failure =
        failure(How::NoEffectFreesAnUnknownKey, "releasing_without_an_effect_leaves_an_unknown_attempt_before_it");
    assert_eq!(failure.rule(), Some(Rule::ReleaseSpeaksForItself));
    let text = failure.to_string();
    for part in [
        "the store does not pass `releasing_without_an_effect_leaves_an_unknown_attempt_before_it`",
        "broken: a release speaks for itself",
        "asked     get",
        "answered  released by attempt 2",
        "contract  unknown: attempt 1",
        "release_lock (effect unknown) under owner 1's lock",
    ] {
        assert!(text.contains(part), "no \"{part}\" in\n{text}");
    }
}

/// Also where the store's clock is its own, and times are known only within bounds.
#[test]
fn wrong_times_are_seen_in_real_time_too() {
    let subject = |how| {
        let store = BrokenStore::new(SystemClock::new(), how);
        Subject::new(store).lacks(Capability::Clock, "it is the machine's").lacks(Capability::Reopen, "it is in memory")
    };
    for (how, case) in [
        (How::TakesMillisecondsForSeconds, "a_lease_lasts_as_long_as_was_asked_for"),
        (How::TakesSecondsOnly, "an_extension_lasts_as_long_as_was_asked_for"),
        (How::StartsTheRetentionAgain, "storing_again_is_held_and_starts_no_retention_anew"),
        (How::ShortensTheMemoryOfAnUnknownAttempt, "an_unknown_attempt_is_not_forgotten_for_one_after_it"),
    ] {
        let failure = conformance::run(case, subject(how)).expect_err(&format!("{how:?} passes `{case}`"));
        assert_eq!(failure.rule(), Some(Rule::TimesAreKept), "{failure}");
    }
}

/// Opens a store again over what another had kept, less its first record where it `loses`
/// that, and else less its fences.
async fn opened_over(before: Arc<ReferenceStore<Arc<ManualClock>>>, clock: Arc<ManualClock>, loses: bool) -> Subject {
    let after = ReferenceStore::new(clock);
    for (key, _) in before.list(None, 1000).await.unwrap().records.iter().skip(usize::from(loses)) {
        after.tamper(key, before.record(key));
    }
    for _ in 0..if loses { 1000 } else { 0 } {
        // Each call uses a fence up, whatever it does.
        after.make(&sample::key("fences"), |_, _, _| Move { answer: (), write: None });
    }
    Subject::new(after)
}

#[test]
fn what_is_lost_by_reopening_is_seen() {
    for (loses, case, rule) in [
        (true, "what_was_acknowledged_is_there_after_reopening", Rule::AcknowledgedIsDurable),
        (true, "a_key_goes_on_over_reopening_as_without", Rule::AcknowledgedIsDurable),
        // Its fences begin anew.
        (false, "fences_grow_over_reopening", Rule::FencesGrow),
    ] {
        let clock = sample::clock();
        let kept = Arc::new(ReferenceStore::new(clock.clone()));
        let subject = Subject::new(kept.clone())
            .on_clock(clock.clone())
            .reopened_by(move || opened_over(kept.clone(), clock.clone(), loses));
        let failure = conformance::run(case, subject).expect_err(case);
        assert_eq!(failure.rule(), Some(rule), "{failure}");
    }
}

#[test]
fn an_untrue_declaration_fails() {
    let clock = sample::clock();
    let reference = || idempotency_testkit::ReferenceStore::new(clock.clone());
    let run = |subject: Subject| conformance::run("what_is_declared_is_true", subject);
    let told = |outcome: Result<(), Failure>, part: &str| {
        let text = outcome.expect_err(part).to_string();
        assert!(text.contains(part), "no \"{part}\" in\n{text}");
    };
    let reopen = |subject: Subject| subject.lacks(Capability::Reopen, "in memory");
    run(reopen(Subject::new(reference()).on_clock(clock.clone()))).unwrap_or_else(|failure| panic!("{failure}"));
    let watches = Subject::new(reference()).on_clock(clock.clone()).lacks(Capability::Watch, "says who?");
    told(run(reopen(watches)), "it wakes watchers when a lock ends, but is declared to lack that");
    let silent = Subject::minimal(WithoutUpkeep(reference())).on_clock(clock.clone());
    told(run(reopen(silent)), "`.lacks(Capability::Upkeep, …)`; and nothing shows that it wakes watchers");
    told(run(Subject::new(reference()).on_clock(clock.clone())), "nothing shows that it can be closed and opened");
    let wrong = Subject::new(reference()).on_clock(sample::clock());
    clock.advance(sample::LEASE);
    told(run(reopen(wrong)), "it does not go by the clock that it is said to be on");
    let missing = Subject::minimal(WithoutUpkeep(reference())).on_clock(clock.clone());
    told(conformance::run("statistics_count_each_state", missing), "`.lacks(Capability::Upkeep, …)`");
}

#[test]
fn what_is_not_about_the_broken_thing_passes() {
    let failed = conformance::run_all(|| subject(How::ListsAKeyTwice));
    let failed: Vec<_> = failed.iter().map(|(case, _)| case.name()).collect();
    assert_eq!(failed, ["listing_shows_each_key_once"]);
}

#[test]
fn a_case_that_is_not_there_is_no_success() {
    let failure = conformance::run("no such case", subject(How::JoinsParts)).expect_err("there is no such case");
    assert!(failure.to_string().contains("there is no case `no such case`"));
}
