//! An append-only file of JSON lines: what an example needs of a database.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// How long one who is ending may hold a journal still.
const ENDING: Duration = Duration::from_secs(1);

/// A file of entries, one line each, which only grows.
#[derive(Debug)]
pub struct Journal<T> {
    file: File,
    bytes: u64,
    entries: PhantomData<fn(T)>,
}

impl<T: Serialize + DeserializeOwned> Journal<T> {
    /// Opens or creates a journal, and gives its entries so far. Until it is closed nobody else opens it: each process
    /// would have entries of its own in mind, and sell what the other has sold.
    pub fn open(path: &Path) -> Result<(Self, Vec<T>), JournalError> {
        let cannot = |source| JournalError::Open { path: path.into(), source };
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(cannot)?;
        lock(&file).map_err(|error| match error {
            TryLockError::WouldBlock => JournalError::InUse { path: path.into() },
            TryLockError::Error(source) => cannot(source),
        })?;
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

/// Locks it; the one who is just ending is waited for.
fn lock(file: &File) -> Result<(), TryLockError> {
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if begun.elapsed() < ENDING => std::thread::sleep(ENDING / 100),
            locked => return locked,
        }
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
    #[error("{} is in use by another process; end it, or name a folder of its own for each", path.display())]
    InUse { path: PathBuf },
    #[error("{}, line {line}, is not an entry: {source}; move the file away to begin anew", path.display())]
    Line { path: PathBuf, line: usize, source: serde_json::Error },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_is_one_process_own_until_it_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let (mut first, _) = Journal::<u32>::open(&path).unwrap();
        first.append(&1).unwrap();
        let refused = Journal::<u32>::open(&path).unwrap_err().to_string();
        assert!(refused.contains("journal.jsonl") && refused.contains("another process"), "{refused}");
        assert_eq!(read::<u32>(&path).unwrap(), [1], "it may be read");
        drop(first);
        assert_eq!(Journal::<u32>::open(&path).unwrap().1, [1]);
    }
}
