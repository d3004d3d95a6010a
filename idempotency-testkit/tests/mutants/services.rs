//! Services over the library itself, for stores that are broken.

use idempotency_core::{Effect, Error, Key, OnUnknown};
use idempotency_testkit::Rule;
use idempotency_testkit::schedule::{EffectError, World};

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failed {
    #[error(transparent)]
    Outside(#[from] EffectError),
    #[error(transparent)]
    Core(#[from] Error),
    #[error("declined before anything was sent")]
    NotSent,
}

pub(crate) fn key(amount: u32) -> Key {
    Key::payment("create", "ord_42").request(&amount).build().unwrap()
}

/// The everyday service.
pub(crate) async fn pay(world: World, amount: u32) -> Result<u32, Failed> {
    let (key, effects) = (key(amount), world.effects());
    let paid = world
        .idempotency()
        .execute_once(&key, async {
            effects.record(&key).await?;
            Ok::<_, Failed>(amount)
        })
        .await?;
    if *paid != amount {
        world.report(Rule::NoCrossTalk, format!("asked to pay {amount}, and was told of {}", *paid));
    }
    Ok(*paid)
}

/// As an operator would have it: at most once, and whoever comes second settles.
pub(crate) async fn pay_at_most_once(world: World, amount: u32) -> Result<u32, Failed> {
    let (key, effects) = (key(amount), world.effects());
    let call = world.idempotency().with_on_unknown(OnUnknown::Refuse);
    let run = async {
        effects.record(&key).await?;
        Ok::<_, Failed>(amount)
    };
    Ok(call.execute_once(&key, run).await?.into_inner())
}

/// The first to come wants at most once, the others do not care.
pub(crate) async fn pay_in_two_minds(world: World, amount: u32) -> Result<u32, Failed> {
    if world.client() == 1 { pay_at_most_once(world, amount).await } else { pay(world, amount).await }
}

/// One that is told of an unknown attempt declines, and says that nothing was sent.
pub(crate) async fn pay_shyly(world: World, amount: u32) -> Result<u32, Failed> {
    let (key, effects) = (key(amount), world.effects());
    let handle = world.idempotency();
    let shy = world.client() == 2;
    let paid = handle
        .call(&key)
        .effect_of(|failed: &Failed| if matches!(failed, Failed::NotSent) { Effect::None } else { Effect::Unknown })
        .run(|attempt| async move {
            if shy && attempt.prior().is_some() {
                return Err(Failed::NotSent);
            }
            effects.record(attempt.key()).await?;
            Ok(amount)
        })
        .await?;
    Ok(paid.into_inner())
}

/// Each amount is an order of its own.
pub(crate) async fn pay_each(world: World, amount: u32) -> Result<u32, Failed> {
    let (key, effects) = (Key::payment("create", amount.to_string()).build().unwrap(), world.effects());
    let run = async {
        effects.record(&key).await?;
        Ok::<_, Failed>(amount)
    };
    Ok(world.idempotency().execute_once(&key, run).await?.into_inner())
}
