//! What one client of a run sees: its store, and the world outside.

use std::time::Duration;

use async_trait::async_trait;
use idempotency_core::moves::{Acquired, Held};
use idempotency_core::{
    Claim, Completion, Effect, Guarantees, Idempotency, IdempotencyStore, Key, Lock, Snapshot, StoreError,
    StoreErrorKind, Watch,
};

use super::effects::Effects;
use super::flying::launch;
use super::network::{Cargo, Shared};
use crate::call::{Answer, Call};
use crate::rule::Rule;

/// What one client's process sees of the world: a store, and the world outside, both at the other end
/// of a network that the schedule rules.
///
/// Each request that the kit sends is handled by a process of its own, so that it can die alone.
#[derive(Clone, Debug)]
pub struct World {
    net: Shared,
    client: u8,
}

impl World {
    pub(super) const fn new(net: Shared, client: u8) -> Self {
        Self { net, client }
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> WorldStore {
        WorldStore { net: self.net.clone(), client: self.client }
    }

    /// A handle with the defaults over the store, for services that need no other.
    #[must_use]
    pub fn idempotency(&self) -> Idempotency {
        Idempotency::new(self.store())
    }

    /// The world outside.
    #[must_use]
    pub fn effects(&self) -> Effects {
        Effects { net: self.net.clone(), client: self.client }
    }

    /// Says that a rule is broken, for what only the service can see: the run then fails with it.
    pub fn report(&self, rule: Rule, what: impl Into<String>) {
        let what = format!("client {}: {}", self.client, what.into());
        self.net.lock().referee.breaks(rule, || what);
    }

    /// Which client this is, from 1 in the order in which they come.
    #[must_use]
    pub const fn client(&self) -> u8 {
        self.client
    }
}

/// A store at the other end of a network that the schedule rules.
///
/// Its [`watch`](IdempotencyStore::watch) never tells anything, as a hint may be lost: waiters poll.
#[derive(Clone, Debug)]
pub struct WorldStore {
    net: Shared,
    client: u8,
}

impl WorldStore {
    async fn call(&self, key: &Key, call: Call) -> Result<Answer, StoreError> {
        launch(&self.net, self.client, Cargo::Store { key: key.clone(), call }).await.store()
    }

    async fn held(&self, key: &Key, call: Call) -> Result<Held, StoreError> {
        let operation = call.method().name();
        match self.call(key, call).await? {
            Answer::Held(held) => Ok(held),
            Answer::Found(_) | Answer::Acquired(_) => Err(unfit(operation)),
        }
    }
}

fn unfit(operation: &'static str) -> StoreError {
    StoreError::new(StoreErrorKind::Internal, operation).with_message("another method's answer")
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl IdempotencyStore for WorldStore {
    async fn get(&self, key: &Key) -> Result<Option<Snapshot>, StoreError> {
        match self.call(key, Call::Get).await? {
            Answer::Found(found) => Ok(found.map(|found| *found)),
            Answer::Acquired(_) | Answer::Held(_) => Err(unfit("get")),
        }
    }

    async fn acquire_lock(&self, key: &Key, claim: &Claim) -> Result<Acquired, StoreError> {
        match self.call(key, Call::Acquire(Box::new(claim.clone()))).await? {
            Answer::Acquired(acquired) => Ok(acquired),
            Answer::Found(_) | Answer::Held(_) => Err(unfit("acquire_lock")),
        }
    }

    async fn extend_lock(&self, key: &Key, lock: &Lock, lease: Duration) -> Result<Held, StoreError> {
        self.held(key, Call::Extend(*lock, lease)).await
    }

    async fn store_result(
        &self,
        key: &Key,
        lock: &Lock,
        result: &Completion,
        retention: Duration,
    ) -> Result<Held, StoreError> {
        self.held(key, Call::Store(*lock, result.clone(), retention)).await
    }

    async fn release_lock(&self, key: &Key, lock: &Lock, effect: Effect) -> Result<Held, StoreError> {
        self.held(key, Call::Release(*lock, effect)).await
    }

    fn watch(&self, _: &Key) -> Watch {
        Watch::never()
    }

    async fn guarantees(&self) -> Result<Guarantees, StoreError> {
        Ok(Guarantees::none("simulated"))
    }
}
