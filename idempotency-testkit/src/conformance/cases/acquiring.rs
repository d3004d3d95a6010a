//! The rows of `acquire_lock`, one by one.

use std::sync::Arc;

use idempotency_core::{Acquired, Claim, Effect, Fingerprint, Lock, OnUnknown};

use super::asks::POLICIES;
use crate::conformance::bench::Bench;
use crate::conformance::failure::Outcome;
use crate::conformance::sample::{other_request, value};

pub(crate) async fn acquiring_a_new_key_grants_its_first_attempt(bench: Arc<Bench>) -> Outcome {
    for (number, on_unknown) in POLICIES.into_iter().enumerate() {
        for (kind, (confirms, settles)) in [(false, false), (true, false), (false, true)].into_iter().enumerate() {
            let mut desk = bench.desk(format!("new {number}.{kind}"));
            let grant = desk.granted(&Claim { on_unknown, confirms, settles, ..bench.claim(1) }).await?;
            desk.expect("a first attempt without a prior one", grant.attempt == 1 && grant.prior.is_none())?;
        }
    }
    Ok(())
}

pub(crate) async fn another_request_under_the_same_key_is_a_mismatch(bench: Arc<Bench>) -> Outcome {
    let mut desk = bench.desk("mismatch");
    for other in
        [other_request(), Fingerprint::NONE, Fingerprint::from_parts(9, *bench.claim(1).fingerprint.as_bytes())]
    {
        let other = Claim { fingerprint: other, ..bench.claim(2) };
        // The same owner with another request is no lost answer.
        let same_owner = Claim { owner: bench.claim(1).owner, ..other.clone() };
        let settling = Claim { settles: true, ..other.clone() };
        let mut desk = bench.desk(format!("mismatch {}", other.fingerprint.version()));
        let lock = desk.granted(&bench.claim(1)).await?.lock;
        for claim in [&other, &same_owner, &settling] {
            desk.acquire(claim).await?;
        }
        bench.pass(bench.times.lease).await;
        for claim in [&other, &same_owner, &settling] {
            desk.acquire(claim).await?;
        }
        desk.store(lock, &value("secret"), bench.times.retention).await?;
        for claim in [&other, &same_owner, &settling] {
            desk.acquire(claim).await?;
        }
        desk.expect("only mismatches", desk.seen.contains("mismatch") && !desk.seen.contains("completed"))?;
    }
    // A key that is free stands for whichever request comes next.
    let lock = desk.granted(&bench.claim(1)).await?.lock;
    desk.release(lock, Effect::None).await?;
    desk.granted(&Claim { fingerprint: other_request(), ..bench.claim(2) }).await?;
    desk.acquire(&bench.claim(3)).await?;
    Ok(())
}

pub(crate) async fn acquiring_again_by_the_same_owner_grants_the_same_lock(bench: Arc<Bench>) -> Outcome {
    let mut desk = bench.desk("again");
    let first = desk.granted(&bench.claim(1)).await?;
    for _ in 0..3 {
        bench.pass(bench.times.lease / 3).await;
        let again = desk.granted(&bench.claim(1)).await?;
        desk.expect("the same lock", again == first)?;
    }
    // Also once it has lapsed, as long as nobody else took over.
    bench.pass(bench.times.lease).await;
    let again = desk.granted(&bench.claim(1)).await?;
    desk.expect("the same lock", again == first)
}

pub(crate) async fn acquiring_again_after_a_takeover_tells_of_the_same_prior_attempt(bench: Arc<Bench>) -> Outcome {
    let mut desk = bench.desk("prior");
    desk.granted(&bench.claim(1)).await?;
    bench.pass(bench.times.lease).await;
    let second = desk.granted(&bench.claim(2)).await?;
    desk.expect("to be told of the prior attempt", second.prior.is_some())?;
    for _ in 0..2 {
        bench.pass(bench.times.lease / 3).await;
        let again = desk.granted(&bench.claim(2)).await?;
        desk.expect("the same grant", again == second)?;
    }
    Ok(())
}

pub(crate) async fn an_owner_whose_attempt_is_over_gets_no_lock(bench: Arc<Bench>) -> Outcome {
    for (number, effect) in [Effect::None, Effect::Unknown, Effect::Settled].into_iter().enumerate() {
        let mut desk = bench.desk(format!("ended {number}"));
        let lock = desk.granted(&bench.claim(1)).await?.lock;
        desk.release(lock, effect).await?;
        for _ in 0..2 {
            let acquired = desk.acquire(&bench.claim(1)).await?;
            desk.expect("ended", acquired == Acquired::Ended)?;
        }
        // Another owner's next attempt is not held up by it.
        desk.granted(&bench.claim(2)).await?;
    }
    Ok(())
}

pub(crate) async fn a_released_key_is_acquired_as_the_next_attempt(bench: Arc<Bench>) -> Outcome {
    let mut desk = bench.desk("released");
    for attempt in 1..=4 {
        let grant = desk.granted(&bench.claim(u128::from(attempt))).await?;
        desk.expect("one attempt more", grant.attempt == attempt && grant.prior.is_none())?;
        desk.release(grant.lock, Effect::None).await?;
    }
    Ok(())
}

pub(crate) async fn a_completed_key_answers_with_its_record(bench: Arc<Bench>) -> Outcome {
    let mut desk = bench.desk("completed");
    desk.complete(&bench.claim(1), &value("the result")).await?;
    for owner in [1, 2] {
        for on_unknown in POLICIES {
            for settles in [false, true] {
                let acquired = desk.acquire(&Claim { on_unknown, settles, ..bench.claim(owner) }).await?;
                desk.expect("the record", matches!(acquired, Acquired::Completed(_)))?;
            }
        }
    }
    Ok(())
}

pub(crate) async fn a_live_lock_answers_with_the_time_left_on_its_lease(bench: Arc<Bench>) -> Outcome {
    let mut desk = bench.desk("live");
    let lock = desk.granted(&bench.claim(1)).await?.lock;
    for settles in [false, true] {
        bench.pass(bench.times.lease / 4).await;
        let acquired = desk.acquire(&Claim { settles, ..bench.claim(2) }).await?;
        desk.expect("in progress", matches!(acquired, Acquired::InProgress { .. }))?;
    }
    desk.extend(lock, bench.times.lease).await?;
    bench.pass(bench.times.lease / 4).await;
    desk.acquire(&bench.claim(2)).await?;
    Ok(())
}

pub(crate) async fn an_unknown_attempt_is_taken_over_and_told_of(bench: Arc<Bench>) -> Outcome {
    for lapses in [true, false] {
        let mut desk = bench.desk(format!("unknown {lapses}"));
        let lock = desk.granted(&bench.claim(1)).await?.lock;
        if lapses {
            bench.pass(bench.times.lease).await;
        } else {
            desk.release(lock, Effect::Unknown).await?;
        }
        let grant = desk.granted(&bench.claim(2)).await?;
        desk.expect("a takeover", grant.attempt == 2 && grant.prior.is_some_and(|prior| prior.attempt == 1))?;
    }
    Ok(())
}

/// Each policy after each.
pub(crate) async fn a_looser_claim_does_not_take_over(bench: Arc<Bench>) -> Outcome {
    for first in POLICIES {
        for second in POLICIES {
            let mut desk = bench.desk(format!("policies {first:?} {second:?}"));
            let lock = desk.granted(&Claim { on_unknown: first, ..bench.claim(1) }).await?.lock;
            desk.release(lock, Effect::Unknown).await?;
            let acquired = desk.acquire(&Claim { on_unknown: second, ..bench.claim(2) }).await?;
            let allowed = second != OnUnknown::Refuse && second >= first;
            desk.expect("a takeover only where it is allowed", allowed == matches!(acquired, Acquired::Acquired(_)))?;
            // Whatever it was answered, the strictest so far counts, for good.
            desk.acquire(&Claim { on_unknown: OnUnknown::RunAgain, ..bench.claim(3) }).await?;
            if let Acquired::Acquired(grant) = acquired {
                desk.release(grant.lock, Effect::Unknown).await?;
                desk.acquire(&Claim { on_unknown: OnUnknown::RunAgain, ..bench.claim(4) }).await?;
            }
        }
    }
    Ok(())
}

pub(crate) async fn an_operator_takes_over_whatever_the_policy_and_does_not_loosen_it(bench: Arc<Bench>) -> Outcome {
    for on_unknown in POLICIES {
        let mut desk = bench.desk(format!("settling {on_unknown:?}"));
        let lock = desk.granted(&Claim { on_unknown, ..bench.claim(1) }).await?.lock;
        desk.release(lock, Effect::Unknown).await?;
        let operator = Claim { settles: true, ..bench.claim(2) };
        let taken_over = desk.granted(&operator).await?;
        desk.expect("a takeover", taken_over.prior.is_some())?;
        desk.release(taken_over.lock, Effect::Unknown).await?;
        desk.acquire(&bench.claim(3)).await?;
        let again = desk.acquire(&Claim { settles: true, ..bench.claim(4) }).await?;
        if let Acquired::Acquired(grant) = again {
            desk.release(grant.lock, Effect::Settled).await?;
            desk.granted(&bench.claim(5)).await?;
        }
    }
    Ok(())
}

pub(crate) async fn an_unconfirmed_lock_that_lapses_is_free(bench: Arc<Bench>) -> Outcome {
    let confirms = |owner| Claim { confirms: true, on_unknown: OnUnknown::Refuse, ..bench.claim(owner) };
    let mut desk = bench.desk("unconfirmed");
    desk.granted(&confirms(1)).await?;
    desk.acquire(&confirms(2)).await?;
    bench.pass(bench.times.lease).await;
    let second = desk.granted(&confirms(2)).await?;
    desk.expect("a next attempt without a prior one", second.attempt == 2 && second.prior.is_none())?;
    // Confirmed, it may have run.
    desk.extend(second.lock, bench.times.lease).await?;
    bench.pass(bench.times.lease).await;
    let third = desk.acquire(&confirms(3)).await?;
    desk.expect("unknown", matches!(third, Acquired::Unknown { .. }))
}

pub(crate) async fn owners_that_differ_in_one_bit_are_told_apart(bench: Arc<Bench>) -> Outcome {
    const OWNER: u128 = 0x0123_4567_89ab_cdef_0011_2233_4455_6677;
    let mut desk = bench.desk("owners");
    let lock = desk.granted(&bench.claim(OWNER)).await?.lock;
    for bit in 0..u128::BITS {
        let claim = bench.claim(OWNER ^ (1 << bit));
        desk.acquire(&claim).await?;
        desk.extend(Lock { owner: claim.owner, ..lock }, bench.times.lease).await?;
        // So that the lock is still live when all have asked, also in real time.
        desk.extend(lock, bench.times.lease).await?;
    }
    Ok(())
}

pub(crate) async fn requests_that_differ_in_one_bit_are_told_apart(bench: Arc<Bench>) -> Outcome {
    let mut desk = bench.desk("requests");
    let fingerprint = bench.claim(1).fingerprint;
    desk.complete(&bench.claim(1), &value("of one request")).await?;
    for bit in 0..8 * fingerprint.as_bytes().len() {
        let mut digest = *fingerprint.as_bytes();
        digest[bit / 8] ^= 1 << (bit % 8);
        let other = Fingerprint::from_parts(fingerprint.version(), digest);
        desk.acquire(&Claim { fingerprint: other, ..bench.claim(2) }).await?;
    }
    Ok(())
}

pub(crate) async fn attempts_are_counted_past_what_a_byte_holds(bench: Arc<Bench>) -> Outcome {
    let mut desk = bench.desk("attempts");
    for owner in 0..260 {
        let lock = desk.granted(&bench.claim(owner)).await?.lock;
        desk.release(lock, if owner % 2 == 0 { Effect::None } else { Effect::Unknown }).await?;
    }
    Ok(())
}
