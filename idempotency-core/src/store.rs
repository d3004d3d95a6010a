//! What a store promises.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use async_trait::async_trait;

use crate::error::StoreError;
use crate::guarantees::Guarantees;
use crate::key::Key;
use crate::lock::{Claim, Effect, Lock};
use crate::moves::{Acquired, Held};
use crate::record::{Completion, Snapshot};

/// Keeps the records of keys: which attempt holds a key, and what it left.
///
/// Implement it with [`async_trait`](crate::async_trait): `#[async_trait] impl IdempotencyStore for …`.
///
/// # What every store promises
///
/// Each of the four changing methods is one atomic move, with exactly the answers and changes of the
/// function of the same name in [`moves`](crate::moves), judged by the store's own clock:
///
/// - At no instant of that clock do two locks of a key have a live lease.
/// - A completed key's bytes do not change until their retention ends, and no lock is granted on it.
/// - A stale lock changes nothing.
/// - Fences grow strictly with each acquisition of a key, for as long as the store remembers it.
/// - Nothing that is in progress, unknown or completed is forgotten before its time. A store without
///   room refuses *new* keys with [`StoreErrorKind::Full`](crate::StoreErrorKind::Full).
/// - What an answer says is as durable as [`guarantees`](Self::guarantees) claims *before* the
///   answer is given, also where it repeats an earlier one.
///
/// # Errors and lost answers
///
/// An error means that the answer is not known, not that nothing happened, unless its kind says so.
/// Every method may be sent again with the same arguments after an error or a timeout, any number of
/// times, and gives the answer of its first success as long as nobody else changed the key since.
///
/// # Cancellation
///
/// Dropping a method's future is like losing its answer: the move is done whole or not at all, then
/// or later. No later call is harmed.
#[async_trait]
pub trait IdempotencyStore: fmt::Debug + Send + Sync + 'static {
    /// Reads a key's record, with the store's time of reading.
    ///
    /// A record past its retention is absent. Nothing is given out that is not yet durable. The
    /// record's fingerprint must be compared by whoever replays from it.
    ///
    /// # Errors
    /// [`StoreError`]; of kind [`Damaged`](crate::StoreErrorKind::Damaged) where the key's bytes are
    /// not a record.
    async fn get(&self, key: &Key) -> Result<Option<Snapshot>, StoreError>;

    /// Acquires a key's lock, or tells why not: [`moves::acquire`](crate::moves::acquire). The only
    /// way to begin.
    ///
    /// The fingerprint compared is the claim's, not the key's.
    ///
    /// # Errors
    /// [`StoreError`]; of kind [`Full`](crate::StoreErrorKind::Full) where there is no room for a
    /// new key.
    async fn acquire_lock(&self, key: &Key, claim: &Claim) -> Result<Acquired, StoreError>;

    /// Counts a lock's lease anew from now, and confirms it: [`moves::extend`](crate::moves::extend).
    ///
    /// # Errors
    /// [`StoreError`]
    async fn extend_lock(&self, key: &Key, lock: &Lock, lease: Duration) -> Result<Held, StoreError>;

    /// Makes a result the key's and ends the lock, in one step: [`moves::store`](crate::moves::store).
    ///
    /// # Errors
    /// [`StoreError`]; of kind [`Full`](crate::StoreErrorKind::Full) or
    /// [`TooLarge`](crate::StoreErrorKind::TooLarge) where this value can never be kept. The lock is
    /// then still held, and the fact can be stored without the value.
    async fn store_result(
        &self,
        key: &Key,
        lock: &Lock,
        result: &Completion,
        retention: Duration,
    ) -> Result<Held, StoreError>;

    /// Ends an attempt without a result: [`moves::release`](crate::moves::release).
    ///
    /// # Errors
    /// [`StoreError`]
    async fn release_lock(&self, key: &Key, lock: &Lock, effect: Effect) -> Result<Held, StoreError>;

    /// Watches a key for a change that ends its lock, from the moment this returns.
    ///
    /// A hint that may come late, more than once, or never ([`Watch::never`]): waiters poll
    /// underneath.
    fn watch(&self, key: &Key) -> Watch;

    /// Says what the store is, as it found it to be.
    ///
    /// # Errors
    /// [`StoreError`] where the store could not be asked at all.
    async fn guarantees(&self) -> Result<Guarantees, StoreError>;
}

/// Resolves when a watched key may have changed.
#[must_use = "a watch tells nothing unless it is awaited"]
pub struct Watch(Pin<Box<dyn Future<Output = ()> + Send>>);

impl Watch {
    /// A watch that resolves when `changed` does.
    pub fn new(changed: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(Box::pin(changed))
    }

    /// A watch that never resolves, for stores that cannot tell.
    pub fn never() -> Self {
        Self::new(std::future::pending())
    }
}

impl Future for Watch {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}

type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// A shared store is a store. The futures are the inner store's own: nothing is boxed twice.
#[deny(clippy::missing_trait_methods)]
impl<S: IdempotencyStore + ?Sized> IdempotencyStore for Arc<S> {
    fn get<'a: 't, 'k: 't, 't>(&'a self, key: &'k Key) -> Answer<'t, Option<Snapshot>>
    where
        Self: 't,
    {
        (**self).get(key)
    }

    fn acquire_lock<'a: 't, 'k: 't, 'c: 't, 't>(&'a self, key: &'k Key, claim: &'c Claim) -> Answer<'t, Acquired>
    where
        Self: 't,
    {
        (**self).acquire_lock(key, claim)
    }

    fn extend_lock<'a: 't, 'k: 't, 'l: 't, 't>(
        &'a self,
        key: &'k Key,
        lock: &'l Lock,
        lease: Duration,
    ) -> Answer<'t, Held>
    where
        Self: 't,
    {
        (**self).extend_lock(key, lock, lease)
    }

    fn store_result<'a: 't, 'k: 't, 'l: 't, 'r: 't, 't>(
        &'a self,
        key: &'k Key,
        lock: &'l Lock,
        result: &'r Completion,
        retention: Duration,
    ) -> Answer<'t, Held>
    where
        Self: 't,
    {
        (**self).store_result(key, lock, result, retention)
    }

    fn release_lock<'a: 't, 'k: 't, 'l: 't, 't>(
        &'a self,
        key: &'k Key,
        lock: &'l Lock,
        effect: Effect,
    ) -> Answer<'t, Held>
    where
        Self: 't,
    {
        (**self).release_lock(key, lock, effect)
    }

    fn watch(&self, key: &Key) -> Watch {
        (**self).watch(key)
    }

    fn guarantees<'a: 't, 't>(&'a self) -> Answer<'t, Guarantees>
    where
        Self: 't,
    {
        (**self).guarantees()
    }
}
