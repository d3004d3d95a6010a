//! What the tests and their roles share.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use idempotency_core::{Effect, Error, Key};
use idempotency_store_sled::{Durability, SledStore, SledStoreConfig};

/// Writes a line by one system call, unbuffered: a kill leaves it whole or leaves it out.
pub(crate) fn say(line: &str) {
    static OUT: LazyLock<Arc<File>> = LazyLock::new(|| {
        #[cfg(unix)]
        let stdout = std::os::fd::AsFd::as_fd(&std::io::stdout()).try_clone_to_owned().unwrap();
        #[cfg(windows)]
        let stdout = std::os::windows::io::AsHandle::as_handle(&std::io::stdout()).try_clone_to_owned().unwrap();
        Arc::new(File::from(stdout))
    });
    let line = format!("{line}{END}\n");
    let written = (&**OUT).write(line.as_bytes()).unwrap();
    assert_eq!(written, line.len(), "a line was torn");
}

/// Ends a line that is whole.
const END: &str = " .";

/// A line as it was said.
pub(crate) fn whole(line: &str) -> Option<&str> {
    line.strip_suffix(END)
}

pub(crate) fn durability(argument: &str) -> Durability {
    match argument {
        "power" => Durability::Power,
        "process" => Durability::Process,
        other => panic!("no durability: {other}"),
    }
}

pub(crate) async fn open(folder: impl AsRef<Path>, durability: Durability) -> SledStore {
    SledStore::open(SledStoreConfig::new(folder.as_ref()).with_durability(durability)).await.unwrap()
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

pub(crate) fn key(name: &str) -> Key {
    Key::new("process", name).build().unwrap()
}

/// How an operation may fail.
#[derive(Debug)]
pub(crate) enum Failed {
    /// Its provider was never asked, by this attempt.
    NotSent(u32),
    /// Nobody knows what its provider did for this attempt.
    TimedOut(u32),
    /// The library's own error.
    Core(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Core(error)
    }
}

pub(crate) fn effect_of(failed: &Failed) -> Effect {
    match failed {
        Failed::NotSent(_) => Effect::None,
        Failed::TimedOut(_) | Failed::Core(_) => Effect::Unknown,
    }
}
