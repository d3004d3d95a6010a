//! The files of the database: opening them, and putting them on the disk.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::journal::error::{Fault, JournalError, is_full, panic_message};
use crate::journal::flush::Medium;

/// sled's own threads can hold the lock for a moment after the last handle was dropped.
const LOCK_TRIES: u32 = 25;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// An open database, and a handle of our own on its data file.
pub(crate) struct Disk {
    pub(crate) db: sled::Db,
    /// Where a flush is to survive a power cut. A sync through any handle covers the whole file.
    data: Option<File>,
}

pub(crate) fn open(folder: &Path, cache: u64, power: bool) -> Result<Disk, JournalError> {
    prepare(folder)?;
    let db = open_sled(folder, cache)?;
    let data = power.then(|| sync_all(folder)).transpose().map_err(|error| classify(folder, error))?;
    Ok(Disk { db, data })
}

/// sled would create the whole path, and a mistyped one with it.
fn prepare(folder: &Path) -> Result<(), JournalError> {
    match fs::metadata(folder) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(classify(folder, ErrorKind::NotADirectory.into())),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            fs::create_dir(folder).map_err(|error| classify(folder, error))
        }
        Err(error) => Err(classify(folder, error)),
    }
}

fn open_sled(folder: &Path, cache: u64) -> Result<sled::Db, JournalError> {
    finish_configuration(folder).map_err(|error| classify(folder, error))?;
    let mut tries = 0;
    loop {
        remove_unfinished_snapshots(folder).map_err(|error| classify(folder, error))?;
        let config = sled::Config::new().path(folder).cache_capacity(cache).flush_every_ms(None);
        // Damaged files make sled panic as often as fail.
        let opened = catch_unwind(AssertUnwindSafe(|| config.open()))
            .unwrap_or_else(|payload| Err(sled::Error::ReportableBug(panic_message(&*payload))));
        tries += 1;
        match opened {
            Ok(db) => return Ok(db),
            Err(error) if is_held(&error) && tries < LOCK_TRIES => thread::sleep(LOCK_PAUSE),
            Err(error) if is_held(&error) => {
                return Err(JournalError::Held { folder: folder.into(), source: error.into() });
            }
            Err(sled::Error::Io(error)) => return Err(classify(folder, error)),
            Err(error) => {
                return Err(JournalError::Corrupt { folder: folder.into(), source: error.into() });
            }
        }
    }
}

/// sled's `conf` as this store has it written, and its checksum, which sled 0.34.7 writes by a second call.
const CONFIGURATION: &[u8] = b"segment_size: 524288\nuse_compression: false\nversion: 0.34\n";
const CHECKSUM: [u8; 4] = [0x76, 0x19, 0x51, 0xc1];

/// Finishes the `conf` of a process that was killed before it had written the checksum.
///
/// sled takes the last four bytes for the checksum, misses them in the text, and calls the database
/// damaged. If that process is still at it, it writes the same bytes at the same place.
fn finish_configuration(folder: &Path) -> io::Result<()> {
    let path = folder.join("conf");
    match fs::read(&path) {
        Ok(found) if found == CONFIGURATION => {}
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    tracing::warn!(file = %path.display(), "finishing a configuration that was written by half");
    // Whole, not at its end: that may have moved.
    let mut file = File::options().write(true).open(&path)?;
    file.write_all(&[CONFIGURATION, &CHECKSUM].concat())
}

/// Removes what a process left that was killed while sled, opening the database, wrote a snapshot.
///
/// sled writes it under another name, syncs it, and renames it over nothing: until then the snapshot before
/// it counts, and is there; before the first one, the log from its start. But sled 0.34.7 takes the
/// unfinished file for a snapshot, and for the newest (`get_snapshot_files` leaves out another ending than
/// `write_snapshot` uses), and calls the database damaged. It goes only under the database's lock, so that
/// it is nobody's who is still at it.
fn remove_unfinished_snapshots(folder: &Path) -> io::Result<()> {
    let database = match File::options().read(true).write(true).open(folder.join("db")) {
        Ok(database) => database,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    match database.try_lock() {
        Ok(()) => {}
        // Somebody has it open; opening it tells.
        Err(TryLockError::WouldBlock) => return Ok(()),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            tracing::warn!(folder = %folder.display(), file = %name, "removing a snapshot that was never finished");
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// sled turns the refusal of the lock into a text.
fn is_held(error: &sled::Error) -> bool {
    let sled::Error::Io(error) = error else { return false };
    let text = error.to_string();
    let refused = text.contains("WouldBlock") || text.contains("code: 33");
    text.contains("could not acquire lock") && refused
}

fn classify(folder: &Path, error: io::Error) -> JournalError {
    let (kind, folder, source) = (error.kind(), folder.to_path_buf(), error.into());
    match kind {
        ErrorKind::NotFound if !folder.is_dir() => JournalError::MissingParent { folder, source },
        ErrorKind::NotADirectory => JournalError::NotAFolder { folder, source },
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => JournalError::ReadOnly { folder, source },
        kind if is_full(kind) => JournalError::Full { folder, source },
        ErrorKind::InvalidData | ErrorKind::UnexpectedEof => JournalError::Corrupt { folder, source },
        _ => JournalError::Open { folder, source },
    }
}

/// What a process that was killed left in memory is visible again, and must not be taken for
/// durable; and files that were just created must not vanish with their folder.
///
/// sled syncs its snapshots itself, but `conf` and the folders never.
fn sync_all(folder: &Path) -> io::Result<File> {
    let data = File::options().read(true).write(true).open(folder.join("db"))?;
    data.sync_all()?;
    File::options().write(true).open(folder.join("conf"))?.sync_all()?;
    sync_folder(&folder.join("blobs"))?;
    sync_folder(folder)?;
    let folder = folder.canonicalize()?;
    folder.parent().map_or(Ok(()), sync_folder)?;
    Ok(data)
}

#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder)?.sync_all() {
        // Some filesystems cannot sync a folder, and need not.
        Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(()),
        other => other,
    }
}

#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

impl Medium for Disk {
    fn flush(&self) -> Result<(), Fault> {
        self.db.flush().map_err(|error| Fault::sled("a flush", error))?;
        Ok(())
    }

    fn sync(&self) -> Result<(), Fault> {
        let Some(data) = &self.data else { return Ok(()) };
        data.sync_data().map_err(|error| Fault::io("a sync", error))
    }

    fn failure(&self) -> Option<Fault> {
        self.db.context.global_error().err().map(|error| Fault::sled("a background write", error))
    }

    fn poke(&self) {
        // With an error noted, a flush does nothing but wake all who wait, and return it.
        let _known = catch_unwind(AssertUnwindSafe(|| self.db.flush()));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // sled unwraps an fsync when its last handle goes.
        let db = self.db.clone();
        let _known = catch_unwind(AssertUnwindSafe(move || drop(db)));
    }
}
