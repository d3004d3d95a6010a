//! Random schedules.

use std::time::Duration;

use idempotency_core::{Error, Key};
use idempotency_testkit::Rule;
use idempotency_testkit::schedule::{Bounds, Property, World};
use proptest::prelude::*;

use crate::services::{
    Failed, key, pay, pay_after_a_look, pay_at_most_once, pay_carelessly, pay_detached, pay_or_settle,
};

/// A thousand random schedules each; a hundred thousand under `cargo xtask soak`.
#[test]
fn what_is_right_passes_in_any_schedule() {
    let amounts = || Property::of(1..3_u32);
    let clock_steps = Bounds::RANDOM.with_clock_steps(2);
    for (what, passed) in [
        ("run again", amounts().try_check(pay)),
        ("detached", amounts().try_check(pay_detached)),
        ("settled by an operator", amounts().try_check(pay_or_settle)),
        ("at most once", amounts().at_most_once().try_check(pay_at_most_once)),
        ("after a look", amounts().at_most_once().try_check(pay_after_a_look)),
        ("the store's clock steps back", amounts().bounds(clock_steps).try_check(pay)),
    ] {
        let passed = passed.unwrap_or_else(|failure| panic!("{what}: {failure}"));
        println!("{what}: {} random schedules from seed {}, none failing", passed.schedules, passed.seed);
    }
}

#[test]
fn run_again_pays_twice_and_is_caught_where_once_is_the_rule() {
    let failure = Property::of(1..3_u32).at_most_once().try_check(pay).unwrap_err();
    assert_eq!(failure.violation.rule, Rule::OneEffect);
}

#[test]
fn an_error_taken_for_no_effect_is_caught_in_few_steps() {
    for seed in 0..40 {
        let failure = Property::of(1..3_u32).seed(seed).try_check(pay_carelessly).unwrap_err();
        assert_eq!(failure.violation.rule, Rule::ToldBeforeAgain);
        // It takes two requests, two claims, two effects, a release, and the answer that is lost: 8 steps.
        assert!(failure.schedule.0.len() <= 10, "seed {seed}: {failure}");
        let text = failure.to_string();
        for told in
            ["told before again", "had its effect twice", "steps again:     property.replay(&[", "IDEMPOTENCY_SEED="]
        {
            assert!(text.contains(told), "{told} is not in:\n{text}");
        }
    }
}

#[test]
fn the_same_seed_finds_the_same() {
    let found = |seed| Property::of(1..9_u32).seed(seed).try_check(pay_carelessly).unwrap_err();
    let first = found(7);
    for _ in 0..3 {
        assert_eq!(found(7).to_string(), first.to_string());
    }
    let passed = Property::of(1..9_u32).seed(7).runs(50).try_check(pay).unwrap();
    assert_eq!((passed.schedules, passed.seed), (50, 7));
}

#[test]
fn a_printed_schedule_is_run_again_exactly() {
    for seed in 0..20 {
        let failure = Property::of(Just(5_u32)).one_request().seed(seed).try_check(pay_carelessly).unwrap_err();
        let printed = failure.schedule.to_string();
        let again = Property::of(Just(5_u32)).try_replay(&[5], &printed, pay_carelessly).unwrap_err();
        assert_eq!(again.violation, failure.violation);
        assert_eq!(again.schedule, failure.schedule);
        assert_eq!(
            format!("{:?}", again.trace.steps.last().unwrap().then),
            format!("{:?}", failure.trace.steps.last().unwrap().then)
        );
    }
}

#[test]
fn a_mended_service_passes_the_schedule_that_broke_it() {
    let schedule = "begin 1, exchange 1a, lose 1b, carry 1b, exchange 1c, begin 2, exchange 2a, exchange 2b";
    Property::of(Just(5_u32)).try_replay(&[5], schedule, pay_carelessly).unwrap_err();
    Property::of(Just(5_u32)).try_replay(&[5], schedule, pay).unwrap();
}

#[test]
#[should_panic(expected = "its step 2, `exchange 1b`, cannot happen. What can: exchange 1a, ")]
fn a_schedule_that_no_longer_fits_says_where() {
    let _ = Property::of(Just(5_u32)).try_replay(&[5], "begin 1, exchange 1b", pay);
}

#[test]
fn a_request_that_never_ends_is_found() {
    let never = |_: World, _: u32| std::future::pending::<Result<(), Error>>();
    let failure = Property::of(1..3_u32).try_check(never).unwrap_err();
    assert_eq!((failure.violation.rule, failure.schedule.to_string().as_str()), (Rule::RequestsEnd, "begin 1, wait"));
    let slow = |_: World, _: u32| async {
        tokio::time::sleep(Duration::from_secs(30)).await;
        Ok::<_, Error>(())
    };
    Property::of(1..3_u32).runs(50).without_effects().check(slow);
    let failure = Property::of(1..3_u32).within(Duration::from_secs(29)).try_check(slow).unwrap_err();
    assert_eq!(failure.violation.rule, Rule::RequestsEnd);
}

#[test]
fn a_panic_is_told_as_one() {
    let failure = Property::of(1..3_u32)
        .try_check(|world: World, amount| async move {
            assert!(world.client() < 2, "too many clients for {amount}");
            Ok::<_, Failed>(amount)
        })
        .unwrap_err();
    assert_eq!(failure.violation.rule, Rule::NoPanic);
    assert!(failure.violation.what.contains("client 2 panicked: too many clients for 1"), "{failure}");
}

#[test]
fn what_a_service_reports_is_its_failure() {
    let failure = Property::of(1..3_u32)
        .try_check(|world: World, amount| async move {
            world.report(Rule::NoLostValue, format!("{amount} is lost"));
            Ok::<_, Failed>(key(amount))
        })
        .unwrap_err();
    assert_eq!((failure.violation.rule, failure.violation.what.as_str()), (Rule::NoLostValue, "client 1: 1 is lost"));
}

#[test]
fn a_service_that_never_has_an_effect_has_shown_nothing() {
    let idle = |_: World, amount: u32| async move { Ok::<_, Failed>(amount) };
    let failure = Property::of(1..3_u32).try_check(idle).unwrap_err();
    assert!(failure.violation.what.starts_with("no schedule had any effect"), "{failure}");
    let failure = Property::of(Just(1_u32)).try_explore(1, idle).unwrap_err();
    assert!(failure.violation.what.starts_with("no schedule had any effect"), "{failure}");
    Property::of(1..3_u32).without_effects().check(idle);
}

/// Under a key of its own, each effect is had once.
#[test]
fn a_key_that_is_made_anew_for_each_request_is_found() {
    let number = std::sync::atomic::AtomicU32::new(0);
    let anew = |world: World, amount: u32| {
        let number = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        async move {
            let key = Key::payment("create", number.to_string()).build().unwrap();
            let effects = world.effects();
            let pays = async {
                effects.record(&key).await?;
                Ok::<_, Failed>(amount)
            };
            Ok::<_, Failed>(world.idempotency().execute_once(&key, pays).await?.into_inner())
        }
    };
    let failure = Property::of(1..3_u32).bounds(Bounds::NONE).try_check(anew).unwrap_err();
    assert_eq!(failure.violation.rule, Rule::OneEffect);
    assert!(failure.violation.what.contains("is the key made from the request?"), "{failure}");
}

#[test]
fn an_effect_under_a_key_that_nobody_locks_is_told_as_such() {
    let elsewhere = |world: World, amount: u32| async move {
        let (key, effects) = (key(amount), world.effects());
        let other = Key::payment("charge", "ord_42").build().unwrap();
        let handle = world.idempotency();
        let paid = handle.call(&key).run(|_| async {
            effects.record(&other).await?;
            Ok::<_, Failed>(amount)
        });
        Ok::<_, Failed>(paid.await?.into_inner())
    };
    let failure = Property::of(1..3_u32).try_check(elsewhere).unwrap_err();
    assert!(failure.violation.what.contains("Nothing ever locked it"), "{failure}");
}

#[test]
fn a_strategy_that_draws_nothing_says_so() {
    let none = (0..10_u32).prop_filter("never", |_| false);
    let failure = Property::of(none).try_check(pay).unwrap_err();
    assert!(failure.violation.what.starts_with("no requests could be drawn from the strategy"), "{failure}");
}

#[test]
fn several_effects_of_one_operation_are_had_once_each() {
    let both = |twice: bool| {
        move |world: World, amount: u32| async move {
            let (key, effects) = (key(amount), world.effects());
            let handle = world.idempotency();
            let paid = handle.call(&key).run(|attempt| async move {
                effects.record_as(attempt.key(), "charge").await?;
                effects.record_as(attempt.key(), if twice { "charge" } else { "mail" }).await?;
                Ok::<_, Failed>(amount)
            });
            Ok::<_, Failed>(paid.await?.into_inner())
        }
    };
    Property::of(1..3_u32).check(both(false));
    let failure = Property::of(1..3_u32).try_check(both(true)).unwrap_err();
    assert_eq!(failure.violation.rule, Rule::OneEffect);
    assert!(failure.violation.what.contains("had its effect `charge` twice"), "{failure}");
}

#[tokio::test]
#[should_panic(expected = "call it in a plain #[test], not in a #[tokio::test]")]
async fn a_schedule_in_a_runtime_says_where_it_belongs() {
    Property::of(1..3_u32).check(pay);
}

#[test]
fn a_request_that_asks_for_ever_is_found_however_often_it_asks() {
    let asks = |world: World, amount: u32| async move {
        use idempotency_core::IdempotencyStore;

        let store = world.store();
        while store.get(&key(amount)).await.is_ok() {}
        Ok::<_, Error>(())
    };
    let failure = Property::of(1..3_u32).bounds(Bounds::NONE).try_check(asks).unwrap_err();
    assert_eq!(failure.violation.rule, Rule::RequestsEnd);
    let printed = failure.schedule.to_string();
    assert!(printed.contains("exchange 1z300"), "{printed}");
    let requests: Vec<u32> = failure.requests.iter().map(|request| request.parse().unwrap()).collect();
    let again = Property::of(1..3_u32).bounds(Bounds::NONE).try_replay(&requests, &printed, asks).unwrap_err();
    assert_eq!(again.violation, failure.violation);
    // Nor does it take for ever where there is no limit.
    let endless = Property::of(1..3_u32).bounds(Bounds::NONE).within(Duration::MAX).try_check(asks).unwrap_err();
    assert_eq!(endless.violation.rule, Rule::RequestsEnd);
}
