//! The scheduler, tried on services that are right and on services that are not.
#![allow(clippy::unwrap_used)]
use idempotency_core::{Effect, Error, Key};
use idempotency_testkit::schedule::{Bounds, EffectError, Property, World};
use proptest::prelude::*;

#[derive(Debug)]
enum Failed {
    Outside(EffectError),
    Core(Error),
}
impl From<EffectError> for Failed {
    fn from(e: EffectError) -> Self {
        Self::Outside(e)
    }
}
impl From<Error> for Failed {
    fn from(e: Error) -> Self {
        Self::Core(e)
    }
}

fn key(amount: u32) -> Key {
    Key::payment("create", "ord_42").request(&amount).build().unwrap()
}

async fn pay(world: World, amount: u32) -> Result<String, Failed> {
    let key = key(amount);
    let effects = world.effects();
    let paid = world
        .idempotency()
        .execute_once(&key, async {
            effects.record(&key).await?;
            Ok::<_, Failed>(format!("paid {amount}"))
        })
        .await?;
    Ok(paid.into_inner())
}

async fn careless(world: World, amount: u32) -> Result<String, Failed> {
    let key = key(amount);
    let effects = world.effects();
    let paid = world
        .idempotency()
        .call(&key)
        .effect_of(|_: &Failed| Effect::None)
        .run(|_| async {
            effects.record(&key).await?;
            Ok::<_, Failed>(format!("paid {amount}"))
        })
        .await?;
    Ok(paid.into_inner())
}

#[test]
fn a_right_service_passes() {
    let begun = std::time::Instant::now();
    let passed = Property::of(1..3_u32).runs(2000).try_check(pay).unwrap();
    println!("{passed:?} {:?}", begun.elapsed());
}

#[test]
fn a_careless_service_is_caught() {
    let failure = Property::of(Just(1_u32)).try_check(careless).unwrap_err();
    println!("{failure}");
}

#[test]
fn all() {
    for (copies, bounds) in [
        (2, Bounds::NONE),
        (3, Bounds::NONE),
        (2, Bounds::EXHAUSTIVE),
        (3, Bounds::NONE.with_crashes(1)),
        (3, Bounds::NONE.with_losses(1)),
        (3, Bounds::NONE.with_lapses(1)),
        (3, Bounds::NONE.with_crashes(1).with_lapses(1)),
        (3, Bounds::EXHAUSTIVE),
    ] {
        let begun = std::time::Instant::now();
        let explored = Property::of(Just(1_u32)).copies(copies).bounds(bounds).explore(1, pay);
        println!("{copies} {explored:?} {:?}", begun.elapsed());
    }
}
