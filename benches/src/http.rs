//! Requests over loopback through the HTTP layer against bare services: one with nothing to do, for replays one
//! that has 20 µs of work, and one that keeps its responses itself.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use idempotency::Idempotency;
use idempotency::http::server::IdempotencyLayer;
use idempotency_store_memory::MemoryStore;
use tokio::runtime::Runtime;

use crate::measure::{Report, Round, pairs, round};
use crate::served::{Served, keeping, service};
use crate::value::keys;

const PAIRS: usize = 11;
const WORK: Duration = Duration::from_micros(20);
/// What it costs a caller that a service does a little more (docs/benchmarks.md).
const A_LITTLE: Duration = Duration::from_micros(10);

type Tell<'a> = &'a mut dyn FnMut(Report) -> io::Result<()>;

/// A case: what is measured, and beside what.
struct Case {
    kind: &'static str,
    subject: (&'static str, Router),
    baseline: (&'static str, Router),
    replays: bool,
}

pub(crate) fn run(runtime: &Runtime, tasks: usize, filter: &str, tell: Tell<'_>) -> io::Result<()> {
    let layered =
        || ("layer", service(Duration::ZERO).layer(IdempotencyLayer::new(Idempotency::new(MemoryStore::new()))));
    let bare = |work, name| (name, service(work));
    let none = Duration::ZERO;
    let cases = [
        Case { kind: "fresh", subject: layered(), baseline: bare(none, "bare"), replays: false },
        Case { kind: "replay", subject: layered(), baseline: bare(WORK, "bare, 20 µs"), replays: true },
        Case { kind: "fresh-kept", subject: layered(), baseline: ("bare, keeps", keeping()), replays: false },
        Case { kind: "spin", subject: bare(A_LITTLE, "bare, 10 µs"), baseline: bare(none, "bare"), replays: false },
    ];
    for Case { kind, subject, baseline, replays } in cases {
        let case = format!("http/{kind}/{tasks}");
        if !case.contains(filter) {
            continue;
        }
        let runs = if tasks == 1 { 2_000 } else { 10_000 };
        let served = |router| Ok::<_, io::Error>(Arc::new(runtime.block_on(Served::start(router))?));
        let (ours, theirs) = (served(subject.1)?, served(baseline.1)?);
        // A fresh request needs a key that no round before had; the connections are made beforehand.
        let of = |n| keys(if replays { 0 } else { n }, runs);
        for side in [&ours, &theirs] {
            drop(round(runtime, side.clone(), of(PAIRS), tasks));
        }
        let side = |side: &Arc<Served>, n| -> Round { round(runtime, side.clone(), of(n), tasks) };
        let pairs = pairs(PAIRS, |n| side(&ours, n), |n| side(&theirs, n));
        tell(Report::of(case, subject.0, baseline.0, &pairs))?;
    }
    Ok(())
}
