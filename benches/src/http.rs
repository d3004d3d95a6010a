//! Requests over loopback through the HTTP layer against the bare service, which for replays has 20 µs of
//! work to do.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use idempotency::Idempotency;
use idempotency::http::server::IdempotencyLayer;
use idempotency_store_memory::MemoryStore;
use tokio::runtime::Runtime;

use crate::measure::{Report, Round, pairs, round};
use crate::served::{Served, service};
use crate::value::keys;

const PAIRS: usize = 11;
const WORK: Duration = Duration::from_micros(20);

type Tell<'a> = &'a mut dyn FnMut(Report) -> io::Result<()>;

pub(crate) fn run(runtime: &Runtime, tasks: usize, filter: &str, tell: Tell<'_>) -> io::Result<()> {
    for kind in ["fresh", "replay"] {
        let case = format!("http/{kind}/{tasks}");
        if !case.contains(filter) {
            continue;
        }
        let replay = kind == "replay";
        let runs = if tasks == 1 { 2_000 } else { 10_000 };
        let layer = IdempotencyLayer::new(Idempotency::new(MemoryStore::new()));
        let work = if replay { WORK } else { Duration::ZERO };
        let layered = Arc::new(runtime.block_on(Served::start(service(Duration::ZERO).layer(layer)))?);
        let bare = Arc::new(runtime.block_on(Served::start(service(work)))?);
        // A fresh request needs a key that no round before had; the connections are made beforehand.
        let of = |n| keys(if replay { 0 } else { n }, runs);
        for side in [&layered, &bare] {
            drop(round(runtime, side.clone(), keys(if replay { 0 } else { PAIRS }, runs), tasks));
        }
        let side = |side: &Arc<Served>, n| -> Round { round(runtime, side.clone(), of(n), tasks) };
        let pairs = pairs(PAIRS, |n| side(&layered, n), |n| side(&bare, n));
        tell(Report::of(case, "layer", if replay { "bare, 20 µs" } else { "bare" }, &pairs))?;
    }
    Ok(())
}
