//! What keeps keys across restarts.

use std::error::Error;
use std::fmt::{self, Debug};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

use crate::header::HeaderKey;

/// Keeps the keys of named operations, so that a process that was restarted sends the same ones.
///
/// [`KeyFile`](super::KeyFile) is one; a table of the caller's database, in which the operation itself
/// stands, is often the better one.
#[async_trait]
pub trait KeyStore: Debug + Send + Sync + 'static {
    /// The key that is kept under this name; where there is none, keeps `fresh` and gives it back.
    ///
    /// It is one atomic step: of two callers at once, both get the same key. What it gives back is durable
    /// by then, for it is sent next. To be dropped before its end is as if it had ended.
    ///
    /// # Errors
    /// The key cannot be kept: then nothing is sent.
    async fn keep(&self, name: &str, fresh: HeaderKey) -> Result<HeaderKey, KeyStoreError>;

    /// Forgets a name: sent again, it is another operation, with another key.
    ///
    /// The middleware never does this of itself: a process can die between the answer and what its caller
    /// does with it, and then has to ask again. Callers do it once they have done so, or leave it to the
    /// store's age limit. A name that is not kept is forgotten already.
    ///
    /// # Errors
    /// Whether it is forgotten is not known.
    async fn forget(&self, name: &str) -> Result<(), KeyStoreError>;
}

#[async_trait]
impl<S: KeyStore + ?Sized> KeyStore for Arc<S> {
    async fn keep(&self, name: &str, fresh: HeaderKey) -> Result<HeaderKey, KeyStoreError> {
        (**self).keep(name, fresh).await
    }

    async fn forget(&self, name: &str) -> Result<(), KeyStoreError> {
        (**self).forget(name).await
    }
}

/// Why a key is not kept.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum KeyStoreError {
    /// The file cannot be read or written.
    #[error("the file of keys {} cannot be used", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line of the file is not one that was written here. What it kept would be forgotten by going on,
    /// and its operation sent with a new key.
    #[error("line {line} of the file of keys {} is damaged: mend or remove it", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
    },
    /// Another process has the file, or another part of this one.
    #[error("the file of keys {} is in use", path.display())]
    InUse {
        /// Which file.
        path: PathBuf,
    },
    /// Another file stands where the file was: what is kept here would not be found after a restart.
    #[error("another file is in the place of the file of keys {}: restart to use that one", path.display())]
    Replaced {
        /// Which file.
        path: PathBuf,
    },
    /// It has as many names as it may have, none of them old enough to go.
    #[error("{most} names are kept, and there may be no more: forget some, or raise the limit")]
    Full {
        /// How many it may have.
        most: usize,
    },
    /// A store of the caller's own failed.
    #[error("the keys' store failed")]
    Other(#[source] Box<dyn Error + Send + Sync>),
}

/// For whoever reads it where a program's `main` returns it: as `Display`, and then why.
impl Debug for KeyStoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        let mut cause = self.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
