//! An append-only file of JSON lines: what an example needs of a database.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A file of entries, one line each, which only grows.
#[derive(Debug)]
pub struct Journal<T> {
    file: File,
    bytes: u64,
    entries: PhantomData<fn(T)>,
}

impl<T: Serialize + DeserializeOwned> Journal<T> {
    /// Opens or creates a journal, and gives its entries so far.
    pub fn open(path: &Path) -> Result<(Self, Vec<T>), JournalError> {
        let cannot = |source| JournalError::Open { path: path.into(), source };
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(cannot)?;
        let (entries, bytes) = parse(path)?;
        // A line that a crash cut off was never acknowledged.
        file.set_len(bytes).map_err(cannot)?;
        Ok((Self { file, bytes, entries: PhantomData }, entries))
    }

    /// Appends an entry; it is on disk when this returns.
    pub fn append(&mut self, entry: &T) -> io::Result<()> {
        self.append_all(std::iter::once(entry))
    }

    /// Appends entries, all or none; they are on disk when this returns, after one wait for it.
    pub fn append_all<'a>(&mut self, entries: impl IntoIterator<Item = &'a T>) -> io::Result<()>
    where
        T: 'a,
    {
        let mut lines = Vec::new();
        for entry in entries {
            serde_json::to_writer(&mut lines, entry)?;
            lines.push(b'\n');
        }
        if let Err(error) = self.file.write_all(&lines).and_then(|()| self.file.sync_data()) {
            // Half a line must not become the head of the next.
            self.file.set_len(self.bytes)?;
            return Err(error);
        }
        self.bytes += lines.len() as u64;
        Ok(())
    }
}

/// Reads a journal that another process may be writing.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, JournalError> {
    parse(path).map(|(entries, _)| entries)
}

/// The entries, and how many bytes they take.
fn parse<T: DeserializeOwned>(path: &Path) -> Result<(Vec<T>, u64), JournalError> {
    let text = std::fs::read_to_string(path).map_err(|source| JournalError::Open { path: path.into(), source })?;
    let whole = text.rfind('\n').map_or("", |last| &text[..=last]);
    let entry = |(line, text)| {
        serde_json::from_str(text).map_err(|source| JournalError::Line { path: path.into(), line: line + 1, source })
    };
    let entries = whole.lines().enumerate().map(entry).collect::<Result<_, _>>()?;
    Ok((entries, whole.len() as u64))
}

/// A journal cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The messages say it.
pub enum JournalError {
    #[error("cannot open {}: {source}; name a place that can be written", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("{}, line {line}, is not an entry: {source}; move the file away to begin anew", path.display())]
    Line { path: PathBuf, line: usize, source: serde_json::Error },
}
