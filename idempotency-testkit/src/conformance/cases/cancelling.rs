//! A call whose future is dropped is like a lost answer: done whole or not at all, then or later.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use idempotency_core::{Effect, Fence};

use crate::call::{Answer, Call};
use crate::conformance::bench::Bench;
use crate::conformance::desk::Desk;
use crate::conformance::failure::Outcome;
use crate::conformance::sample::value;

/// A call is dropped after up to so many polls.
const POLLS: usize = 6;

/// Polls a call so many times, gives the runtime a moment after each, and drops it.
async fn dropped(desk: &Desk, call: &Call, polls: usize) {
    let store = desk.bench.store();
    let mut asked = pin!(call.send(&desk.key, &*store));
    for _ in 0..polls {
        let ready = std::future::poll_fn(|cx| Poll::Ready(asked.as_mut().poll(cx).is_ready())).await;
        if ready {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// Drops the call, sends it again as its caller would, and goes on until the key is done.
async fn harms_nothing(desk: &mut Desk, call: Call, polls: usize) -> Outcome {
    let mark = desk.bench.mark();
    dropped(desk, &call, polls).await;
    let (window, answer) = desk.bench.send(&desk.key, &call).await?;
    let fence = answer.granted().map_or(Fence::default(), |grant| grant.lock.fence);
    // It may have been carried out, or not, or between the sending of the second and its answer.
    desk.in_doubt(&call, desk.bench.since(mark), fence);
    desk.judge(&call, window, &answer)?;
    // Or still later, as a message that was under way.
    let (window, found) = desk.bench.send(&desk.key, &Call::Get).await?;
    desk.in_doubt(&call, desk.bench.since(mark), fence);
    desk.judge(&Call::Get, window, &found)?;
    if !matches!(call, Call::Release(..)) {
        desk.store(desk.last_lock(), &value("in the end"), desk.bench.times.retention).await?;
    }
    let acquired = Call::Acquire(Box::new(desk.bench.claim(77)));
    let answer = desk.call(acquired).await?;
    if answer.granted().is_some() {
        desk.store(desk.last_lock(), &value("in the end"), desk.bench.times.retention).await?;
    }
    desk.expect("a completed key", desk.is_completed())
}

async fn each_number_of_polls(bench: &Arc<Bench>, name: &str, call: impl Fn(&Bench, &Desk) -> Call) -> Outcome {
    for polls in 0..=POLLS {
        for round in 0..bench.rounds(8) {
            let mut desk = bench.desk(format!("{name} {polls} {round}"));
            if name != "acquire" {
                desk.granted(&bench.claim(1)).await?;
            }
            let call = call(bench, &desk);
            harms_nothing(&mut desk, call, polls).await?;
        }
    }
    Ok(())
}

pub(crate) async fn a_dropped_acquire_harms_nothing(bench: Arc<Bench>) -> Outcome {
    each_number_of_polls(&bench, "acquire", |bench, _| Call::Acquire(Box::new(bench.claim(1)))).await
}

pub(crate) async fn a_dropped_extend_harms_nothing(bench: Arc<Bench>) -> Outcome {
    each_number_of_polls(&bench, "extend", |bench, desk| Call::Extend(desk.last_lock(), bench.times.lease)).await
}

pub(crate) async fn a_dropped_store_harms_nothing(bench: Arc<Bench>) -> Outcome {
    let large = vec![9; 100_000.min(bench.largest())];
    let call = |bench: &Bench, desk: &Desk| Call::Store(desk.last_lock(), value(large.clone()), bench.times.retention);
    each_number_of_polls(&bench, "store", call).await
}

pub(crate) async fn a_dropped_release_harms_nothing(bench: Arc<Bench>) -> Outcome {
    for effect in [Effect::None, Effect::Unknown, Effect::Settled] {
        each_number_of_polls(&bench, &format!("{effect:?}"), |_, desk| Call::Release(desk.last_lock(), effect)).await?;
    }
    Ok(())
}

pub(crate) async fn a_dropped_get_harms_nothing(bench: Arc<Bench>) -> Outcome {
    for polls in 0..=POLLS {
        let mut desk = bench.desk(format!("get {polls}"));
        desk.granted(&bench.claim(1)).await?;
        dropped(&desk, &Call::Get, polls).await;
        let answer = desk.call(Call::Get).await?;
        desk.expect("the record", matches!(answer, Answer::Found(Some(_))))?;
    }
    Ok(())
}
