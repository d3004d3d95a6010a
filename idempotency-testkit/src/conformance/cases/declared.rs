//! What a store declares to lack, and whether that is so.

use std::sync::Arc;
use std::time::Duration;

use idempotency_core::Clock;

use super::watching;
use crate::conformance::Capability;
use crate::conformance::bench::Bench;
use crate::conformance::failure::{Failure, Outcome};

pub(crate) async fn what_is_declared_is_true(bench: Arc<Bench>) -> Outcome {
    let mut untrue = Vec::new();
    println!("what the cases could use of this store:");
    for what in Capability::ALL {
        let given = match what {
            Capability::Watch => watching::resolves(&bench).await?,
            Capability::Clock => bench.clock().is_ok() && is_followed(&bench).await?,
            Capability::Upkeep | Capability::Reopen => bench.has(what),
        };
        let declared = bench.declared(what);
        let cases = crate::conformance::cases().iter().filter(|case| case.needs() == Some(what)).count();
        match &declared {
            None => println!("  {:40} yes; {cases} cases need it", what.meaning()),
            Some(why) => println!("  {:40} declared lacking, {cases} cases not tried: {why}", what.meaning()),
        }
        let meaning = what.meaning();
        match (given, declared) {
            (true, Some(why)) => untrue.push(format!("it {meaning}, but is declared to lack that (\"{why}\")")),
            (false, None) if what == Capability::Clock && bench.clock().is_ok() => {
                untrue.push("it does not go by the clock that it is said to be on".into());
            }
            (false, None) => {
                untrue.push(format!("nothing shows that it {meaning}: say why with `.lacks(Capability::{what:?}, …)`"));
            }
            (true, None) | (false, Some(_)) => {}
        }
    }
    if untrue.is_empty() { Ok(()) } else { Err(Failure::other(format!("of this store, {}", untrue.join("; and ")))) }
}

/// Whether the store goes by the clock that the test moves.
async fn is_followed(bench: &Arc<Bench>) -> Outcome<bool> {
    let desk = bench.desk("whose clock");
    let claim = crate::call::Call::Acquire(Box::new(bench.claim(1)));
    let _granted = bench.send(&desk.key, &claim).await?;
    let clock = bench.clock()?;
    for step in [0, 1, 7, 1_000_000] {
        clock.advance(Duration::from_micros(step));
        let found = bench.store().get(&desk.key).await;
        let found = found.map_err(|error| Failure::other(format!("get failed: {error}")))?;
        if found.is_none_or(|found| found.now != clock.now()) {
            return Ok(false);
        }
    }
    Ok(true)
}
