//! All schedules.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use idempotency_core::{Acquired, Claim, Effect, IdempotencyStore, Owner, Timestamp};
use idempotency_store_memory::MemoryStore;
use idempotency_testkit::Rule;
use idempotency_testkit::schedule::{Bounds, Property, SimClock, Simulated, World};
use proptest::prelude::*;
use tokio::time::{Instant, sleep};

use crate::services::{
    Failed, key, pay, pay_after_a_look, pay_at_most_once, pay_carelessly, pay_detached, pay_under_the_wrong_key,
};

fn three() -> Property<Just<u32>> {
    Property::of(Just(5))
}

/// Three duplicates of one key, with a crash, a lost answer and a lapse anywhere.
#[test]
fn no_schedule_of_three_duplicates_has_an_effect_twice_untold() {
    let explored = three().try_explore(5, pay).unwrap_or_else(|failure| panic!("{failure}"));
    println!("three duplicates over the simulated store: {explored}");
    assert!(explored.schedules > 100_000, "{explored}");
}

#[test]
fn nor_over_the_memory_store() {
    let memory = |clock| Simulated::new(MemoryStore::with_clock(clock));
    let explored = three().on_store(memory).try_explore(5, pay).unwrap_or_else(|failure| panic!("{failure}"));
    println!("three duplicates over the memory store: {explored}");
    assert!(explored.schedules > 100_000, "{explored}");
}

#[test]
fn no_schedule_of_two_duplicates_has_an_effect_twice_where_once_is_the_rule() {
    for (what, explored) in [
        ("refuse", three().copies(2).at_most_once().try_explore(5, pay_at_most_once)),
        ("reconcile", three().copies(2).at_most_once().try_explore(5, pay_after_a_look)),
    ] {
        let explored = explored.unwrap_or_else(|failure| panic!("{what}: {failure}"));
        println!("two duplicates, {what}: {explored}");
    }
}

#[test]
fn a_careless_service_is_found_and_its_schedule_runs_again() {
    let failure = three().try_explore(5, pay_carelessly).unwrap_err();
    assert_eq!((failure.violation.rule, failure.seed), (Rule::ToldBeforeAgain, None));
    let again = three().try_replay(&[5], &failure.schedule.to_string(), pay_carelessly).unwrap_err();
    assert_eq!(again.violation, failure.violation);
}

/// Calls are held up as often as the bounds say, also where nothing else can happen but that one goes on.
#[test]
fn waits_are_within_their_bounds() {
    let bounds = Bounds::NONE.with_waits(1).with_losses(1);
    let explored = three().copies(2).bounds(bounds).without_effects().try_explore(5, async |world: World, amount| {
        let (store, key) = (world.store(), key(amount));
        store.get(&key).await?;
        store.get(&key).await
    });
    let explored = explored.unwrap_or_else(|failure| panic!("{failure}"));
    assert!(explored.longest < 20, "{explored}");
}

/// The ends that are reached, as the services write them down; reduced, and in every order.
fn missed<F, Fut>(bounds: Bounds, service: F) -> Vec<String>
where
    F: Fn(World, u32) -> Fut,
    Fut: Future<Output = String> + 'static,
{
    let reached = |property: Property<Just<u32>>| {
        let ends = Mutex::new(BTreeSet::new());
        // What each client of the run at hand has come to.
        let run = Mutex::new(Arc::new(Mutex::new(Vec::new())));
        let explored = property.copies(2).bounds(bounds).without_effects().try_explore(5, |world, amount| {
            let mut run = run.lock().unwrap();
            if world.client() == 1 {
                let ended = std::mem::take(&mut *run);
                ends.lock().unwrap().insert(format!("{:?}", ended.lock().unwrap()));
            }
            let (client, ended, handling) = (world.client(), run.clone(), service(world, amount));
            async move {
                let what = handling.await;
                let mut ended = ended.lock().unwrap();
                ended.push(format!("{client}: {what}"));
                ended.sort();
                Ok::<_, Failed>(what)
            }
        });
        let explored = explored.unwrap_or_else(|failure| panic!("{failure}"));
        (ends.into_inner().unwrap(), explored)
    };
    let (some, reduced) = reached(three());
    let (all, every) = reached(three().every_order());
    println!("{bounds:?}: {} ends by {reduced}, by {every} in every order", all.len());
    assert_eq!(every.same, 0);
    all.difference(&some).cloned().collect()
}

/// What can be left out leads to nothing new: the same ends are reached as when every order is run.
#[test]
fn leaving_out_what_differs_only_in_order_leaves_out_no_end() {
    let bounds = [
        Bounds::NONE,
        Bounds::NONE.with_crashes(1),
        Bounds::NONE.with_losses(1).with_late(1),
        Bounds::NONE.with_failures(1),
        Bounds::NONE.with_lapses(1),
        Bounds::NONE.with_drops(1),
    ];
    for bounds in bounds {
        let missed = missed(bounds, |world, amount| async move {
            // Who came to what, but not when.
            let what = pay(world, amount).await.map_err(|failed| match failed {
                Failed::Outside(error) => error.to_string(),
                Failed::Core(error) => format!("{error:?}").chars().take(12).collect(),
            });
            format!("{what:?}")
        });
        assert!(missed.is_empty(), "{bounds:?}: {missed:#?}");
    }
}

/// What is broken in some order is found in the orders that are run.
#[test]
fn what_every_order_finds_is_found_where_some_are_left_out() {
    let bounds = [
        Bounds::NONE,
        Bounds::NONE.with_losses(1).with_late(1),
        Bounds::NONE.with_crashes(1).with_lapses(1),
        Bounds::NONE.with_drops(1).with_lapses(1),
        Bounds::NONE.with_failures(1).with_drops(1),
    ];
    let mut found = 0;
    for bounds in bounds {
        let of = || three().copies(2).bounds(bounds);
        let rules = |every: bool| {
            let property = |once: bool| {
                let property = if every { of().every_order() } else { of() };
                if once { property.at_most_once() } else { property }
            };
            [
                property(false).try_explore(5, pay_carelessly).err(),
                property(true).try_explore(5, pay_carelessly).err(),
                property(true).try_explore(5, pay).err(),
                property(true).try_explore(5, pay_detached).err(),
                property(false).try_explore(5, pay_under_the_wrong_key).err(),
            ]
            .map(|failure| failure.map(|failure| failure.violation.rule))
        };
        let (some, every) = (rules(false), rules(true));
        assert_eq!(
            some.map(|rule| rule.is_some()),
            every.map(|rule| rule.is_some()),
            "{bounds:?}: {some:?}, {every:?}"
        );
        found += some.iter().flatten().count();
    }
    assert!(found > 10, "hardly anything was broken: {found}");
}

/// A claim that was given up arrives when all others have ended, or have but to be told so: it is the last
/// client who finds a lock that nobody has.
#[test]
fn nor_does_it_leave_out_what_arrives_when_all_others_have_ended() {
    let bounds = [Bounds::NONE.with_losses(1).with_late(1), Bounds::NONE.with_drops(1).with_losses(1).with_late(2)];
    for bounds in bounds {
        let missed = missed(bounds, |world, amount| async move {
            let (store, key, came) = (world.store(), key(amount), Instant::now());
            let owner = Owner::from_u128(u128::from(world.client()));
            let attempt = async || {
                let found = store.get(&key).await.map_err(|error| error.kind());
                found.map(|found| found.map(|found| (found.record.attempt, found.record.acquired_at > later())))
            };
            if world.client() == 3 {
                return format!("{:?}", attempt().await);
            }
            match store.acquire_lock(&key, &Claim { owner, ..Claim::new(key.fingerprint()) }).await {
                Ok(Acquired::Acquired(grant)) => {
                    let released = store.release_lock(&key, &grant.lock, Effect::None).await;
                    format!("{:?}", released.map_err(|error| error.kind()))
                }
                Ok(_) => "another has it".into(),
                Err(error) => {
                    let found = attempt().await;
                    // Until it ends, others can come; and they can come when it has.
                    sleep(Duration::from_secs(1)).await;
                    format!("{:?}, and then {found:?} for {:?}", error.kind(), came.elapsed().as_secs())
                }
            }
        });
        assert!(missed.is_empty(), "{bounds:?}: {missed:#?}");
    }
}

/// Later than all that happens before a second has passed.
fn later() -> Timestamp {
    SimClock::START.plus(Duration::from_secs(1))
}

#[test]
#[should_panic(expected = "the same steps led elsewhere")]
fn a_service_that_does_as_it_likes_is_told_so() {
    let calls = AtomicU32::new(0);
    let _ = three().try_explore(5, |world: World, amount| {
        let twice = calls.fetch_add(1, Relaxed).is_multiple_of(3);
        async move {
            if twice {
                pay(world.clone(), amount).await?;
            }
            pay(world, amount).await
        }
    });
}
