//! The sled store against sled's own calls, made durable by the same shared flush.

use std::sync::Arc;

use idempotency::{Idempotency, Key};
use idempotency_store_sled::{Bare, Durability, SledStore, SledStoreConfig};
use tokio::runtime::Runtime;

use crate::measure::{Fresh, Replay, Report, Round, Sides, pairs, round};
use crate::ours::Ours;
use crate::value::{Payment, decode, encode, keys};

const PAIRS: usize = 15;

type Tell<'a> = &'a mut dyn FnMut(Report) -> std::io::Result<()>;

pub(crate) fn run(runtime: &Runtime, tasks: usize, filter: &str, tell: Tell<'_>) -> std::io::Result<()> {
    for kind in ["fresh", "replay"] {
        let case = format!("sled/{kind}/{tasks}");
        if !case.contains(filter) {
            continue;
        }
        let folder = tempfile::tempdir()?;
        let config = SledStoreConfig::new(folder.path().join("ours"));
        let store = runtime.block_on(SledStore::open(config)).map_err(std::io::Error::other)?;
        let ours = Arc::new(Ours(Idempotency::new(store)));
        let bare = Bare::open(&folder.path().join("raw"), Durability::Power).map_err(std::io::Error::other)?;
        let raw = Arc::new(Raw(bare));
        let runs = if kind == "replay" { 20_000 } else { tasks * 40 + 260 };
        if kind == "replay" {
            // Filled by many tasks at once, outside the measured time.
            drop(round(runtime, Arc::new(Fresh(ours.clone())), keys(0, runs), 64));
            drop(round(runtime, Arc::new(Fresh(raw.clone())), keys(0, runs), 64));
        }
        let replay = kind == "replay";
        // A fresh run needs keys that no round before had.
        let keys = |n| keys(if replay { 0 } else { n + 1 }, runs);
        let pairs = pairs(
            PAIRS,
            |n| one(runtime, ours.clone(), keys(n), tasks, replay),
            |n| one(runtime, raw.clone(), keys(n), tasks, replay),
        );
        tell(Report::of(case, "execute_once", "raw", &pairs))?;
    }
    Ok(())
}

fn one<S: Sides>(runtime: &Runtime, subject: Arc<S>, keys: Vec<Key>, tasks: usize, replay: bool) -> Round {
    if replay {
        round(runtime, Arc::new(Replay(subject)), keys, tasks)
    } else {
        round(runtime, Arc::new(Fresh(subject)), keys, tasks)
    }
}

struct Raw(Bare);

impl Sides for Raw {
    async fn fresh(&self, key: &Key) {
        let name = key.as_str().as_bytes();
        let created = self.0.create(name, &[0]).await.expect("the disk answers");
        assert!(created, "a fresh key");
        self.0.insert(name, &encode(key, &Payment::sample())).await.expect("the disk answers");
    }

    async fn replay(&self, key: &Key) {
        let bytes = self.0.get(key.as_str().as_bytes()).expect("the disk answers").expect("a known key");
        assert!(decode(key, &bytes).amount == 1999);
    }
}
