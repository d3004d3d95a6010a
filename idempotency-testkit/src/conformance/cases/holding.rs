//! What the holder of a lock is answered, and who no longer holds one; and what `get` shows.

use std::sync::Arc;

use idempotency_core::{Claim, Effect, Held};

use crate::conformance::bench::Bench;
use crate::conformance::failure::Outcome;
use crate::conformance::sample::value;

const EFFECTS: [Effect; 3] = [Effect::None, Effect::Unknown, Effect::Settled];

pub(crate) async fn storing_a_result_completes_the_key(bench: Arc<Bench>) -> Outcome {
    let mut desk = bench.desk("stored");
    let lock = desk.granted(&bench.claim(1)).await?.lock;
    let held = desk.store(lock, &value("stored"), bench.times.retention).await?;
    desk.expect("a completed key", held == Held::Held && desk.is_completed())
}

pub(crate) async fn storing_again_is_held_and_starts_no_retention_anew(bench: Arc<Bench>) -> Outcome {
    let mut desk = bench.desk("stored again");
    let lock = desk.complete(&bench.claim(1), &value("first")).await?;
    for _ in 0..3 {
        bench.pass(bench.times.retention / 4).await;
        let held = desk.store(lock, &value("first"), bench.times.retention).await?;
        desk.expect("held", held == Held::Held)?;
    }
    bench.pass(bench.times.retention / 4).await;
    desk.look().await
}

pub(crate) async fn storing_another_value_over_a_result_changes_nothing(bench: Arc<Bench>) -> Outcome {
    let mut desk = bench.desk("stored over");
    let lock = desk.complete(&bench.claim(1), &value("first")).await?;
    for other in [value("another"), value(""), value(vec![7; 20_000])] {
        desk.store(lock, &other, bench.times.retention).await?;
    }
    for effect in EFFECTS {
        desk.release(lock, effect).await?;
    }
    desk.extend(lock, bench.times.lease).await?;
    Ok(())
}

/// As long as nobody else took over.
pub(crate) async fn the_last_holder_may_end_its_attempt_after_its_lease(bench: Arc<Bench>) -> Outcome {
    let mut desks = Vec::new();
    for number in 0..5 {
        let mut desk = bench.desk(format!("late {number}"));
        desk.granted(&bench.claim(1)).await?;
        desks.push(desk);
    }
    bench.pass(bench.times.lease * 2).await;
    let [stores, extends, releases @ ..] = &mut desks[..] else { return Ok(()) };
    stores.store(stores.last_lock(), &value("late"), bench.times.retention).await?;
    extends.extend(extends.last_lock(), bench.times.lease).await?;
    extends.acquire(&bench.claim(2)).await?;
    for (desk, effect) in releases.iter_mut().zip(EFFECTS) {
        let held = desk.release(desk.last_lock(), effect).await?;
        desk.expect("held", held == Held::Held)?;
    }
    Ok(())
}

pub(crate) async fn extending_counts_the_lease_anew_from_now(bench: Arc<Bench>) -> Outcome {
    let mut desk = bench.desk("extended");
    let lock = desk.granted(&bench.claim(1)).await?.lock;
    for part in [3, 2, 4] {
        bench.pass(bench.times.lease / part).await;
        desk.extend(lock, bench.times.lease).await?;
        desk.acquire(&bench.claim(2)).await?;
    }
    // Shorter, too: the lease is what the last extension asked for.
    desk.extend(lock, bench.times.lease / 5).await?;
    bench.pass(bench.times.lease / 5).await;
    let taken_over = desk.granted(&bench.claim(2)).await?;
    desk.expect("a takeover", taken_over.prior.is_some())
}

pub(crate) async fn releasing_without_an_effect_frees_the_key(bench: Arc<Bench>) -> Outcome {
    let mut desk = bench.desk("no effect");
    let lock = desk.granted(&bench.claim(1)).await?.lock;
    desk.release(lock, Effect::None).await?;
    let next = desk.granted(&bench.claim(2)).await?;
    desk.expect("a next attempt without a prior one", next.prior.is_none() && next.attempt == 2)
}

pub(crate) async fn releasing_as_unknown_makes_the_key_unknown_at_once(bench: Arc<Bench>) -> Outcome {
    let mut desk = bench.desk("told");
    let lock = desk.granted(&bench.claim(1)).await?.lock;
    desk.release(lock, Effect::Unknown).await?;
    let next = desk.granted(&bench.claim(2)).await?;
    desk.expect("a takeover", next.prior.is_some())
}

pub(crate) async fn releasing_without_an_effect_leaves_an_unknown_attempt_before_it(bench: Arc<Bench>) -> Outcome {
    let mut desk = bench.desk("speaks for itself");
    let first = desk.granted(&bench.claim(1)).await?.lock;
    desk.release(first, Effect::Unknown).await?;
    for owner in 2..5 {
        let next = desk.granted(&bench.claim(owner)).await?;
        desk.expect("to be told of the first attempt", next.prior.is_some_and(|prior| prior.attempt == 1))?;
        desk.release(next.lock, Effect::None).await?;
    }
    // Settling ends that.
    let last = desk.granted(&bench.claim(5)).await?.lock;
    desk.release(last, Effect::Settled).await?;
    let after = desk.granted(&bench.claim(6)).await?;
    desk.expect("no prior attempt", after.prior.is_none())
}

pub(crate) async fn releasing_again_is_held(bench: Arc<Bench>) -> Outcome {
    for (number, effect) in EFFECTS.into_iter().enumerate() {
        for after_unknown in [false, true] {
            let mut desk = bench.desk(format!("released again {number} {after_unknown}"));
            if after_unknown {
                let first = desk.granted(&bench.claim(1)).await?.lock;
                desk.release(first, Effect::Unknown).await?;
            }
            let lock = desk.granted(&bench.claim(2)).await?.lock;
            for _ in 0..3 {
                let held = desk.release(lock, effect).await?;
                desk.expect("held", held == Held::Held)?;
            }
            // Another word about it is not the same call again.
            for other in EFFECTS {
                desk.release(lock, other).await?;
            }
        }
    }
    Ok(())
}

pub(crate) async fn a_stale_lock_changes_nothing(bench: Arc<Bench>) -> Outcome {
    let mut desk = bench.desk("stale");
    let first = desk.granted(&bench.claim(1)).await?.lock;
    desk.release(first, Effect::None).await?;
    let second = desk.granted(&bench.claim(2)).await?.lock;
    // The first owner once more: its first grant must not act for its second.
    desk.release(second, Effect::Unknown).await?;
    let third = desk.granted(&bench.claim(1)).await?.lock;
    let forged = idempotency_core::Lock { owner: third.owner, fence: first.fence };
    for round in 0..2 {
        for stale in [first, second, forged] {
            desk.extend(stale, bench.times.lease * 3).await?;
            desk.store(stale, &value("stale"), bench.times.retention).await?;
            for effect in EFFECTS {
                desk.release(stale, effect).await?;
            }
        }
        if round == 0 {
            desk.store(third, &value("the result"), bench.times.retention).await?;
        }
    }
    desk.expect("a result", desk.is_completed())
}

pub(crate) async fn a_lock_of_another_key_changes_nothing(bench: Arc<Bench>) -> Outcome {
    let (mut one, mut other) = (bench.desk("one"), bench.desk("other"));
    let ours = one.granted(&bench.claim(1)).await?.lock;
    let theirs = other.granted(&bench.claim(1)).await?.lock;
    one.extend(theirs, bench.times.lease * 2).await?;
    one.store(theirs, &value("theirs"), bench.times.retention).await?;
    one.release(theirs, Effect::None).await?;
    one.store(ours, &value("ours"), bench.times.retention).await?;
    other.look().await?;
    other.store(theirs, &value("theirs"), bench.times.retention).await?;
    one.look().await
}

pub(crate) async fn looking_changes_nothing_and_shows_the_whole_record(bench: Arc<Bench>) -> Outcome {
    let mut desk = bench.desk("looked at");
    desk.look().await?;
    let claim = Claim { confirms: true, ..bench.claim(1) };
    let lock = desk.granted(&claim).await?.lock;
    for _ in 0..3 {
        bench.pass(bench.times.lease / 8).await;
        desk.look().await?;
    }
    desk.extend(lock, bench.times.lease).await?;
    bench.pass(bench.times.lease).await;
    desk.look().await?;
    desk.granted(&bench.claim(2)).await?;
    let lock = desk.last_lock();
    desk.store(lock, &value("shown"), bench.times.retention).await?;
    bench.pass(bench.times.retention).await;
    desk.look().await?;
    desk.expect("nothing there, past the retention", desk.seen.contains("nothing"))
}
