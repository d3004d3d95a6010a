//! Small random histories, from a store that keeps the contract.

use std::time::Duration;

use bytes::Bytes;
use idempotency_core::{
    Claim, Clock, Completion, Effect, Fingerprint, Grant, Key, Lock, ManualClock, OnUnknown, Owner, Timestamp,
};
use idempotency_testkit::history::{CallId, History};
use idempotency_testkit::{Answer, Call, ReferenceStore, Window};

/// Numbers that are as good as random, and the same for the same seed (SplitMix64).
#[derive(Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % bound as u64).unwrap()
    }

    pub(crate) fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// The seeds of a run: as many as wanted, or the one to replay.
pub(crate) fn seeds(many: u64) -> Vec<u64> {
    match std::env::var("IDEMPOTENCY_SEED") {
        Ok(seed) => vec![seed.parse().expect("IDEMPOTENCY_SEED is a number")],
        Err(_) => (0..many).collect(),
    }
}

pub(crate) const fn micros(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

struct Running {
    key: Key,
    call: Call,
    id: CallId,
    answer: Option<Answer>,
}

/// What a generated history is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) calls: usize,
    pub(crate) keys: usize,
    /// How many calls run at once, at the most.
    pub(crate) running: usize,
    /// One answer in so many is lost; none for 0.
    pub(crate) lost: usize,
    /// Whether it is known when each call was carried out.
    pub(crate) exact: bool,
}

/// A history of calls that the reference store carried out, interleaved at random.
pub(crate) fn history(dice: &mut Dice, shape: Shape) -> History {
    let store = ReferenceStore::new(ManualClock::new(Timestamp::from_micros(1)));
    let keys: Vec<Key> = (0..shape.keys).map(|key| Key::new("test", key.to_string()).build().unwrap()).collect();
    let mut history = History::new();
    let mut locks: Vec<Lock> = Vec::new();
    let mut claims: Vec<Claim> = Vec::new();
    let mut running: Vec<Running> = Vec::new();
    let mut left = shape.calls;
    while left > 0 || !running.is_empty() {
        if dice.one_in(3) {
            store.clock().advance(micros(dice.pick(&[1, 3, 5, 20])));
        }
        let now = store.clock().now();
        if left > 0 && (running.is_empty() || running.len() < shape.running && dice.one_in(2)) {
            left -= 1;
            let key = keys[dice.below(keys.len())].clone();
            let call = call(dice, &mut claims, &locks);
            let id = history.sent(&key, ["a", "b", "c"][dice.below(3)], call.clone(), now);
            running.push(Running { key, call, id, answer: None });
            continue;
        }
        let at = dice.below(running.len());
        if running[at].answer.is_none() {
            if shape.lost > 0 && dice.one_in(2 * shape.lost) {
                running.swap_remove(at);
                continue;
            }
            let Running { key, call, id, .. } = &running[at];
            let answer = store.make(key, |kept, now, next_fence| call.by_the_moves(kept, now, next_fence));
            locks.extend(answer.granted().map(|Grant { lock, .. }| lock));
            if shape.exact {
                history.carried_out(*id, Window::at(now));
            }
            running[at].answer = Some(answer);
            if dice.one_in(2) {
                continue;
            }
        }
        let done = running.swap_remove(at);
        if shape.lost == 0 || !dice.one_in(2 * shape.lost) {
            history.answered(done.id, now, Ok(done.answer.unwrap()));
        }
    }
    history
}

fn call(dice: &mut Dice, claims: &mut Vec<Claim>, locks: &[Lock]) -> Call {
    if locks.is_empty() && !dice.one_in(6) || dice.one_in(3) {
        if claims.is_empty() || !dice.one_in(4) {
            let owner = Owner::from_u128(1 + claims.len() as u128);
            let fingerprint = if dice.one_in(8) { Fingerprint::of_bytes(b"other") } else { Fingerprint::NONE };
            let policies = [OnUnknown::RunAgain, OnUnknown::RunAgain, OnUnknown::Reconcile, OnUnknown::Refuse];
            claims.push(Claim {
                owner,
                lease: micros(10),
                retention: micros(30),
                unknown_retention: micros(40),
                on_unknown: dice.pick(&policies),
                confirms: dice.one_in(4),
                settles: dice.one_in(8),
                ..Claim::new(fingerprint)
            });
        }
        return Call::Acquire(Box::new(claims[dice.below(claims.len())].clone()));
    }
    if locks.is_empty() || dice.one_in(4) {
        return Call::Get;
    }
    let lock = dice.pick(locks);
    match dice.below(5) {
        0 => Call::Extend(lock, micros(15)),
        1 | 2 => {
            let value = if dice.one_in(2) { "one" } else { "two" };
            Call::Store(lock, Completion::Value(Bytes::from(value)), micros(30))
        }
        _ => Call::Release(lock, dice.pick(&[Effect::None, Effect::None, Effect::Unknown, Effect::Settled])),
    }
}
