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

/// Random numbers from a seed (SplitMix64).
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        let at = self.below(from.len().max(1) as u64) as usize;
        from.get(at)
    }
}
