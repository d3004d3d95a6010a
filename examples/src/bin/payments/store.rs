//! Where keys and orders are, and how long keys are held.

use std::sync::Arc;
use std::time::Duration;

use idempotency::postgres::{PostgresStore, PostgresStoreConfig};
use idempotency::{Idempotency, IdempotencyStore, InvalidDuration, PurgeSchedule, Purging, Store};
use idempotency_examples::Failure;

use crate::orders::{Journaled, Orders, Tables};
use crate::service::Settings;

/// How often what is past its retention is removed from the store, which else grows for ever.
const PURGED_EVERY: Duration = Duration::from_secs(10 * 60);

/// Opens the store of keys, and the orders: in the same Postgres, or in a journal.
pub(crate) async fn open(settings: &Settings<'_>) -> Result<(Idempotency, Orders, Purging), Failure> {
    let (store, idempotency, orders): (Store, _, _) = if settings.store.starts_with("postgres") {
        let store = PostgresStore::open(PostgresStoreConfig::from_url(settings.store)?).await?;
        let idempotency = handle(store.clone(), settings.lease)?;
        let orders = Tables::open(settings.store, store.transactions(&idempotency)).await?;
        (Arc::new(store), idempotency, Orders::Tables(orders))
    } else {
        let store = idempotency::connect(settings.store).await?;
        let idempotency = handle(store.clone(), settings.lease)?;
        (store, idempotency, Orders::Journaled(Journaled::open(settings.orders)?))
    };
    // At the start, too: a process that is replaced sooner than that would never come to it.
    let purging = PurgeSchedule::every(PURGED_EVERY)?.at_start().start(store, |_| {});
    Ok((idempotency, orders, purging))
}

fn handle(store: impl IdempotencyStore, lease: Duration) -> Result<Idempotency, InvalidDuration> {
    Idempotency::new(store)
        .with_lease(lease)?
        // Longer than the provider is waited for, so that a hung run does not keep its key.
        .with_max_run(Duration::from_secs(60))
}
