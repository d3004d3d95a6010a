//! Services over the library.

use std::time::Duration;

use idempotency_core::{Effect, Error, Key, OnUnknown, StoreExt};
use idempotency_testkit::schedule::{EffectError, World};

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failed {
    #[error(transparent)]
    Outside(#[from] EffectError),
    #[error(transparent)]
    Core(#[from] Error),
}

pub(crate) fn key(amount: u32) -> Key {
    Key::payment("create", "ord_42").request(&amount).build().unwrap()
}

/// Pays, and says that nobody knows where no answer came.
pub(crate) async fn pay(world: World, amount: u32) -> Result<u32, Failed> {
    let (key, effects) = (key(amount), world.effects());
    let pays = async {
        effects.record(&key).await?;
        Ok::<_, Failed>(amount)
    };
    Ok(world.idempotency().execute_once(&key, pays).await?.into_inner())
}

/// Takes every error for one without effect.
pub(crate) async fn pay_carelessly(world: World, amount: u32) -> Result<u32, Failed> {
    let (key, effects) = (key(amount), world.effects());
    let handle = world.idempotency();
    let call = handle.call(&key).effect_of(|_: &Failed| Effect::None);
    let paid = call.run(|attempt| async move {
        effects.record(attempt.key()).await?;
        Ok(amount)
    });
    Ok(paid.await?.into_inner())
}

/// Pays at most once, and confirms its lock.
pub(crate) async fn pay_at_most_once(world: World, amount: u32) -> Result<u32, Failed> {
    let (key, effects) = (key(amount), world.effects());
    let handle = world.idempotency().with_on_unknown(OnUnknown::Refuse);
    let paid = handle.call(&key).confirm().run(|attempt| async move {
        effects.record(attempt.key()).await?;
        Ok::<_, Failed>(amount)
    });
    Ok(paid.await?.into_inner())
}

/// Looks, and bars what came before, before it pays again.
pub(crate) async fn pay_after_a_look(world: World, amount: u32) -> Result<u32, Failed> {
    let (key, effects) = (key(amount), world.effects());
    let looks = effects.clone();
    let handle = world.idempotency();
    let call = handle.call(&key).wait(Duration::from_secs(20)).reconcile(|attempt| async move {
        let had = looks.look(attempt.key(), attempt.fence()).await?;
        Ok::<_, Failed>(had.then_some(amount))
    });
    let paid = call.run(|attempt| async move {
        effects.record_fenced(attempt.key(), attempt.fence()).await?;
        Ok(amount)
    });
    Ok(paid.await?.into_inner())
}

/// Pays in a task of its own, which goes on when the caller has gone.
pub(crate) async fn pay_detached(world: World, amount: u32) -> Result<u32, Failed> {
    let (key, effects) = (key(amount), world.effects());
    let handle = world.idempotency();
    let running = handle.call(&key).spawn(move |attempt| async move {
        effects.record(attempt.key()).await?;
        Ok::<_, Failed>(amount)
    });
    Ok(running.await?.into_inner())
}

/// The second client is an operator, who looks and then settles.
pub(crate) async fn pay_or_settle(world: World, amount: u32) -> Result<u32, Failed> {
    if world.client() != 2 {
        return pay(world, amount).await;
    }
    let (key, store) = (key(amount), world.store());
    if let Ok(settling) = store.settle(&key, Duration::from_secs(10)).await {
        // Whether it takes is the store's to say; that nothing is said past a lock, the kit's.
        let _had = settling.had_its_effect().await;
    }
    Ok(amount)
}

/// Locks one key, and has its effect under another.
pub(crate) async fn pay_under_the_wrong_key(world: World, amount: u32) -> Result<u32, Failed> {
    let (locked, effects) = (Key::payment("lock", world.client().to_string()).build().unwrap(), world.effects());
    let pays = async {
        effects.record(&key(amount)).await?;
        Ok::<_, Failed>(amount)
    };
    Ok(world.idempotency().execute_once(&locked, pays).await?.into_inner())
}
