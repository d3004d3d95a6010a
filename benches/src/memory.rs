//! The memory store against the map that it is built on, and against moka.

use std::sync::Arc;

use bytes::Bytes;
use dashmap::DashMap;
use idempotency::{Idempotency, Key};
use idempotency_store_memory::MemoryStore;
use moka::ops::compute::Op;
use moka::sync::Cache;
use tokio::runtime::Runtime;

use crate::measure::{Fresh, Replay, Report, Round, Sides, pairs, round};
use crate::ours::Ours;
use crate::value::{Payment, decode, encode, keys};

const PAIRS: usize = 21;
const RUNS: usize = 50_000;

type Tell<'a> = &'a mut dyn FnMut(Report) -> std::io::Result<()>;

pub(crate) fn run(runtime: &Runtime, tasks: usize, filter: &str, tell: Tell<'_>) -> std::io::Result<()> {
    for kind in ["fresh", "replay"] {
        let case = format!("memory/{kind}/{tasks}");
        if !case.contains(filter) {
            continue;
        }
        let replay = kind == "replay";
        let mine = |n| one(runtime, ours(), n, tasks, replay);
        let raw = pairs(PAIRS, mine, |n| one(runtime, RawDashmap::default(), n, tasks, replay));
        tell(Report::of(case.clone(), "execute_once", "raw", &raw))?;
        let moka = pairs(PAIRS, mine, |n| one(runtime, RawMoka::default(), n, tasks, replay));
        tell(Report::of(case, "execute_once", "raw-moka", &moka))?;
    }
    Ok(())
}

fn ours() -> Ours {
    Ours(Idempotency::new(MemoryStore::new()))
}

/// One round on an empty map; for replays on one that was filled outside the measured time.
fn one<S: Sides>(runtime: &Runtime, subject: S, n: usize, tasks: usize, replay: bool) -> Round {
    let subject = Arc::new(subject);
    let keys = keys(n, RUNS);
    if replay {
        drop(round(runtime, Arc::new(Fresh(subject.clone())), keys.clone(), tasks));
        round(runtime, Arc::new(Replay(subject)), keys, tasks)
    } else {
        round(runtime, Arc::new(Fresh(subject)), keys, tasks)
    }
}

#[derive(Clone)]
enum Raw {
    Locked,
    Done(Bytes),
}

/// Two atomic computes on the map and the codec; a look, a clone and the codec.
#[derive(Default)]
struct RawDashmap(DashMap<String, Raw>);

impl Sides for RawDashmap {
    async fn fresh(&self, key: &Key) {
        self.0.entry(key.as_str().to_owned()).or_insert(Raw::Locked);
        let bytes = encode(key, &Payment::sample());
        if let Some(mut slot) = self.0.get_mut(key.as_str()) {
            *slot = Raw::Done(bytes);
        }
    }

    async fn replay(&self, key: &Key) {
        let Some(Raw::Done(bytes)) = self.0.get(key.as_str()).as_deref().cloned() else { panic!("a known key") };
        assert!(decode(key, &bytes).amount == 1999);
    }
}

struct RawMoka(Cache<String, Raw>);

impl Default for RawMoka {
    fn default() -> Self {
        Self(Cache::builder().build())
    }
}

impl Sides for RawMoka {
    async fn fresh(&self, key: &Key) {
        self.0.entry_by_ref(key.as_str()).and_compute_with(|held| match held {
            None => Op::Put(Raw::Locked),
            Some(_) => Op::Nop,
        });
        let bytes = encode(key, &Payment::sample());
        self.0.entry_by_ref(key.as_str()).and_compute_with(|_| Op::Put(Raw::Done(bytes)));
    }

    async fn replay(&self, key: &Key) {
        let Some(Raw::Done(bytes)) = self.0.get(key.as_str()) else { panic!("a known key") };
        assert!(decode(key, &bytes).amount == 1999);
    }
}
