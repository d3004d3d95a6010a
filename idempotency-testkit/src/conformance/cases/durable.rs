//! What was acknowledged is there again after the store was closed and opened.

use std::sync::Arc;

use idempotency_core::{Claim, Completion, Effect, Omitted};

use crate::conformance::bench::Bench;
use crate::conformance::desk::Desk;
use crate::conformance::failure::{Failure, Outcome};
use crate::conformance::sample::value;
use crate::rule::Rule;

/// A difference after reopening is a loss, whatever else it looks like.
fn lost(failure: Failure) -> Failure {
    match failure.rule() {
        Some(Rule::RequestsEnd | Rule::NoPanic | Rule::FencesGrow) | None => failure,
        Some(_) => {
            Failure::of(Rule::AcknowledgedIsDurable, format!("after the store was closed and opened again\n{failure}"))
        }
    }
}

async fn in_every_state(bench: &Arc<Bench>) -> Outcome<Vec<Desk>> {
    let mut desks = Vec::new();
    for number in 0..24 {
        let mut desk = bench.desk(format!("durable {number}"));
        let claim = Claim { confirms: number % 2 == 1, ..bench.claim(1) };
        let lock = desk.granted(&claim).await?.lock;
        match number % 8 {
            0 => drop(desk.store(lock, &value(format!("kept {number}")), bench.times.retention).await?),
            1 => drop(desk.release(lock, Effect::None).await?),
            2 => drop(desk.release(lock, Effect::Unknown).await?),
            3 => drop(desk.extend(lock, bench.times.lease * 2).await?),
            4 => drop(desk.release(lock, Effect::Settled).await?),
            5 => drop(desk.store(lock, &value(vec![3; 100_000]), bench.times.retention).await?),
            6 => {
                desk.release(lock, Effect::Unknown).await?;
                desk.granted(&bench.claim(2)).await?;
            }
            _ => drop(desk.store(lock, &Completion::Omitted(Omitted::ByChoice), bench.times.retention).await?),
        }
        desks.push(desk);
    }
    Ok(desks)
}

pub(crate) async fn what_was_acknowledged_is_there_after_reopening(bench: Arc<Bench>) -> Outcome {
    let mut desks = in_every_state(&bench).await?;
    for _ in 0..2 {
        bench.reopen().await?;
        for desk in &mut desks {
            desk.look().await.map_err(lost)?;
        }
    }
    for (number, desk) in desks.iter_mut().enumerate() {
        // The holder of a lock holds it still, and a call sent again is known again.
        let lock = desk.last_lock();
        match number % 3 {
            0 => drop(desk.acquire(&bench.claim(2)).await.map_err(lost)?),
            1 => drop(desk.store(lock, &value("after"), bench.times.retention).await.map_err(lost)?),
            _ => drop(desk.release(lock, Effect::Unknown).await.map_err(lost)?),
        }
    }
    Ok(())
}

/// Also for a key that the store has long forgotten.
pub(crate) async fn fences_grow_over_reopening(bench: Arc<Bench>) -> Outcome {
    let mut desk = bench.desk("fences");
    for round in 0..4 {
        for owner in 0..3 {
            desk.complete(&bench.claim(10 * round + owner), &value("done")).await?;
            bench.pass(bench.times.retention + bench.purged_by()).await;
        }
        if round % 2 == 0 && bench.has(crate::conformance::Capability::Upkeep) {
            let purged = bench.upkeep()?.purge(100).await;
            purged.map_err(|error| Failure::of(Rule::RowsAreAnswered, format!("purge failed: {error}")))?;
        }
        bench.reopen().await?;
    }
    Ok(())
}

/// Reopened between any two calls, the store answers as if it had not been.
pub(crate) async fn a_key_goes_on_over_reopening_as_without(bench: Arc<Bench>) -> Outcome {
    let mut desk = bench.desk("goes on");
    for owner in 1..4 {
        let lock = desk.granted(&bench.claim(owner)).await.map_err(lost)?.lock;
        bench.reopen().await?;
        desk.granted(&bench.claim(owner)).await.map_err(lost)?;
        desk.extend(lock, bench.times.lease).await.map_err(lost)?;
        bench.reopen().await?;
        desk.acquire(&bench.claim(50)).await.map_err(lost)?;
        bench.pass(bench.times.lease).await;
    }
    let lock = desk.granted(&bench.claim(60)).await.map_err(lost)?.lock;
    bench.reopen().await?;
    desk.store(lock, &value("done"), bench.times.retention).await.map_err(lost)?;
    bench.reopen().await?;
    desk.store(lock, &value("done"), bench.times.retention).await.map_err(lost)?;
    desk.acquire(&bench.claim(61)).await.map_err(lost)?;
    Ok(())
}
