//! How to open the store.

use std::path::PathBuf;
use std::time::Duration;

use crate::journal::{Durability, Options};

/// How to open a [`SledStore`](crate::SledStore).
#[derive(Clone, Debug)]
#[must_use]
pub struct SledStoreConfig {
    pub(crate) folder: PathBuf,
    pub(crate) options: Options,
}

impl SledStoreConfig {
    /// A database in `folder`, which is created if its parent exists; power-safe, with a page cache
    /// of 64 MiB.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), options: Options::default() }
    }

    /// Sets what an acknowledged write survives: a power cut by default.
    pub const fn with_durability(mut self, durability: Durability) -> Self {
        self.options.durability = durability;
        self
    }

    /// Sets the size of sled's page cache in bytes; 64 MiB by default.
    pub const fn with_cache(mut self, bytes: u64) -> Self {
        self.options.cache = bytes;
        self
    }

    /// Sets how long one flush may take before the store gives the disk up and closes; 30 s by
    /// default.
    pub const fn with_stall_limit(mut self, limit: Duration) -> Self {
        self.options.stall_limit = limit;
        self
    }
}
