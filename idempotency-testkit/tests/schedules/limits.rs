//! Where a run ends that would not end by itself, and what it can hold.

use std::time::Duration;

use idempotency_core::{Claim, Error, IdempotencyStore, StoreError};
use idempotency_testkit::Rule;
use idempotency_testkit::schedule::{Bounds, Property, Wishes, World};
use proptest::prelude::*;

use crate::services::{Failed, key, pay};

#[test]
fn a_request_that_calls_without_end_is_found() {
    let failure = Property::of(Just(1_u32)).try_check(async |world: World, amount| -> Result<(), StoreError> {
        loop {
            world.store().get(&key(amount)).await?;
        }
    });
    let failure = failure.unwrap_err();
    assert_eq!(failure.violation.rule, Rule::RequestsEnd);
    assert!(failure.violation.what.starts_with("the request of client 1 goes on and on"), "{failure}");
}

#[test]
#[should_panic(expected = "70 requests, each sent 3 times and once more, are 280 clients; a run has 255 at most")]
fn more_clients_than_can_be_numbered_are_refused() {
    let _ = Property::of(Just(5_u32)).run(&[5; 70], &Wishes::default(), pay);
}

#[test]
fn more_calls_than_a_byte_can_number_are_told_apart() {
    let failure =
        Property::of(Just(5_u32)).one_request().bounds(Bounds::NONE).try_check(async |world: World, amount| {
            for _ in 0..300 {
                world.store().get(&key(amount)).await?;
            }
            world.effects().record(&key(amount)).await?;
            Ok::<_, Box<dyn std::error::Error>>(())
        });
    let failure = failure.unwrap_err();
    assert!(failure.schedule.to_string().ends_with("z300"), "{}", failure.schedule);
}

#[test]
fn a_request_that_wakes_itself_without_end_is_found() {
    let wakes = |_: World, _: u32| {
        std::future::poll_fn(|cx| {
            cx.waker().wake_by_ref();
            std::task::Poll::<Result<(), Error>>::Pending
        })
    };
    let yields = async |_: World, _: u32| -> Result<(), Error> {
        loop {
            tokio::task::yield_now().await;
        }
    };
    let property = || Property::of(Just(1_u32)).copies(1).bounds(Bounds::NONE);
    for failure in [property().try_check(wakes), property().try_check(yields)] {
        let failure = failure.unwrap_err();
        assert_eq!(failure.violation.rule, Rule::RequestsEnd);
        assert!(failure.violation.what.ends_with("wakes itself again and again"), "{failure}");
    }
}

#[test]
fn many_that_wait_are_not_taken_for_one_that_does_not_end() {
    Property::of(1..3_u32).copies(20).runs(10).check(|world: World, amount| async move {
        let (handle, effects, key) = (world.idempotency(), world.effects(), key(amount));
        let call = handle.call(&key).wait(Duration::from_secs(60));
        let paid = call.run(|attempt| async move {
            tokio::time::sleep(Duration::from_secs(20)).await;
            effects.record(attempt.key()).await?;
            Ok::<_, Failed>(amount)
        });
        paid.await.map(|paid| paid.into_inner())
    });
}

#[test]
fn a_call_that_is_given_up_while_its_client_is_busy_arrives_once() {
    let bounds = Bounds::NONE.with_losses(1).with_late(1);
    let property = Property::of(Just(1_u32)).copies(2).at_most_once().bounds(bounds).every_order();
    let explored = property.try_explore(1, |world: World, amount| async move {
        let key = key(amount);
        if world.client() > 1 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            return Ok(());
        }
        let effects = world.effects();
        let mut effect = std::pin::pin!(effects.record(&key));
        tokio::select! {
            biased;
            had = &mut effect => return had,
            () = tokio::time::sleep(Duration::from_micros(100)) => {}
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        effect.await
    });
    explored.unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn the_longest_times_that_can_be_said_are_no_trouble() {
    let endless = || Property::of(1..3_u32).runs(100).within(Duration::MAX);
    endless().check(pay);
    endless().without_effects().bounds(Bounds::RANDOM.with_clock_steps(2)).check(|world: World, amount| async move {
        let (store, key) = (world.store(), key(amount));
        store.acquire_lock(&key, &Claim { lease: Duration::MAX, ..Claim::new(key.fingerprint()) }).await
    });
    let never = |_: World, _: u32| std::future::pending::<Result<(), Error>>();
    let failure = endless().try_check(never).unwrap_err();
    assert_eq!(failure.violation.rule, Rule::RequestsEnd);
}

#[test]
fn a_panic_before_the_first_poll_or_in_a_drop_is_told_as_one() {
    let early = |world: World, amount: u32| {
        assert!(world.client() < 2, "too many clients for {amount}");
        async move { Ok::<_, Failed>(amount) }
    };
    let failure = Property::of(1..3_u32).try_check(early).unwrap_err();
    assert_eq!(failure.violation.rule, Rule::NoPanic);
    assert!(failure.violation.what.contains("client 2 panicked: too many clients for 1"), "{failure}");

    struct Guard;
    impl Drop for Guard {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }
    let guarded = |world: World, amount| async move {
        let guard = Guard;
        let paid = pay(world, amount).await;
        std::mem::forget(guard);
        paid
    };
    let failure = Property::of(1..3_u32).try_check(guarded).unwrap_err();
    assert_eq!(failure.violation.rule, Rule::NoPanic);
    assert!(failure.violation.what.ends_with(" panicked: dropped"), "{failure}");
    // Processes that die drop nothing, and what is left at the end of a run is nobody's.
    Property::of(1..3_u32).bounds(Bounds::RANDOM.with_drops(0)).check(guarded);
}
