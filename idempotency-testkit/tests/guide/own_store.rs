use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use idempotency_core::moves::{self, Acquired, Held, Move};
use idempotency_core::{
    Claim, Clock, Completion, Effect, Fence, Guarantees, IdempotencyStore, Key, Lock, Record, Snapshot, StoreError,
    Timestamp, Watch, async_trait,
};

/// Keeps records in a map.
#[derive(Debug)]
pub struct ToyStore<C> {
    kept: Mutex<(HashMap<String, Record>, u64)>,
    clock: C,
}

impl<C: Clock> ToyStore<C> {
    pub fn new(clock: C) -> Self {
        Self { kept: Mutex::default(), clock }
    }

    /// Makes one move, atomically.
    fn make<A>(&self, key: &Key, make: impl FnOnce(Option<&Record>, Timestamp, Fence) -> Move<A>) -> A {
        let mut kept = self.kept.lock().unwrap();
        let (records, fences) = &mut *kept;
        *fences += 1;
        let name = key.as_str().to_owned();
        let Move { answer, write } = make(records.get(&name), self.clock.now(), Fence::new(*fences));
        if let Some(record) = write {
            records.insert(name, record);
        }
        answer
    }
}

#[async_trait]
impl<C: Clock> IdempotencyStore for ToyStore<C> {
    async fn get(&self, key: &Key) -> Result<Option<Snapshot>, StoreError> {
        Ok(self.make(key, |known, now, _| {
            let found = moves::read(known, now).map(|record| Snapshot { record: record.clone(), now });
            Move { answer: found, write: None }
        }))
    }

    async fn acquire_lock(&self, key: &Key, claim: &Claim) -> Result<Acquired, StoreError> {
        Ok(self.make(key, |known, now, fence| moves::acquire(known, claim, now, fence)))
    }

    async fn extend_lock(&self, key: &Key, lock: &Lock, lease: Duration) -> Result<Held, StoreError> {
        Ok(self.make(key, |known, now, _| moves::extend(known, *lock, lease, now)))
    }

    async fn store_result(
        &self,
        key: &Key,
        lock: &Lock,
        result: &Completion,
        retention: Duration,
    ) -> Result<Held, StoreError> {
        Ok(self.make(key, |known, now, _| moves::store(known, *lock, result, retention, now)))
    }

    async fn release_lock(&self, key: &Key, lock: &Lock, effect: Effect) -> Result<Held, StoreError> {
        Ok(self.make(key, |known, now, _| moves::release(known, *lock, effect, now)))
    }

    fn watch(&self, _: &Key) -> Watch {
        Watch::never()
    }

    async fn guarantees(&self) -> Result<Guarantees, StoreError> {
        Ok(Guarantees::none("toy"))
    }
}
