//! Where recorders put what they see.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use idempotency_core::{Clock, Key, StoreErrorKind, SystemClock, Timestamp};

use super::events::{CallId, History};
use super::lines::Line;
use super::recorder::Recorder;
use super::timing::Timing;
use crate::call::{Answer, Call};

/// A history that is being recorded, by any number of [`Recorder`]s at once.
///
/// ```
/// use idempotency_core::{Fingerprint, Claim, IdempotencyStore, Key, SystemClock};
/// use idempotency_testkit::{ReferenceStore, history::Recording};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let recording = Recording::in_memory();
/// let store = recording.client("alice", ReferenceStore::new(SystemClock::new()));
/// store.acquire_lock(&Key::new("payment:create", "ord_42").build()?, &Claim::new(Fingerprint::NONE)).await?;
/// assert_eq!(recording.history().check()?.calls, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Recording(Arc<Sink>);

enum Sink {
    Memory { history: Mutex<History>, clock: Box<dyn Clock> },
    File { file: Mutex<File>, prefix: u64, calls: AtomicU64 },
}

/// A call that is being recorded.
#[derive(Clone, Copy, Debug)]
pub(super) enum Open {
    InMemory(CallId),
    InFile(u64),
}

impl Recording {
    /// Records in memory, with the times of a store in this process: [`Timing::REAL`].
    #[must_use]
    pub fn in_memory() -> Self {
        Self::of(History::new().with_timing(Timing::REAL), SystemClock::new())
    }

    /// Records in memory, by the store's own clock: [`Timing::EXACT`].
    #[must_use]
    pub fn by_clock(clock: impl Clock) -> Self {
        Self::of(History::new(), clock)
    }

    /// Appends to a file or a pipe, a line an event: before a call goes out, and after it is answered.
    ///
    /// Each line is written in one go, and not kept back in this process: those of a process that was
    /// killed are there. Several processes may write to one file, or each to its own;
    /// [`History::read`] puts them together. Times are the machine's wall clock's, in microseconds, so
    /// that those of its processes can be compared. A value is written as its length and digest, and
    /// read as bytes that stand for these.
    ///
    /// # Errors
    /// Where the file cannot be opened or made.
    pub fn to_file(path: impl AsRef<Path>) -> io::Result<Self> {
        let file = Mutex::new(File::options().append(true).create(true).open(path)?);
        // Told from those of other recordings by a number that is random enough.
        let prefix = u64::try_from(idempotency_core::Owner::random().as_u128() >> 64).unwrap_or(0);
        Ok(Self(Arc::new(Sink::File { file, prefix, calls: AtomicU64::new(0) })))
    }

    /// A layer over a store that records its calls, as a client of this name.
    pub fn client<S>(&self, name: impl Into<Arc<str>>, store: S) -> Recorder<S> {
        Recorder::new(store, name.into(), self.clone())
    }

    /// What was recorded so far. Empty where it goes to a file: [read](History::read) that.
    #[must_use]
    pub fn history(&self) -> History {
        match &*self.0 {
            Sink::Memory { history, .. } => locked(history).clone(),
            Sink::File { .. } => History::new(),
        }
    }

    fn of(history: History, clock: impl Clock) -> Self {
        Self(Arc::new(Sink::Memory { history: Mutex::new(history), clock: Box::new(clock) }))
    }

    pub(super) fn sent(&self, key: &Key, client: &Arc<str>, call: Call) -> Open {
        match &*self.0 {
            Sink::Memory { history, clock } => {
                // The time is read under the lock, so that times and events have one order.
                let mut history = locked(history);
                let now = clock.now();
                Open::InMemory(history.sent(key, client.clone(), call, now))
            }
            Sink::File { file, prefix, calls } => {
                let number = calls.fetch_add(1, Ordering::Relaxed);
                let id = name(*prefix, number);
                let (client, key, call) = (client.to_string(), key.as_str().into(), call.into());
                write(file, |at| Line::Sent { id, at, client, key, call });
                Open::InFile(number)
            }
        }
    }

    pub(super) fn answered(&self, call: Open, answer: Result<Answer, StoreErrorKind>) {
        match (&*self.0, call) {
            (Sink::Memory { history, clock }, Open::InMemory(call)) => {
                let mut history = locked(history);
                let now = clock.now();
                history.answered(call, now, answer);
            }
            (Sink::File { file, prefix, .. }, Open::InFile(number)) => {
                let (id, answer) = (name(*prefix, number), answer.into());
                write(file, |at| Line::Answered { id, at, answer });
            }
            (Sink::Memory { .. }, Open::InFile(_)) | (Sink::File { .. }, Open::InMemory(_)) => {}
        }
    }
}

fn name(prefix: u64, number: u64) -> String {
    format!("{prefix:016x}.{number}")
}

/// Writes an event. A history with a hole would be worse than none.
///
/// # Panics
/// Where the line cannot be written.
fn write(file: &Mutex<File>, event: impl FnOnce(Timestamp) -> Line) {
    let mut file = locked(file);
    let mut line = serde_json::to_vec(&event(SystemTime::now().into())).expect("an event is plain data");
    line.push(b'\n');
    file.write_all(&line).expect("a history can be written on");
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory { history, .. } => f.debug_tuple("Memory").field(&locked(history).calls().len()).finish(),
            Self::File { file, .. } => f.debug_tuple("File").field(file).finish(),
        }
    }
}
