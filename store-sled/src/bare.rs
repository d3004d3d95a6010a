//! The journal's bare calls, for measuring the store against them.

use std::path::Path;

use idempotency_core::StoreError;

use crate::error::Operation;
use crate::journal::{Durability, Journal, Options, Swap};

/// sled's own calls, each made durable by the same shared flush as the store's.
#[derive(Debug)]
pub struct Bare(Journal);

impl Bare {
    /// Opens a database.
    ///
    /// # Errors
    /// As [`SledStore::open`](crate::SledStore::open).
    pub fn open(folder: &Path, durability: Durability) -> Result<Self, StoreError> {
        Journal::open(folder, Options { durability, ..Options::default() }).during("open").map(Self)
    }

    /// Sets a key that is absent; whether it was. Durable when it returns.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn create(&self, key: &[u8], value: &[u8]) -> Result<bool, StoreError> {
        let (created, ticket) = match self.0.compare_and_swap(key, None, Some(value)).during("create")? {
            Swap::Swapped(ticket) => (true, ticket),
            Swap::Found => (false, self.0.ticket()),
        };
        ticket.durable().await.during("create")?;
        Ok(created)
    }

    /// Sets a key. Durable when it returns.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn insert(&self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.0.insert(key, value).during("insert")?.durable().await.during("insert")
    }

    /// The value of a key.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.0.get(key).during("get")?.value.map(|value| value.to_vec()))
    }
}
