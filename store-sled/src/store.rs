//! The store.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use idempotency_core::moves::{self, Move};
use idempotency_core::{
    Acquired, Answer, Claim, Clock, ClockSource, Completion, Effect, FenceSource, Guarantees, Held, IdempotencyStore,
    Key, Lock, Notifier, Record, Snapshot, State, StoreError, StoreErrorKind, SystemClock, Timestamp, Watch,
};

use crate::config::SledStoreConfig;
use crate::error::Operation;
use crate::fences::Fences;
use crate::journal::{Durability, Journal, Swap, Ticket};
use crate::layout;
use crate::records::{Pieces, Records, damaged};

/// A durable idempotency store in a sled database, for one process.
///
/// Cloning shares the database. The folder is free again when the last clone is dropped; dropping
/// flushes, and blocks for that long.
///
/// sled's calls are synchronous and short; they are made where the future is polled, in a tokio
/// runtime.
///
/// Within one run of the process the clock only goes forward. Between two runs it is the machine's: if
/// that was set back meanwhile, leases and results of the run before last longer by as much.
#[derive(Debug)]
pub struct SledStore<C = SystemClock> {
    pub(crate) shared: Arc<Shared<C>>,
}

impl<C> Clone for SledStore<C> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

#[derive(Debug)]
pub(crate) struct Shared<C> {
    pub(crate) records: Records,
    pub(crate) clock: C,
    fences: Fences,
    notifier: Notifier,
    durability: Durability,
}

impl SledStore {
    /// Opens the database on the system's clock.
    ///
    /// # Errors
    /// [`StoreError`]: another process holds the folder, its parent is missing, it is no folder, it
    /// cannot be written, the disk is full, or the database is damaged.
    pub async fn open(config: SledStoreConfig) -> Result<Self, StoreError> {
        Self::open_with_clock(config, SystemClock::new()).await
    }
}

impl<C: Clock> SledStore<C> {
    /// Opens the database on a clock of choice.
    ///
    /// # Errors
    /// As [`SledStore::open`].
    pub async fn open_with_clock(config: SledStoreConfig, clock: C) -> Result<Self, StoreError> {
        let SledStoreConfig { folder, options } = config;
        let durability = options.durability;
        let opened = tokio::task::spawn_blocking(move || {
            let journal = Journal::open(&folder, options).during("open")?;
            let fences = Fences::open(&journal).during("open")?;
            let fences = fences.ok_or_else(|| damaged("open", "the high-water mark of the fences is no number"))?;
            let records = Records { journal };
            records.sweep_pieces().during("open")?;
            Ok((records, fences))
        });
        let (records, fences) = opened
            .await
            .map_err(|error| StoreError::new(StoreErrorKind::Internal, "open").with_source(error))
            .flatten()?;
        // What a killed process left visible must be durable before anyone is told of it.
        records.journal.ticket().durable().await.during("open")?;
        let shared = Shared { records, clock, fences, notifier: Notifier::new(), durability };
        Ok(Self { shared: Arc::new(shared) })
    }
}

impl<C: Clock> Shared<C> {
    /// Removes the pieces of a record that is gone; also if whoever asked goes away meanwhile.
    pub(crate) async fn remove(self: &Arc<Self>, pieces: Pieces, gone: Ticket) {
        let shared = self.clone();
        let removed = tokio::spawn(async move { pieces.remove_after(&shared.records.journal, gone).await });
        if !matches!(removed.await, Ok(Ok(()))) {
            tracing::warn!("the pieces of a record that is gone stay until the next start");
        }
    }

    /// Makes a move: reads, asks what to do, and swaps; again where someone else was faster. Answers
    /// once all that the answer says is durable.
    async fn make<A>(
        self: &Arc<Self>,
        operation: &'static str,
        key: &Key,
        make: impl Fn(Option<&Record>, Timestamp) -> Result<Move<A>, StoreError> + Send,
    ) -> Result<A, StoreError>
    where
        A: Send,
    {
        let record_key = layout::record_key(key);
        loop {
            let (found, ticket) = self.records.find(operation, key, &record_key)?;
            let Move { answer, write } = make(found.as_ref().map(|found| &found.record), self.clock.now())?;
            let Some(record) = write else {
                ticket.durable().await.during(operation)?;
                return Ok(answer);
            };
            let (value, unnamed) = self.records.value(operation, key, &record_key, &record).await?;
            if found.is_none() {
                self.records.index(operation, &record, &record_key)?;
            }
            let raw = found.as_ref().map(|found| &*found.raw);
            let Swap::Swapped(ticket) =
                self.records.journal.compare_and_swap(&record_key, raw, Some(&value)).during(operation)?
            else {
                continue;
            };
            if let Some(unnamed) = unnamed {
                unnamed.are_named();
            }
            if let Some(pieces) = found.and_then(|found| found.pieces) {
                self.remove(pieces, ticket.clone()).await;
            }
            ticket.durable().await.during(operation)?;
            if !matches!(record.state, State::InProgress { .. }) {
                self.notifier.changed(key);
            }
            return Ok(answer);
        }
    }
}

#[async_trait]
impl<C: Clock> IdempotencyStore for SledStore<C> {
    async fn get(&self, key: &Key) -> Result<Option<Snapshot>, StoreError> {
        let shared = &self.shared;
        let (found, ticket) = shared.records.find("get", key, &layout::record_key(key))?;
        ticket.durable().await.during("get")?;
        let now = shared.clock.now();
        let live = found.filter(|found| moves::read(Some(&found.record), now).is_some());
        Ok(live.map(|found| Snapshot { record: found.record, now }))
    }

    async fn acquire_lock(&self, key: &Key, claim: &Claim) -> Result<Acquired, StoreError> {
        let Shared { fences, records, .. } = &*self.shared;
        let acquire = |record: Option<&Record>, now| {
            let fence = fences.next(&records.journal).during("acquire_lock")?;
            Ok(moves::acquire(record, claim, now, fence))
        };
        self.shared.make("acquire_lock", key, acquire).await
    }

    async fn extend_lock(&self, key: &Key, lock: &Lock, lease: Duration) -> Result<Held, StoreError> {
        self.shared.make("extend_lock", key, |record, now| Ok(moves::extend(record, *lock, lease, now))).await
    }

    async fn store_result(
        &self,
        key: &Key,
        lock: &Lock,
        result: &Completion,
        retention: Duration,
    ) -> Result<Held, StoreError> {
        let store = |record: Option<&Record>, now| Ok(moves::store(record, *lock, result, retention, now));
        self.shared.make("store_result", key, store).await
    }

    async fn release_lock(&self, key: &Key, lock: &Lock, effect: Effect) -> Result<Held, StoreError> {
        self.shared.make("release_lock", key, |record, now| Ok(moves::release(record, *lock, effect, now))).await
    }

    fn watch(&self, key: &Key) -> Watch {
        self.shared.notifier.watch(key)
    }

    async fn guarantees(&self) -> Result<Guarantees, StoreError> {
        let one_process = || Answer::No("a sled database is one process's".into());
        let mut found = Guarantees::none("sled");
        found.shared = one_process();
        found.survives_process_crash = Answer::Yes;
        found.survives_machine_crash = match self.shared.durability {
            Durability::Power => Answer::Yes,
            Durability::Process => Answer::No("its durability is `process`; open it with `durability=power`".into()),
        };
        found.survives_failover = Answer::No("it is on one machine's disk".into());
        found.clock = ClockSource::Process;
        found.fences = FenceSource::Counter;
        Ok(found)
    }
}
