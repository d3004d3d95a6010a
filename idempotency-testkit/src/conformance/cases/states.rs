//! Every row of the contract: each state that a key can be in, times each thing that can be asked.

use std::sync::Arc;

use idempotency_core::{Claim, Completion, Effect, Omitted, OnUnknown};

use super::asks;
use crate::conformance::bench::{Bench, Times};
use crate::conformance::desk::Desk;
use crate::conformance::failure::Outcome;
use crate::conformance::sample::value;

pub(super) const FIRST: u128 = 1;
pub(super) const SECOND: u128 = 2;

/// How a key is brought to a state.
#[derive(Clone, Debug)]
enum Step {
    Acquire(Claim),
    Extend,
    Store(Completion),
    Release(Effect),
    Lease,
    HalfALease,
    Retention,
    UnknownRetention,
}

use Step::{Acquire, Extend, HalfALease, Lease, Release, Retention, Store, UnknownRetention};

async fn take(desk: &mut Desk, step: &Step, times: Times) -> Outcome {
    let lock = desk.last_lock();
    match step {
        Acquire(claim) => {
            let acquired = desk.acquire(claim).await?;
            desk.expect("a lock", matches!(acquired, idempotency_core::Acquired::Acquired(_)))?;
        }
        Extend => {
            desk.extend(lock, times.lease).await?;
        }
        Store(result) => {
            desk.store(lock, result, times.retention).await?;
        }
        Release(effect) => {
            desk.release(lock, *effect).await?;
        }
        Lease | HalfALease | Retention | UnknownRetention => {}
    }
    Ok(())
}

/// Brings a key of its own there for each ask; sends each twice, as after a lost answer; and acquires
/// the key once more after it.
async fn every_call_on(bench: Arc<Bench>, state: &'static str, steps: Vec<Step>) -> Outcome {
    let times = bench.times;
    let asks = Arc::new(asks::all(&bench));
    let mut desks: Vec<Desk> = (0..asks.len()).map(|number| bench.desk(format!("{state} {number}"))).collect();
    for step in steps {
        match step {
            Lease => bench.pass(times.lease).await,
            HalfALease => bench.pass(times.lease / 2).await,
            Retention => bench.pass(times.retention).await,
            UnknownRetention => bench.pass(times.unknown_retention).await,
            step => {
                let take = |_, mut desk: Desk| {
                    let step = step.clone();
                    async move { take(&mut desk, &step, times).await.map(|()| desk) }
                };
                desks = bench.at_each(desks, take).await?;
            }
        }
    }
    for _ in 0..2 {
        let ask = |number: usize, mut desk: Desk| {
            let asks = asks.clone();
            async move {
                let call = asks[number].call(&desk);
                desk.call(call).await.map(|_| desk)
            }
        };
        desks = bench.at_each(desks, ask).await?;
        bench.pass(times.lease / 4).await;
    }
    let again = bench.claim(9);
    let acquire = |_, mut desk: Desk| {
        let again = again.clone();
        async move { desk.acquire(&again).await.map(|_| desk) }
    };
    bench.at_each(desks, acquire).await.map(drop)
}

const POLICY: fn(Claim, OnUnknown) -> Claim = |claim, on_unknown| Claim { on_unknown, ..claim };

macro_rules! states {
    ($($case:ident: |$first:ident, $second:ident| $steps:expr;)*) => {$(
        pub(crate) async fn $case(bench: Arc<Bench>) -> Outcome {
            let ($first, $second) = (bench.claim(FIRST), bench.claim(SECOND));
            let _both_are_not_always_used = &$second;
            let _nor_is_the_first = &$first;
            every_call_on(bench, stringify!($case), $steps).await
        }
    )*};
}

states! {
    every_call_on_a_key_without_a_record: |_first, _second| vec![];
    every_call_on_a_live_lock: |first, _second| vec![Acquire(first)];
    every_call_on_a_lapsed_lock: |first, _second| vec![Acquire(first), Lease];
    every_call_on_an_extended_lock: |first, _second| vec![Acquire(first), HalfALease, Extend, HalfALease];
    every_call_on_an_unconfirmed_lock: |first, _second| vec![Acquire(Claim { confirms: true, ..first })];
    every_call_on_a_lapsed_lock_that_was_never_confirmed: |first, _second|
        vec![Acquire(Claim { confirms: true, ..first }), Lease];
    every_call_on_a_confirmed_lock: |first, _second|
        vec![Acquire(Claim { confirms: true, ..first }), HalfALease, Extend, HalfALease];
    every_call_on_a_lapsed_unconfirmed_lock_after_an_unknown_attempt: |first, second|
        vec![Acquire(first), Release(Effect::Unknown), Acquire(Claim { confirms: true, ..second }), Lease];
    every_call_on_a_released_key: |first, _second| vec![Acquire(first), Release(Effect::None)];
    every_call_on_a_settled_key: |first, _second| vec![Acquire(first), Release(Effect::Settled)];
    every_call_on_an_attempt_told_unknown: |first, _second| vec![Acquire(first), Release(Effect::Unknown)];
    every_call_on_an_attempt_told_unknown_to_be_reconciled: |first, _second|
        vec![Acquire(POLICY(first, OnUnknown::Reconcile)), Release(Effect::Unknown)];
    every_call_on_an_attempt_told_unknown_to_be_refused: |first, _second|
        vec![Acquire(POLICY(first, OnUnknown::Refuse)), Release(Effect::Unknown)];
    every_call_on_a_lapsed_lock_to_be_reconciled: |first, _second|
        vec![Acquire(POLICY(first, OnUnknown::Reconcile)), Lease];
    every_call_on_a_lapsed_lock_to_be_refused: |first, _second|
        vec![Acquire(POLICY(first, OnUnknown::Refuse)), Lease];
    every_call_on_a_key_taken_over: |first, second| vec![Acquire(first), Lease, Acquire(second)];
    every_call_on_a_key_taken_over_and_released: |first, second|
        vec![Acquire(first), Lease, Acquire(second), Release(Effect::None)];
    every_call_on_a_key_taken_over_twice: |first, second|
        vec![Acquire(first.clone()), Lease, Acquire(second), Release(Effect::Unknown), Acquire(first)];
    every_call_on_a_key_taken_over_to_settle_it: |first, second| vec![
        Acquire(POLICY(first, OnUnknown::Refuse)),
        Lease,
        Acquire(Claim { settles: true, ..second }),
    ];
    every_call_on_a_completed_key: |first, _second| vec![Acquire(first), Store(value("first"))];
    every_call_on_a_key_completed_without_a_value: |first, _second|
        vec![Acquire(first), Store(Completion::Omitted(Omitted::TooLarge))];
    every_call_on_a_key_completed_after_its_lease: |first, _second|
        vec![Acquire(first), Lease, Lease, Store(value("late"))];
    every_call_on_a_key_completed_by_a_takeover: |first, second|
        vec![Acquire(first), Lease, Acquire(second), Store(value("second"))];
    every_call_on_a_released_key_past_its_retention: |first, _second|
        vec![Acquire(first), Release(Effect::None), Retention];
    every_call_on_an_unknown_attempt_past_its_retention: |first, _second|
        vec![Acquire(first), Release(Effect::Unknown), UnknownRetention];
    every_call_on_a_lapsed_lock_past_its_retention: |first, _second| vec![Acquire(first), Lease, UnknownRetention];
    every_call_on_a_completed_key_past_its_retention: |first, _second|
        vec![Acquire(first), Store(value("first")), Retention];
    every_call_on_a_key_begun_anew_after_its_retention: |first, second|
        vec![Acquire(first), Store(value("first")), Retention, Acquire(second)];
}
