//! The file itself: lines that are appended, and a whole that is made anew.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::client::key_store::KeyStoreError;
use crate::header::HeaderKey;

/// A kept key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: HeaderKey,
    /// When it was first kept, from 1970 on.
    pub(super) at: Duration,
}

/// A line. Its form is what a later release must still read.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    name: String,
    /// Without one, the name is forgotten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kept: Option<Kept>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    key: String,
    /// Milliseconds from 1970 on.
    at: u64,
}

/// Lines beyond what is live, before the file is made anew: as many again, and a few.
const SPARE_LINES: usize = 64;

/// The open file, and what it says.
pub(super) struct Log {
    path: PathBuf,
    file: File,
    /// How much of the file is whole lines that are synced.
    length: u64,
    lines: usize,
    entries: HashMap<String, Entry>,
    /// Held for as long as the file is open; the system lets go of it when the process dies.
    _lock: File,
}

impl Log {
    pub(super) fn open(named: &Path) -> Result<Self, KeyStoreError> {
        let failed = |source| KeyStoreError::Io { path: named.to_owned(), source };
        let path = &full_name(named).map_err(failed)?;
        let lock = open(&beside(path, ".lock")).map_err(failed)?;
        take(&lock, path)?;
        let mut file = open(path).map_err(failed)?;
        // The other one may be removed as a leftover. Elsewhere than on Unix this would keep readers out.
        if cfg!(unix) {
            take(&file, path)?;
        }
        // Made anew by another process meanwhile, which then has the new one.
        if leads_to(path, &file).map_err(failed)? != Some(true) {
            return Err(KeyStoreError::InUse { path: path.to_owned() });
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed)?;
        // A line without its end was being written when the process died: nobody has seen its key.
        let length = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        let mut entries = HashMap::new();
        let mut lines = 0;
        for line in bytes[..length].split_inclusive(|&byte| byte == b'\n') {
            lines += 1;
            let damaged = || KeyStoreError::Damaged { path: path.to_owned(), line: lines };
            let (name, entry) = read(line).ok_or_else(damaged)?;
            match entry {
                Some(entry) => entries.insert(name, entry),
                None => entries.remove(&name),
            };
        }
        let length = length as u64;
        // The file's own entry in its folder, too, or a power cut could take the whole file.
        sync_folder(path).map_err(failed)?;
        Ok(Self { path: path.to_owned(), file, length, lines, entries, _lock: lock })
    }

    pub(super) fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// Makes the file anew where it was removed or moved away: what is written to it then is lost.
    ///
    /// # Errors
    /// Another file stands in its place.
    pub(super) fn ensure_there(&mut self) -> Result<(), KeyStoreError> {
        match leads_to(&self.path, &self.file) {
            Ok(Some(true)) => Ok(()),
            Ok(Some(false)) => Err(KeyStoreError::Replaced { path: self.path.clone() }),
            Ok(None) => self.rewrite(),
            Err(source) => Err(KeyStoreError::Io { path: self.path.clone(), source }),
        }
    }

    /// How many are kept.
    pub(super) fn names(&self) -> usize {
        self.entries.len()
    }

    /// Keeps an entry, durably.
    pub(super) fn put(&mut self, name: String, entry: Entry) -> Result<(), KeyStoreError> {
        self.append(&line_of(&name, Some(&entry)))?;
        self.entries.insert(name, entry);
        Ok(())
    }

    /// Forgets a name, durably.
    pub(super) fn remove(&mut self, name: &str) -> Result<(), KeyStoreError> {
        if self.entries.contains_key(name) {
            self.append(&line_of(name, None))?;
            self.entries.remove(name);
        }
        Ok(())
    }

    /// Drops what is not to be kept.
    pub(super) fn retain(&mut self, keep: impl Fn(&Entry) -> bool) -> Result<(), KeyStoreError> {
        let before = self.entries.len();
        self.entries.retain(|_, entry| keep(entry));
        if self.entries.len() < before { self.rewrite() } else { Ok(()) }
    }

    fn append(&mut self, line: &str) -> Result<(), KeyStoreError> {
        if self.lines >= self.entries.len() * 2 + SPARE_LINES {
            self.rewrite()?;
        }
        // What an earlier failure left behind the last whole line goes first.
        let appended = (|| {
            self.file.set_len(self.length)?;
            self.file.seek(SeekFrom::Start(self.length))?;
            self.file.write_all(line.as_bytes())?;
            self.file.sync_data()
        })();
        appended.map_err(|source| KeyStoreError::Io { path: self.path.clone(), source })?;
        self.length += line.len() as u64;
        self.lines += 1;
        Ok(())
    }

    /// Makes the file anew: beside it, synced, and then in its place at once.
    fn rewrite(&mut self) -> Result<(), KeyStoreError> {
        let text: String = self.entries.iter().map(|(name, entry)| line_of(name, Some(entry))).collect();
        let rewritten = (|| {
            let new = beside(&self.path, ".new");
            let mut file = open(&new)?;
            if cfg!(unix) {
                file.try_lock()?;
            }
            file.set_len(0)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&new, &self.path)?;
            // From here on the new file is the one: whatever fails now, nothing is written to the old.
            self.file = file;
            self.length = text.len() as u64;
            self.lines = self.entries.len();
            sync_folder(&self.path)
        })();
        rewritten.map_err(|source| KeyStoreError::Io { path: self.path.clone(), source })
    }
}

fn line_of(name: &str, entry: Option<&Entry>) -> String {
    let kept = entry.map(|entry| Kept {
        key: entry.key.as_str().to_owned(),
        at: u64::try_from(entry.at.as_millis()).unwrap_or(u64::MAX),
    });
    // Strings and a number are always JSON, and JSON has no line's end within.
    let mut line = serde_json::to_string(&Line { name: name.to_owned(), kept }).unwrap_or_default();
    line.push('\n');
    line
}

fn read(line: &[u8]) -> Option<(String, Option<Entry>)> {
    let Line { name, kept } = serde_json::from_slice(line).ok()?;
    let entry = match kept {
        None => None,
        Some(Kept { key, at }) => Some(Entry { key: HeaderKey::new(key).ok()?, at: Duration::from_millis(at) }),
    };
    Some((name, entry))
}

/// The file's own name, of which there is one: a link to it has no lock of its own, and the file stays where it
/// is when the process changes its folder.
fn full_name(path: &Path) -> io::Result<PathBuf> {
    // What is not there has no such name yet.
    drop(open(path)?);
    path.canonicalize()
}

fn take(lock: &File, path: &Path) -> Result<(), KeyStoreError> {
    lock.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => KeyStoreError::InUse { path: path.to_owned() },
        TryLockError::Error(source) => KeyStoreError::Io { path: path.to_owned(), source },
    })
}

/// Whether a path leads to an open file; `None` where it leads to none.
#[cfg(unix)]
fn leads_to(path: &Path, file: &File) -> io::Result<Option<bool>> {
    use std::os::unix::fs::MetadataExt;

    match std::fs::metadata(path) {
        Ok(there) => {
            let own = file.metadata()?;
            Ok(Some((there.dev(), there.ino()) == (own.dev(), own.ino())))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// An open file stays where it is.
#[cfg(not(unix))]
fn leads_to(_: &Path, _: &File) -> io::Result<Option<bool>> {
    Ok(Some(true))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

/// A folder is synced as a file is, where the system has it so.
fn sync_folder(path: &Path) -> io::Result<()> {
    if !cfg!(unix) {
        return Ok(());
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}
