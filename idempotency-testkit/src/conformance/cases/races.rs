//! Many callers at once, on several threads: some order of their calls must give their answers.

use std::sync::Arc;

use idempotency_core::{Claim, Effect, Lock};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::belief::Window;
use crate::call::{Answer, Call};
use crate::conformance::bench::Bench;
use crate::conformance::desk::Desk;
use crate::conformance::failure::{Failure, Outcome};
use crate::conformance::sample::{other_request, value};

/// Rounds of each race; what goes wrong one time in some is seen.
const ROUNDS: u32 = 60;

/// Sends all calls at the same moment, each from a task of its own, and looks for an order.
async fn race(desk: &mut Desk, calls: Vec<Call>) -> Outcome {
    let start = Arc::new(Barrier::new(calls.len()));
    let mut tasks: JoinSet<Outcome<(Call, Window, Answer)>> = JoinSet::new();
    for call in calls {
        let (bench, key, start) = (desk.bench.clone(), desk.key.clone(), start.clone());
        tasks.spawn(async move {
            start.wait().await;
            let (window, answer) = bench.send(&key, &call).await?;
            Ok((call, window, answer))
        });
    }
    let mut made = Vec::new();
    while let Some(joined) = tasks.join_next().await {
        made.push(joined.unwrap_or_else(|error| Err(Failure::panicked(error)))?);
    }
    desk.at_once(made).await
}

fn acquire(claim: Claim) -> Call {
    Call::Acquire(Box::new(claim))
}

fn of_many(desk: &Desk, count: u128) -> Vec<Call> {
    (0..count).map(|number| acquire(desk.bench.claim(100 + number))).collect()
}

/// Whoever got the lock, if someone did, ends it well.
async fn finish(desk: &mut Desk) -> Outcome {
    desk.store(desk.last_lock(), &value("done"), desk.bench.times.retention).await?;
    desk.acquire(&desk.bench.claim(999)).await?;
    Ok(())
}

pub(crate) async fn of_many_claims_at_once_one_gets_the_lock(bench: Arc<Bench>) -> Outcome {
    for round in 0..bench.rounds(ROUNDS) {
        let mut desk = bench.desk(format!("race {round}"));
        let calls = of_many(&desk, 24);
        race(&mut desk, calls).await?;
        desk.expect("one lock", desk.locks.len() == 1)?;
        finish(&mut desk).await?;
    }
    Ok(())
}

pub(crate) async fn of_many_takeovers_at_once_one_gets_the_lock(bench: Arc<Bench>) -> Outcome {
    let mut desks = Vec::new();
    for round in 0..bench.rounds(ROUNDS) {
        let mut desk = bench.desk(format!("takeover {round}"));
        let lock = desk.granted(&bench.claim(1)).await?.lock;
        if round % 2 == 0 {
            desk.release(lock, Effect::Unknown).await?;
        }
        desks.push(desk);
    }
    bench.pass(bench.times.lease).await;
    for desk in &mut desks {
        let calls = of_many(desk, 24);
        race(desk, calls).await?;
        desk.expect("one lock more", desk.locks.len() == 2)?;
        finish(desk).await?;
    }
    Ok(())
}

pub(crate) async fn of_many_claims_on_a_released_key_one_gets_the_lock(bench: Arc<Bench>) -> Outcome {
    for round in 0..bench.rounds(ROUNDS) {
        let mut desk = bench.desk(format!("released {round}"));
        let lock = desk.granted(&bench.claim(1)).await?.lock;
        desk.release(lock, Effect::None).await?;
        let calls = of_many(&desk, 12);
        race(&mut desk, calls).await?;
        finish(&mut desk).await?;
    }
    Ok(())
}

/// As when an answer is lost and the claim is sent again while the first is still under way.
pub(crate) async fn one_owner_asking_many_times_at_once_gets_one_lock(bench: Arc<Bench>) -> Outcome {
    for round in 0..bench.rounds(ROUNDS) {
        let mut desk = bench.desk(format!("same owner {round}"));
        let mut calls: Vec<Call> = (0..6).map(|_| acquire(bench.claim(1))).collect();
        calls.extend((0..2).map(|_| acquire(bench.claim(2))));
        race(&mut desk, calls).await?;
        finish(&mut desk).await?;
    }
    Ok(())
}

pub(crate) async fn of_two_requests_at_once_one_is_a_mismatch(bench: Arc<Bench>) -> Outcome {
    for round in 0..bench.rounds(ROUNDS) {
        let mut desk = bench.desk(format!("requests {round}"));
        let theirs = |owner| acquire(Claim { fingerprint: other_request(), ..bench.claim(owner) });
        race(&mut desk, vec![acquire(bench.claim(1)), theirs(2), acquire(bench.claim(3)), theirs(4)]).await?;
    }
    Ok(())
}

/// A holder's own calls against each other and against others' claims.
async fn holders_calls(bench: &Arc<Bench>, name: &str, calls: impl Fn(&Bench, Lock) -> Vec<Call>) -> Outcome {
    for lapses in [false, true] {
        let mut desks = Vec::new();
        for round in 0..bench.rounds(ROUNDS) {
            let mut desk = bench.desk(format!("{name} {lapses} {round}"));
            desk.granted(&bench.claim(1)).await?;
            desks.push(desk);
        }
        if lapses {
            bench.pass(bench.times.lease).await;
        }
        for desk in &mut desks {
            let lock = desk.last_lock();
            race(desk, calls(bench, lock)).await?;
            desk.acquire(&bench.claim(500)).await?;
        }
    }
    Ok(())
}

pub(crate) async fn releasing_extending_and_storing_at_once_have_an_order(bench: Arc<Bench>) -> Outcome {
    let calls = |bench: &Bench, lock| {
        vec![
            Call::Release(lock, Effect::None),
            Call::Extend(lock, bench.times.lease),
            Call::Store(lock, value("raced"), bench.times.retention),
            Call::Get,
        ]
    };
    holders_calls(&bench, "holder", calls).await
}

pub(crate) async fn storing_and_taking_over_at_once_have_an_order(bench: Arc<Bench>) -> Outcome {
    let calls = |bench: &Bench, lock| {
        vec![
            Call::Store(lock, value("raced"), bench.times.retention),
            acquire(bench.claim(2)),
            acquire(bench.claim(3)),
            Call::Get,
            Call::Store(lock, value("raced"), bench.times.retention),
        ]
    };
    holders_calls(&bench, "store", calls).await
}

pub(crate) async fn extending_and_taking_over_at_once_have_an_order(bench: Arc<Bench>) -> Outcome {
    let calls = |bench: &Bench, lock| {
        vec![
            Call::Extend(lock, bench.times.lease),
            acquire(bench.claim(2)),
            Call::Release(lock, Effect::Unknown),
            acquire(bench.claim(3)),
        ]
    };
    holders_calls(&bench, "extend", calls).await
}

pub(crate) async fn a_completed_key_asked_by_many_answers_all_alike(bench: Arc<Bench>) -> Outcome {
    let mut desk = bench.desk("hammered");
    // Large enough to be read in pieces, which must not be of two records.
    let large = value(vec![42; 200_000.min(bench.largest())]);
    let lock = desk.complete(&bench.claim(1), &large).await?;
    for _ in 0..bench.rounds(20) {
        let mut calls = of_many(&desk, 12);
        calls.push(Call::Store(lock, large.clone(), bench.times.retention));
        calls.push(Call::Release(lock, Effect::Unknown));
        calls.push(Call::Get);
        race(&mut desk, calls).await?;
    }
    Ok(())
}

/// Keys that are all different get all their locks, whatever they share in the store.
pub(crate) async fn many_keys_at_once_do_not_get_into_each_others_way(bench: Arc<Bench>) -> Outcome {
    let desks = (0..bench.rounds(512).max(64)).map(|number| bench.desk(format!("beside {number}"))).collect();
    let run = |number: usize, mut desk: Desk| async move {
        let claim = desk.bench.claim(number as u128);
        desk.complete(&claim, &value(format!("{number}"))).await?;
        desk.acquire(&desk.bench.claim(1_000_000)).await?;
        Ok(desk)
    };
    bench.at_each(desks, run).await.map(drop)
}
