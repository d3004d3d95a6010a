//! A small file of keys.

mod log;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;

use self::log::{Entry, Log};
use super::key_store::{KeyStore, KeyStoreError};
use crate::header::HeaderKey;

/// A day: how long servers keep their answers by default.
const DEFAULT_AGE: Duration = Duration::from_secs(24 * 60 * 60);
const DEFAULT_MOST: usize = 10_000;

/// A file that keeps the keys of named operations across restarts, for one process at a time.
///
/// It is a line of JSON for each name, written and synced before the key is given out, and made anew beside
/// itself when most of it is out of date. A process that is killed at any moment leaves a file that opens:
/// a last line that is not whole was never given out. A second process that opens it gets
/// [`KeyStoreError::InUse`]; the lock is a file beside it, `….lock`. Removed under its process, it is made anew;
/// where another file takes its place, [`KeyStoreError::Replaced`].
///
/// A name is kept for 24 hours by default. **After that it begins anew**, so the age belongs to how long the
/// server keeps its answers ([`ReplayExt::remaining_life`](super::ReplayExt::remaining_life)): what was not
/// answered until then has to be looked up at the server. Ages are told by the machine's clock: one that starts
/// in 1970 and is set later makes names begin anew, so open the file when the clock is right.
pub struct KeyFile {
    path: PathBuf,
    shared: Arc<Shared>,
    now: fn() -> Duration,
}

struct Shared {
    log: Mutex<Log>,
    limits: Limits,
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    age: Duration,
    most: usize,
}

impl KeyFile {
    /// Opens the file, or makes it; its folder must be there. This reads the whole file, so it is for a
    /// program's start.
    ///
    /// # Errors
    /// [`KeyStoreError`]: it cannot be read, is damaged, or is in use.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, KeyStoreError> {
        Self::open_at(path.as_ref(), since_1970)
    }

    fn open_at(path: &Path, now: fn() -> Duration) -> Result<Self, KeyStoreError> {
        let log = Log::open(path)?;
        let limits = Limits { age: DEFAULT_AGE, most: DEFAULT_MOST };
        Ok(Self { path: path.to_owned(), shared: Arc::new(Shared { log: Mutex::new(log), limits }), now })
    }

    fn with(self, change: impl FnOnce(&mut Limits)) -> Self {
        let mut limits = self.shared.limits;
        change(&mut limits);
        // It has just been opened, so it is not shared yet.
        match Arc::try_unwrap(self.shared) {
            Ok(Shared { log, .. }) => Self { shared: Arc::new(Shared { log, limits }), ..self },
            Err(shared) => Self { shared, ..self },
        }
    }

    /// Keeps each name for so long.
    #[must_use]
    pub fn with_age(self, age: Duration) -> Self {
        self.with(|limits| limits.age = age)
    }

    /// Keeps at most so many names, 10,000 by default. None is driven out by another: where there is no
    /// room, [`KeyStoreError::Full`].
    #[must_use]
    pub fn with_most(self, most: usize) -> Self {
        self.with(|limits| limits.most = most)
    }

    /// Does something with the file on a thread that may block. It goes on where its caller does not.
    async fn blocking<T: Send + 'static>(
        &self,
        what: impl FnOnce(&mut Log, Limits) -> Result<T, KeyStoreError> + Send + 'static,
    ) -> Result<T, KeyStoreError> {
        let shared = self.shared.clone();
        let done = tokio::task::spawn_blocking(move || {
            // A panic in the midst of a change leaves a log that mends itself before it is written to.
            let mut log = shared.log.lock().unwrap_or_else(PoisonError::into_inner);
            what(&mut log, shared.limits)
        });
        done.await.map_err(|error| KeyStoreError::Other(Box::new(error)))?
    }
}

#[async_trait]
impl KeyStore for KeyFile {
    async fn keep(&self, name: &str, fresh: HeaderKey) -> Result<HeaderKey, KeyStoreError> {
        let (name, now) = (name.to_owned(), (self.now)());
        self.blocking(move |log, limits| {
            log.ensure_there()?;
            let is_live = |entry: &Entry| now.saturating_sub(entry.at) < limits.age;
            if let Some(entry) = log.entry(&name).filter(|entry| is_live(entry)) {
                return Ok(entry.key.clone());
            }
            if log.names() >= limits.most {
                log.retain(is_live)?;
                if log.names() >= limits.most {
                    return Err(KeyStoreError::Full { most: limits.most });
                }
            }
            log.put(name, Entry { key: fresh.clone(), at: now })?;
            Ok(fresh)
        })
        .await
    }

    async fn forget(&self, name: &str) -> Result<(), KeyStoreError> {
        let name = name.to_owned();
        self.blocking(move |log, _| {
            log.ensure_there()?;
            log.remove(&name)
        })
        .await
    }
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyFile").field("path", &self.path).field("limits", &self.shared.limits).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
