//! Stores in folders of their own, and the bytes below them.

use std::path::Path;
use std::sync::Arc;

use idempotency_core::{Clock, Key, ManualClock, Timestamp};
use idempotency_store_sled::{Durability, SledStore, SledStoreConfig};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use idempotency_testkit::conformance::Subject;
use idempotency_testkit::conformance::sample::clock;

pub(crate) type Store = SledStore<Arc<ManualClock>>;

async fn open_in(folder: &Path, clock: Arc<ManualClock>, durability: Durability) -> Store {
    let config = SledStoreConfig::new(folder).with_durability(durability);
    SledStore::open_with_clock(config, clock).await.unwrap()
}

pub(crate) async fn subject(durability: Durability) -> Subject {
    let (folder, clock) = (tempfile::tempdir().unwrap(), clock());
    let (path, store_clock) = (folder.path().to_owned(), clock.clone());
    Subject::new(open_in(&path, clock.clone(), durability).await).on_clock(clock).guarded_by(folder).reopened_by(
        move || {
            let (path, clock) = (path.clone(), store_clock.clone());
            async move { Subject::new(open_in(&path, clock, durability).await) }
        },
    )
}

/// A folder whose store is opened, closed, and opened again.
#[derive(Debug)]
pub(crate) struct House {
    pub(crate) folder: TempDir,
    pub(crate) clock: Arc<ManualClock>,
    durability: Durability,
}

impl House {
    pub(crate) fn new(durability: Durability) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), clock: clock(), durability }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn clock_now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) async fn open(&self) -> Store {
        open_in(self.path(), self.clock.clone(), self.durability).await
    }

    /// Waits until what a store still had to do in the background is done, and it lets go of the folder.
    pub(crate) async fn closed(&self) {
        while sled::Config::new().path(self.path()).flush_every_ms(None).open().is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    /// The database itself; no store may be open.
    pub(crate) fn raw(&self) -> sled::Db {
        for _ in 0..100 {
            match sled::Config::new().path(self.path()).flush_every_ms(None).open() {
                Ok(database) => return database,
                // sled lets go of the folder a moment after its last handle is dropped.
                Err(_) => std::thread::sleep(std::time::Duration::from_millis(10)),
            }
        }
        panic!("the folder stays held");
    }

    /// All entries whose key begins with `kind`.
    pub(crate) fn entries(&self, kind: u8) -> Vec<(Vec<u8>, Vec<u8>)> {
        let entries = self.raw().scan_prefix([kind]);
        entries.map(Result::unwrap).map(|(key, value)| (key.to_vec(), value.to_vec())).collect()
    }
}

/// Where a record lies: under its text, or under its text's digest where that is long.
pub(crate) fn record_key(key: &Key) -> Vec<u8> {
    let text = key.as_str().as_bytes();
    if text.len() <= 255 { [b"r", text].concat() } else { [&b"R"[..], &Sha256::digest(text)].concat() }
}
