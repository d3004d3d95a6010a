//! Requests over loopback through either layer, over the same bare service.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use idempotency::Idempotency;
use idempotency::http::server::IdempotencyLayer;
use idempotency_store_memory::MemoryStore;
use tokio::runtime::Runtime;

use crate::measure::{Report, Round, pairs, round};
use crate::served::{Served, service};
use crate::value::keys;

const PAIRS: usize = 11;
const RUNS: usize = 5_000;

/// One case; `None` where the filter leaves it out.
pub(crate) fn run(
    runtime: &Runtime,
    kind: &str,
    tasks: usize,
    filter: &str,
) -> Result<Option<Report>, Box<dyn std::error::Error>> {
    let case = format!("http/{kind}/{tasks}");
    if !case.contains(filter) {
        return Ok(None);
    }
    let bare = || service(Duration::ZERO);
    let ours = bare().layer(IdempotencyLayer::new(Idempotency::new(MemoryStore::new())));
    let store = idempotent::memory::MemoryStore::builder().try_build()?;
    let theirs = bare().layer(idempotent::middleware::IdempotencyLayer::new(store));
    let start = |router: Router| Ok::<_, std::io::Error>(Arc::new(runtime.block_on(Served::start(router))?));
    let (ours, theirs) = (start(ours)?, start(theirs)?);
    let replay = kind == "replay";
    let side = |side: &Arc<Served>, n| -> Round {
        round(runtime, side.clone(), keys(if replay { 0 } else { n }, RUNS), tasks)
    };
    for warmed in [&ours, &theirs] {
        drop(side(warmed, PAIRS));
    }
    let pairs = pairs(PAIRS, |n| side(&ours, n), |n| side(&theirs, n));
    Ok(Some(Report::of(case, "layer", "idempotent-2.0", &pairs)))
}
