//! What can go wrong below the store.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::Arc;

type Source = Box<dyn Error + Send + Sync>;

/// Why a [`Journal`](crate::journal::Journal) could not be opened, or refused a call.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum JournalError {
    /// Another process, or another handle in this one, has the database open.
    #[error("the database folder {} is held by another process (or is still open in this one)", folder.display())]
    Held {
        /// The database folder.
        folder: PathBuf,
        /// sled's refusal.
        source: Source,
    },
    /// The folder's parent does not exist. Only the last folder of the path is ever created.
    #[error("the parent of the database folder {} does not exist", folder.display())]
    MissingParent {
        /// The database folder.
        folder: PathBuf,
        /// The failed look-up.
        source: Source,
    },
    /// The path, or a part of it, is a file.
    #[error("{} is not a folder", folder.display())]
    NotAFolder {
        /// The path that was given.
        folder: PathBuf,
        /// The failed look-up.
        source: Source,
    },
    /// The folder or its filesystem may not be written by this process.
    #[error("the database folder {} is not writable", folder.display())]
    ReadOnly {
        /// The database folder.
        folder: PathBuf,
        /// The refused operation.
        source: Source,
    },
    /// The disk, the quota or the file size limit is exhausted.
    #[error("no room for the database folder {}", folder.display())]
    Full {
        /// The database folder.
        folder: PathBuf,
        /// The failed write.
        source: Source,
    },
    /// The files are damaged, or are not those of this version of sled.
    #[error("the database in {} is damaged", folder.display())]
    Corrupt {
        /// The database folder.
        folder: PathBuf,
        /// What sled said.
        source: Source,
    },
    /// Any other failure while opening.
    #[error("cannot open the database folder {}", folder.display())]
    Open {
        /// The database folder.
        folder: PathBuf,
        /// The failed operation.
        source: Source,
    },
    /// A key or a value over its limit. Nothing was written.
    #[error("a {what} of {len} bytes is over the limit of {limit}")]
    TooLarge {
        /// `"key"` or `"value"`.
        what: &'static str,
        /// Its length.
        len: usize,
        /// The limit that it is over.
        limit: usize,
    },
    /// An earlier fault closed the journal. Whether the call's own write survives is unknown.
    #[error("closed after a fault: {0}")]
    Closed(#[source] Fault),
}

/// The fault that closed a journal. Cheap to clone: every waiter gets it.
#[derive(Clone, Debug)]
pub(crate) struct Fault(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    kind: FaultKind,
    action: &'static str,
    source: Option<Source>,
}

/// The kind of a [`Fault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) enum FaultKind {
    /// The disk, the quota or the file size limit is exhausted.
    Full,
    /// A read, a write or a sync failed.
    Io,
    /// sled found its files damaged, or reported a bug of its own.
    Corrupt,
    /// sled panicked.
    Panicked,
    /// A flush did not come back within the stall limit.
    Stalled,
    /// No fault: the journal was dropped.
    Dropped,
}

impl Fault {
    pub(crate) fn new(kind: FaultKind, action: &'static str) -> Self {
        Self(Arc::new(Inner { kind, action, source: None }))
    }

    fn with(kind: FaultKind, action: &'static str, source: impl Into<Source>) -> Self {
        Self(Arc::new(Inner { kind, action, source: Some(source.into()) }))
    }

    pub(crate) fn io(action: &'static str, error: io::Error) -> Self {
        let kind = if is_full(error.kind()) { FaultKind::Full } else { FaultKind::Io };
        Self::with(kind, action, error)
    }

    pub(crate) fn sled(action: &'static str, error: sled::Error) -> Self {
        match error {
            sled::Error::Io(error) => Self::io(action, error),
            other => Self::with(FaultKind::Corrupt, action, other),
        }
    }

    pub(crate) fn panic(action: &'static str, payload: &(dyn Any + Send)) -> Self {
        Self::with(FaultKind::Panicked, action, panic_message(payload))
    }

    /// What kind of fault it was.
    pub(crate) fn kind(&self) -> FaultKind {
        self.0.kind
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.0.kind {
            FaultKind::Full => "no room left",
            FaultKind::Io => "input/output error",
            FaultKind::Corrupt => "damaged database",
            FaultKind::Panicked => "sled panicked",
            FaultKind::Stalled => "no answer from the disk",
            FaultKind::Dropped => "the journal was dropped",
        };
        write!(out, "{kind} during {}", self.0.action)?;
        match &self.0.source {
            Some(source) => write!(out, ": {source}"),
            None => Ok(()),
        }
    }
}

impl Error for Fault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

/// `FileTooLarge` is `RLIMIT_FSIZE`: for a database that only grows, it is the same wall.
pub(crate) fn is_full(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)
}

pub(crate) fn panic_message(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}
