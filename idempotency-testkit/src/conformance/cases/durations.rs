//! Leases and retentions last exactly as long as was asked for.

use std::sync::Arc;
use std::time::Duration;

use idempotency_core::{Claim, Effect, LONGEST, SHORTEST};

use crate::conformance::bench::Bench;
use crate::conformance::desk::Desk;
use crate::conformance::failure::Outcome;
use crate::conformance::sample::value;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// From the shortest to the longest, with some that are no whole seconds.
const ALL: [Duration; 9] = [
    SHORTEST,
    Duration::from_millis(20),
    Duration::from_millis(999),
    Duration::from_secs(1),
    Duration::from_millis(1500),
    Duration::from_secs(30),
    Duration::from_secs(24 * 60 * 60),
    Duration::from_secs(30 * 24 * 60 * 60),
    LONGEST,
];

/// Looks at the key at moments around the end of `time`: all of them where the clock can be moved, the
/// end itself where it is near in real time.
async fn around_the_end(desk: &mut Desk, time: Duration) -> Outcome {
    let bench = desk.bench.clone();
    let micro = Duration::from_micros(1);
    if bench.clock().is_ok() {
        for part in [time / 1000, time / 2 - time / 1000, time - time / 2 - micro, micro] {
            bench.pass(part).await;
            desk.look().await?;
        }
    } else if time <= 2 * bench.times.lease {
        bench.pass(time / 2).await;
        desk.look().await?;
        bench.pass(time / 2).await;
        desk.look().await?;
    }
    Ok(())
}

pub(crate) async fn a_lease_lasts_as_long_as_was_asked_for(bench: Arc<Bench>) -> Outcome {
    for (number, lease) in ALL.into_iter().enumerate() {
        let mut desk = bench.desk(format!("lease {number}"));
        let claim = |owner| Claim { lease, unknown_retention: 30 * DAY, ..bench.claim(owner) };
        desk.granted(&claim(1)).await?;
        // Answered with the time that is left, to the microsecond or as near as clocks can be compared.
        desk.acquire(&claim(2)).await?;
        around_the_end(&mut desk, lease).await?;
        desk.acquire(&claim(3)).await?;
    }
    Ok(())
}

pub(crate) async fn an_extension_lasts_as_long_as_was_asked_for(bench: Arc<Bench>) -> Outcome {
    for (number, lease) in ALL.into_iter().enumerate() {
        let mut desk = bench.desk(format!("extension {number}"));
        let claim = |owner| Claim { unknown_retention: 30 * DAY, ..bench.claim(owner) };
        let lock = desk.granted(&claim(1)).await?.lock;
        desk.extend(lock, lease).await?;
        desk.acquire(&claim(2)).await?;
        around_the_end(&mut desk, lease).await?;
        desk.acquire(&claim(3)).await?;
    }
    Ok(())
}

pub(crate) async fn a_lost_answer_counts_the_lease_anew_as_it_was_asked_for(bench: Arc<Bench>) -> Outcome {
    for (number, lease) in ALL.into_iter().enumerate() {
        let mut desk = bench.desk(format!("again {number}"));
        desk.granted(&bench.claim(1)).await?;
        desk.granted(&Claim { lease, ..bench.claim(1) }).await?;
        desk.acquire(&bench.claim(2)).await?;
        around_the_end(&mut desk, lease).await?;
    }
    Ok(())
}

pub(crate) async fn a_result_is_kept_as_long_as_was_asked_for(bench: Arc<Bench>) -> Outcome {
    for (number, retention) in ALL.into_iter().enumerate() {
        let mut desk = bench.desk(format!("result {number}"));
        let lock = desk.granted(&bench.claim(1)).await?.lock;
        // By the call's retention, not by the claim's.
        desk.store(lock, &value("kept"), retention).await?;
        around_the_end(&mut desk, retention).await?;
        desk.acquire(&bench.claim(2)).await?;
    }
    Ok(())
}

pub(crate) async fn a_released_attempt_is_remembered_as_long_as_was_asked_for(bench: Arc<Bench>) -> Outcome {
    for effect in [Effect::None, Effect::Settled] {
        for (number, retention) in ALL.into_iter().enumerate() {
            let mut desk = bench.desk(format!("released {effect:?} {number}"));
            let claim = |owner| Claim { retention, unknown_retention: retention, ..bench.claim(owner) };
            let lock = desk.granted(&claim(1)).await?.lock;
            desk.release(lock, effect).await?;
            around_the_end(&mut desk, retention).await?;
            desk.acquire(&claim(2)).await?;
        }
    }
    Ok(())
}

pub(crate) async fn an_unknown_attempt_is_remembered_as_long_as_was_asked_for(bench: Arc<Bench>) -> Outcome {
    for (number, unknown_retention) in ALL.into_iter().enumerate() {
        let claim = |owner| Claim { retention: SHORTEST, unknown_retention, ..bench.claim(owner) };
        let mut told = bench.desk(format!("told {number}"));
        let lock = told.granted(&claim(1)).await?.lock;
        told.release(lock, Effect::Unknown).await?;
        around_the_end(&mut told, unknown_retention).await?;
        told.acquire(&claim(2)).await?;

        let mut lapsed = bench.desk(format!("lapsed {number}"));
        lapsed.granted(&claim(1)).await?;
        bench.pass(bench.times.lease).await;
        around_the_end(&mut lapsed, unknown_retention).await?;
        lapsed.acquire(&claim(2)).await?;
    }
    Ok(())
}

/// An attempt that asks for less does not shorten how long one before it is remembered.
pub(crate) async fn an_unknown_attempt_is_not_forgotten_for_one_after_it(bench: Arc<Bench>) -> Outcome {
    let mut desk = bench.desk("longer");
    let long = bench.times.unknown_retention * 3;
    let lock = desk.granted(&Claim { unknown_retention: long, ..bench.claim(1) }).await?.lock;
    desk.release(lock, Effect::Unknown).await?;
    for owner in 2..4 {
        let lock = desk.granted(&bench.claim(owner)).await?.lock;
        desk.release(lock, if owner == 2 { Effect::None } else { Effect::Unknown }).await?;
        bench.pass(bench.times.unknown_retention).await;
        desk.look().await?;
    }
    let next = desk.granted(&bench.claim(9)).await?;
    desk.expect("to be told of a prior attempt", next.prior.is_some())
}
