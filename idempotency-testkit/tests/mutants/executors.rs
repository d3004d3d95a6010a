//! Executors with one thing broken, over a store that is right.

use std::time::Duration;

use idempotency_core::{
    Acquired, Claim, Completion, Effect, Error, Grant, Held, IdempotencyStore, Key, Lock, State, StoreError,
};
use idempotency_testkit::Rule;
use idempotency_testkit::schedule::{EffectError, World, WorldStore};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::services::{Failed, key};

told! {
    /// What is broken.
    Flaw
    /// Nothing.
    Nothing,
    /// A dropped run frees its key.
    FreedOnDrop,
    /// One failed renewal, and it is never tried again.
    RenewalDies,
    /// A result is stored at the first try, or not at all.
    CompletionNotRetried,
    /// A store that cannot be reached is done without.
    FailsOpen,
    /// An error frees the key.
    ErrorFrees,
    /// A value over the limit is not recorded, and its key is freed.
    TooLargeFrees,
    /// A replay is looked up by the key alone.
    ReplaysWithoutFingerprint,
    /// A value that could not be stored is not given to its caller.
    LosesValue,
    /// Waits until there is a result, however long.
    WaitsForEver,
    /// Looks for a result, and runs where there is none: the lock comes second, and its answer is not read.
    LooksThenRuns,
}

const LEASE: Duration = Duration::from_secs(30);
const ONE_CALL: Duration = Duration::from_secs(2);

/// Releases the lock of a run that is dropped.
struct FreedOnDrop(Option<(WorldStore, Key, Lock)>);

impl Drop for FreedOnDrop {
    fn drop(&mut self) {
        if let Some((store, key, lock)) = self.0.take() {
            tokio::spawn(async move { store.release_lock(&key, &lock, Effect::None).await });
        }
    }
}

/// A small executor: right, but for its flaw.
pub(crate) async fn pay(flaw: Flaw, takes: Duration, world: World, amount: u32) -> Result<u32, Failed> {
    let (key, store) = (key(amount), world.store());
    if flaw == Flaw::ReplaysWithoutFingerprint
        && let Ok(Some(found)) = store.get(&key).await
        && let State::Completed { result: Completion::Value(value), .. } = found.record.state
    {
        return replayed(&world, amount, &value);
    }
    if flaw == Flaw::LooksThenRuns {
        if let Ok(Some(found)) = store.get(&key).await
            && let State::Completed { result: Completion::Value(value), .. } = found.record.state
        {
            return replayed(&world, amount, &value);
        }
        let _ = store.acquire_lock(&key, &Claim::new(key.fingerprint())).await;
        world.effects().record(&key).await?;
        return Ok(amount);
    }
    let grant = match begin(flaw, &store, &key).await? {
        Begun::Granted(grant) => grant,
        Begun::Done(value) => return replayed(&world, amount, &value),
        Begun::Unprotected => {
            world.effects().record(&key).await?;
            return Ok(amount);
        }
    };
    // Ends with the run, however that ends.
    let mut renewing = JoinSet::new();
    renewing.spawn(renew(flaw, store.clone(), key.clone(), grant.lock));
    let mut guard = FreedOnDrop((flaw == Flaw::FreedOnDrop).then(|| (store.clone(), key.clone(), grant.lock)));
    if world.client() == 1 {
        sleep(takes).await;
    }
    let ran = world.effects().record(&key).await;
    guard.0 = None;
    let ended = end(flaw, &store, &key, grant.lock, amount, &ran).await;
    drop(renewing);
    ran?;
    if ended.is_err() && flaw == Flaw::LosesValue {
        world.report(Rule::NoLostValue, "the payment was made, and its caller is told of an error");
    }
    Ok(amount)
}

fn replayed(world: &World, amount: u32, value: &[u8]) -> Result<u32, Failed> {
    let paid = u32::from(value.first().copied().unwrap_or_default());
    if paid != amount {
        world.report(Rule::NoCrossTalk, format!("asked to pay {amount}, and was told of {paid}"));
    }
    Ok(paid)
}

enum Begun {
    Granted(Grant),
    Done(bytes::Bytes),
    Unprotected,
}

async fn begin(flaw: Flaw, store: &WorldStore, key: &Key) -> Result<Begun, Failed> {
    let claim = Claim { lease: LEASE, ..Claim::new(key.fingerprint()) };
    for _ in 0..3 {
        let Ok(Ok(answer)) = timeout(ONE_CALL, store.acquire_lock(key, &claim)).await else {
            continue;
        };
        match answer {
            Acquired::Acquired(grant) => return Ok(Begun::Granted(grant)),
            Acquired::Completed(found) => match found.record.state {
                State::Completed { result: Completion::Value(value), .. } => return Ok(Begun::Done(value)),
                _ => return Err(Failed::NotSent),
            },
            Acquired::InProgress { .. } if flaw == Flaw::WaitsForEver => return wait(store, key).await,
            Acquired::InProgress { attempt, remaining } => {
                return Err(Error::InProgress { key: key.clone(), attempt, retry_after: remaining }.into());
            }
            Acquired::Mismatch => return Err(Error::Mismatch { key: key.clone() }.into()),
            Acquired::Unknown { .. } | Acquired::Ended => return Err(Failed::NotSent),
        }
    }
    if flaw == Flaw::FailsOpen { Ok(Begun::Unprotected) } else { Err(Failed::NotSent) }
}

async fn wait(store: &WorldStore, key: &Key) -> Result<Begun, Failed> {
    loop {
        sleep(Duration::from_secs(20)).await;
        if let Ok(Some(found)) = store.get(key).await
            && let State::Completed { result: Completion::Value(value), .. } = found.record.state
        {
            return Ok(Begun::Done(value));
        }
    }
}

async fn renew(flaw: Flaw, store: WorldStore, key: Key, lock: Lock) {
    {
        let mut until = Instant::now() + LEASE;
        loop {
            sleep(LEASE / 3).await;
            loop {
                let asked_at = Instant::now();
                match timeout(ONE_CALL, store.extend_lock(&key, &lock, LEASE)).await {
                    Ok(Ok(Held::Held)) => {
                        until = asked_at + LEASE;
                        break;
                    }
                    Ok(Ok(Held::Lost)) => return,
                    Ok(Err(_)) | Err(_) if flaw == Flaw::RenewalDies || Instant::now() >= until => return,
                    Ok(Err(_)) | Err(_) => sleep(Duration::from_millis(100)).await,
                }
            }
        }
    }
}

async fn end(
    flaw: Flaw,
    store: &WorldStore,
    key: &Key,
    lock: Lock,
    amount: u32,
    ran: &Result<(), EffectError>,
) -> Result<Held, StoreError> {
    let effect = match ran {
        Ok(()) if flaw == Flaw::TooLargeFrees => Some(Effect::None),
        Ok(()) => None,
        Err(_) if flaw == Flaw::ErrorFrees => Some(Effect::None),
        Err(_) => Some(Effect::Unknown),
    };
    let value = Completion::Value(vec![u8::try_from(amount).unwrap()].into());
    let give_up_at = Instant::now() + LEASE;
    loop {
        let told = match effect {
            Some(effect) => timeout(ONE_CALL, store.release_lock(key, &lock, effect)).await,
            None => timeout(ONE_CALL, store.store_result(key, &lock, &value, Duration::from_secs(86_400))).await,
        };
        let error = match told {
            Ok(Ok(held)) => return Ok(held),
            Ok(Err(error)) => error,
            Err(_) => StoreError::new(idempotency_core::StoreErrorKind::InDoubt, "store_result"),
        };
        if matches!(flaw, Flaw::CompletionNotRetried | Flaw::LosesValue) || Instant::now() >= give_up_at {
            return Err(error);
        }
        sleep(Duration::from_millis(100)).await;
    }
}
