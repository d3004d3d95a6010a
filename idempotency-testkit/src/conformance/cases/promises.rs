//! The invariants, by name, and the fences.

use std::sync::Arc;

use idempotency_core::{Acquired, Claim, Effect, OnUnknown, Timestamp};

use crate::conformance::bench::Bench;
use crate::conformance::failure::{Failure, Outcome};
use crate::conformance::sample::{self, other_request, value};
use crate::rule::Rule;

pub(crate) async fn one_live_holder_at_a_time(bench: Arc<Bench>) -> Outcome {
    let mut desk = bench.desk("one holder");
    for owner in 1..4 {
        let lock = desk.granted(&bench.claim(owner * 10)).await?.lock;
        for other in 1..4 {
            for on_unknown in super::asks::POLICIES {
                let acquired = desk.acquire(&Claim { on_unknown, ..bench.claim(owner * 10 + other) }).await?;
                desk.expect("in progress", matches!(acquired, Acquired::InProgress { .. }))?;
            }
            bench.pass(bench.times.lease / 3).await;
            desk.extend(lock, bench.times.lease).await?;
        }
        // Until the very end of its lease.
        bench.pass(bench.times.lease - std::time::Duration::from_millis(1)).await;
        desk.acquire(&bench.claim(99)).await?;
        desk.release(desk.last_lock(), Effect::Settled).await?;
    }
    Ok(())
}

pub(crate) async fn a_result_does_not_change_until_its_retention_ends(bench: Arc<Bench>) -> Outcome {
    let mut desk = bench.desk("unchanging");
    let lock = desk.complete(&bench.claim(1), &value("the result")).await?;
    for round in 0..4 {
        desk.acquire(&bench.claim(2 + round)).await?;
        desk.store(lock, &value("another"), bench.times.retention * 2).await?;
        desk.release(lock, Effect::Settled).await?;
        desk.acquire(&Claim { settles: true, ..bench.claim(20 + round) }).await?;
        bench.pass(bench.times.retention / 5).await;
    }
    desk.look().await?;
    bench.pass(bench.times.retention / 5).await;
    let anew = desk.granted(&bench.claim(50)).await?;
    desk.expect("a first attempt", anew.attempt == 1 && anew.prior.is_none())
}

pub(crate) async fn a_completed_key_is_never_acquired(bench: Arc<Bench>) -> Outcome {
    let mut desk = bench.desk("no lock");
    // Completed after a takeover, so that there is more to trip over.
    desk.granted(&bench.claim(1)).await?;
    bench.pass(bench.times.lease).await;
    desk.complete(&bench.claim(2), &value("done")).await?;
    for owner in 1..4 {
        for on_unknown in super::asks::POLICIES {
            for (confirms, settles) in [(false, false), (true, false), (false, true), (true, true)] {
                let acquired = desk.acquire(&Claim { on_unknown, confirms, settles, ..bench.claim(owner) }).await?;
                desk.expect("the result", matches!(acquired, Acquired::Completed(_)))?;
            }
        }
    }
    Ok(())
}

pub(crate) async fn another_request_never_runs_and_never_sees_the_result(bench: Arc<Bench>) -> Outcome {
    let theirs = |owner| Claim { fingerprint: other_request(), ..bench.claim(owner) };
    let mut desk = bench.desk("cross-talk");
    let lock = desk.granted(&bench.claim(1)).await?.lock;
    desk.acquire(&theirs(2)).await?;
    desk.release(lock, Effect::Unknown).await?;
    desk.acquire(&theirs(2)).await?;
    desk.acquire(&Claim { settles: true, ..theirs(2) }).await?;
    desk.complete(&bench.claim(3), &value("not theirs")).await?;
    let acquired = desk.acquire(&theirs(2)).await?;
    desk.expect("a mismatch", acquired == Acquired::Mismatch)?;
    bench.pass(bench.times.retention).await;
    desk.complete(&theirs(2), &value("theirs")).await?;
    let acquired = desk.acquire(&bench.claim(4)).await?;
    desk.expect("a mismatch", acquired == Acquired::Mismatch)
}

/// Through six attempts, each asked for twice, as after a lost answer.
pub(crate) async fn a_run_after_an_unknown_attempt_is_always_told_so(bench: Arc<Bench>) -> Outcome {
    let mut desk = bench.desk("never silent");
    for attempt in 1..7 {
        let claim = bench.claim(u128::from(attempt));
        let first = desk.granted(&claim).await?;
        let again = desk.granted(&claim).await?;
        desk.expect("the same grant", first == again)?;
        desk.expect("to be told", first.prior.map_or(0, |prior| prior.attempt) + 1 == attempt)?;
        if attempt % 2 == 0 {
            desk.release(first.lock, Effect::Unknown).await?;
        } else {
            bench.pass(bench.times.lease).await;
        }
    }
    // One that never confirmed speaks for nobody either.
    desk.granted(&Claim { confirms: true, ..bench.claim(7) }).await?;
    bench.pass(bench.times.lease).await;
    let next = desk.granted(&bench.claim(8)).await?;
    desk.expect("to be told of attempt 6", next.prior.is_some_and(|prior| prior.attempt == 6))
}

/// A key that was lost among so many others was forgotten, whatever else it looks like.
fn forgotten(failure: Failure) -> Failure {
    match failure.rule() {
        Some(Rule::HoldersKeepTheirLock) => {
            Failure::of(Rule::NothingIsForgottenEarly, format!("among many other keys\n{failure}"))
        }
        _ => failure,
    }
}

/// Those that hold on to their key in every way, and many new keys beside them.
pub(crate) async fn nothing_is_forgotten_before_its_time(bench: Arc<Bench>) -> Outcome {
    let mut desks = Vec::new();
    for number in 0..6 {
        let mut desk = bench.desk(format!("kept {number}"));
        let refuses = Claim { on_unknown: OnUnknown::Refuse, ..bench.claim(1) };
        let lock = desk.granted(&refuses).await?.lock;
        match number {
            0 => drop(desk.store(lock, &value("kept"), bench.times.retention).await?),
            1 => drop(desk.store(lock, &value(vec![1; 50_000]), bench.times.retention).await?),
            2 => drop(desk.release(lock, Effect::None).await?),
            3 => drop(desk.release(lock, Effect::Unknown).await?),
            4 => drop(desk.extend(lock, bench.times.retention).await?),
            _ => {}
        }
        desks.push(desk);
    }
    let most = bench.rounds(2000) as usize;
    for part in 0..4_usize {
        let crowd = (0..most / 4 + 1).map(|number| bench.desk(format!("crowd {part}.{number}"))).collect();
        let work = |_, mut desk: crate::conformance::desk::Desk| async move {
            let claim = desk.bench.claim(1);
            let acquired = crate::call::Call::Acquire(Box::new(claim));
            desk.ask(&acquired).await?;
            let lock = desk.last_lock();
            desk.ask(&crate::call::Call::Store(lock, value("crowd"), desk.bench.times.retention)).await?;
            Ok(desk)
        };
        bench.at_each(crowd, work).await.map_err(forgotten)?;
        if bench.has(crate::conformance::Capability::Upkeep) {
            let purged = bench.upkeep()?.purge(usize::MAX).await;
            purged.map_err(|error| Failure::of(Rule::RowsAreAnswered, format!("purge failed: {error}")))?;
        }
        for desk in &mut desks {
            desk.look().await?;
        }
        bench.pass(bench.times.retention / 6).await;
    }
    for desk in &mut desks {
        desk.acquire(&bench.claim(2)).await?;
    }
    // The unknown one outlives the others.
    bench.pass(bench.times.retention / 3).await;
    for desk in &mut desks {
        desk.look().await?;
        desk.acquire(&bench.claim(3)).await?;
    }
    Ok(())
}

/// Over a release, an unknown end, a lapse, a completion and being forgotten.
pub(crate) async fn fences_grow_with_every_acquisition(bench: Arc<Bench>) -> Outcome {
    let mut desk = bench.desk("fences");
    for owner in 0..3 {
        let lock = desk.granted(&bench.claim(10 * owner)).await?.lock;
        desk.release(lock, Effect::None).await?;
        let lock = desk.granted(&bench.claim(10 * owner + 1)).await?.lock;
        desk.release(lock, Effect::Unknown).await?;
        desk.granted(&bench.claim(10 * owner + 2)).await?;
        bench.pass(bench.times.lease).await;
        desk.complete(&bench.claim(10 * owner + 3), &value("done")).await?;
        bench.pass(bench.times.retention + bench.purged_by()).await;
        if owner == 1 && bench.has(crate::conformance::Capability::Upkeep) {
            // The store remembers nothing of the key.
            let purged = bench.upkeep()?.purge(100).await;
            purged.map_err(|error| Failure::of(Rule::RowsAreAnswered, format!("purge failed: {error}")))?;
        }
    }
    Ok(())
}

pub(crate) async fn fences_grow_though_the_clock_steps_back(bench: Arc<Bench>) -> Outcome {
    let clock = bench.clock()?;
    let start = idempotency_core::Clock::now(&clock);
    let mut desk = bench.desk("stepping back");
    // A store whose fences rest on its clock remembers by the record alone.
    desk.fences_outlive_the_record = false;
    for owner in 0..6 {
        let lock = desk.granted(&bench.claim(10 + owner)).await?.lock;
        desk.release(lock, if owner % 2 == 0 { Effect::None } else { Effect::Settled }).await?;
        clock.set(Timestamp::from_micros(start.as_micros() - 3_600_000_000 * (1 + u64::from(owner as u8))));
    }
    clock.set(start);
    desk.granted(&bench.claim(1)).await?;
    Ok(())
}

pub(crate) async fn a_lock_does_not_lapse_early_though_the_clock_steps_back(bench: Arc<Bench>) -> Outcome {
    let clock = bench.clock()?;
    let start = idempotency_core::Clock::now(&clock);
    let mut live = bench.desk("live");
    let mut done = bench.desk("done");
    let lock = live.granted(&bench.claim(1)).await?.lock;
    done.complete(&bench.claim(1), &value("done")).await?;
    for back in [1, 60, 86_400, 10_000_000] {
        clock.set(Timestamp::from_micros(start.as_micros() - back * 1_000_000));
        let acquired = live.acquire(&bench.claim(2)).await?;
        live.expect("in progress", matches!(acquired, Acquired::InProgress { .. }))?;
        done.acquire(&bench.claim(2)).await?;
        live.look().await?;
        // Counted anew, it is by the present clock, and then shorter.
        live.extend(lock, bench.times.lease).await?;
        live.acquire(&bench.claim(2)).await?;
    }
    clock.set(start);
    live.acquire(&bench.claim(3)).await?;
    done.look().await
}

pub(crate) async fn a_clock_that_jumps_ahead_ends_leases_and_retentions(bench: Arc<Bench>) -> Outcome {
    let clock = bench.clock()?;
    for (number, jump) in [10, 1000, 5000, 100_000, 40_000_000].into_iter().enumerate() {
        let mut live = bench.desk(format!("live {number}"));
        let mut done = bench.desk(format!("done {number}"));
        let mut told = bench.desk(format!("told {number}"));
        live.granted(&bench.claim(1)).await?;
        done.complete(&bench.claim(1), &value("done")).await?;
        let lock = told.granted(&bench.claim(1)).await?.lock;
        told.release(lock, Effect::Unknown).await?;
        clock.advance(std::time::Duration::from_secs(jump));
        for desk in [&mut live, &mut done, &mut told] {
            desk.look().await?;
            desk.acquire(&bench.claim(2)).await?;
        }
    }
    Ok(())
}

pub(crate) async fn what_the_store_guarantees_can_be_asked(bench: Arc<Bench>) -> Outcome {
    let failed = |error| Failure::of(Rule::RowsAreAnswered, format!("guarantees() failed: {error}"));
    let first = bench.store().guarantees().await.map_err(failed)?;
    if first.store.is_empty() {
        return Err(Failure::of(Rule::RowsAreAnswered, "the store says no name of its own"));
    }
    let _granted = bench.send(&sample::key("any"), &crate::call::Call::Acquire(Box::new(bench.claim(1)))).await?;
    let again = bench.store().guarantees().await.map_err(failed)?;
    if first != again {
        let text = format!("asked twice, it guarantees first {first:?}, then {again:?}");
        return Err(Failure::of(Rule::RowsAreAnswered, text));
    }
    Ok(())
}
