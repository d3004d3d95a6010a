//! Every row of the contract: each state that a key can be in, times each thing that can be asked.

use idempotency_core::{Acquired, Claim, Completion, Effect, Fence, Fingerprint, Key, Lock, Omitted, OnUnknown, Owner};

use super::side_by_side::Pair;
use super::{LEASE, RETENTION, Subject, UNKNOWN_RETENTION, claim, key, result};

const FIRST: u128 = 1;
const SECOND: u128 = 2;
const STRANGER: u128 = 3;

/// How a key came to stand as it stands.
#[derive(Clone, Copy, Debug)]
enum State {
    Absent,
    Live,
    Lapsed,
    Extended,
    Unconfirmed,
    UnconfirmedLapsed,
    Confirmed,
    UnconfirmedAfterUnknown,
    Released,
    Settled,
    Told(OnUnknown),
    LapsedUnder(OnUnknown),
    TakenOver,
    UnknownAgain,
    TakenOverTwice,
    LoosenedBySettling,
    Completed,
    CompletedWithoutValue,
    CompletedLate,
    CompletedAfterUnknown,
    ReleasedForgotten,
    UnknownForgotten,
    LapsedForgotten,
    CompletedForgotten,
}

const POLICIES: [OnUnknown; 3] = [OnUnknown::RunAgain, OnUnknown::Reconcile, OnUnknown::Refuse];

fn states() -> Vec<State> {
    use State::*;
    let mut all = vec![
        Absent,
        Live,
        Lapsed,
        Extended,
        Unconfirmed,
        UnconfirmedLapsed,
        Confirmed,
        UnconfirmedAfterUnknown,
        Released,
        Settled,
        TakenOver,
        UnknownAgain,
        TakenOverTwice,
        LoosenedBySettling,
        Completed,
        CompletedWithoutValue,
        CompletedLate,
        CompletedAfterUnknown,
        ReleasedForgotten,
        UnknownForgotten,
        LapsedForgotten,
        CompletedForgotten,
    ];
    all.extend(POLICIES.map(Told));
    all.extend(POLICIES.map(LapsedUnder));
    all
}

/// Brings a key there. The locks that were granted on the way, the last one last.
async fn bring(pair: &mut Pair<'_>, key: &Key, state: State) -> Vec<Lock> {
    use State::*;
    let mut locks = Vec::new();
    let first = match state {
        Absent => return locks,
        Unconfirmed | UnconfirmedLapsed | Confirmed => Claim { confirms: true, ..claim(FIRST) },
        Told(on_unknown) | LapsedUnder(on_unknown) => Claim { on_unknown, ..claim(FIRST) },
        LoosenedBySettling => Claim { on_unknown: OnUnknown::Refuse, ..claim(FIRST) },
        _ => claim(FIRST),
    };
    let lock = granted(pair, key, &first).await;
    locks.push(lock);
    match state {
        Absent | Live | Unconfirmed => {}
        Lapsed | UnconfirmedLapsed | LapsedUnder(_) => pair.pass(LEASE),
        Extended | Confirmed => {
            pair.pass(LEASE / 2);
            pair.extend(key, lock, LEASE).await;
            pair.pass(LEASE / 2);
        }
        Released | ReleasedForgotten => {
            pair.release(key, lock, Effect::None).await;
        }
        Settled => {
            pair.release(key, lock, Effect::Settled).await;
        }
        Told(_) | UnknownForgotten => {
            pair.release(key, lock, Effect::Unknown).await;
        }
        UnconfirmedAfterUnknown => {
            pair.release(key, lock, Effect::Unknown).await;
            locks.push(granted(pair, key, &Claim { confirms: true, ..claim(SECOND) }).await);
            pair.pass(LEASE);
        }
        TakenOver | UnknownAgain | TakenOverTwice | CompletedAfterUnknown | LoosenedBySettling => {
            pair.pass(LEASE);
            let settles = matches!(state, LoosenedBySettling);
            let second = granted(pair, key, &Claim { settles, ..claim(SECOND) }).await;
            locks.push(second);
            match state {
                UnknownAgain => {
                    pair.release(key, second, Effect::None).await;
                }
                TakenOverTwice => {
                    pair.release(key, second, Effect::Unknown).await;
                    locks.push(granted(pair, key, &claim(FIRST)).await);
                }
                CompletedAfterUnknown => {
                    pair.store(key, second, &result("second"), RETENTION).await;
                }
                _ => {}
            }
        }
        Completed | CompletedForgotten => {
            pair.store(key, lock, &result("first"), RETENTION).await;
        }
        CompletedWithoutValue => {
            pair.store(key, lock, &Completion::Omitted(Omitted::TooLarge), RETENTION).await;
        }
        CompletedLate => {
            pair.pass(2 * LEASE);
            pair.store(key, lock, &result("late"), RETENTION).await;
        }
        LapsedForgotten => pair.pass(LEASE + UNKNOWN_RETENTION),
    }
    match state {
        ReleasedForgotten | CompletedForgotten => pair.pass(RETENTION),
        UnknownForgotten => pair.pass(UNKNOWN_RETENTION),
        _ => {}
    }
    locks
}

async fn granted(pair: &mut Pair<'_>, key: &Key, claim: &Claim) -> Lock {
    match pair.acquire(key, claim).await {
        Acquired::Acquired(grant) => grant.lock,
        other => panic!("no lock on {key}: {other:?}"),
    }
}

#[derive(Clone, Debug)]
enum Ask {
    Acquire(Claim),
    Extend(usize),
    Store(usize),
    Release(usize, Effect),
}

/// Locks to ask under: the last, the first, and two that were never granted.
const LOCKS: usize = 4;

fn asks() -> Vec<Ask> {
    let mut all = Vec::new();
    for owner in [FIRST, SECOND, STRANGER] {
        for request in [b"one".as_slice(), b"other"] {
            for on_unknown in POLICIES {
                for (settles, confirms) in [(false, false), (true, false), (false, true)] {
                    let fingerprint = Fingerprint::of_bytes(request);
                    all.push(Ask::Acquire(Claim { on_unknown, settles, confirms, fingerprint, ..claim(owner) }));
                }
            }
        }
    }
    for lock in 0..LOCKS {
        all.push(Ask::Extend(lock));
        all.push(Ask::Store(lock));
        all.extend([Effect::None, Effect::Unknown, Effect::Settled].map(|effect| Ask::Release(lock, effect)));
    }
    all
}

fn lock(granted: &[Lock], which: usize) -> Lock {
    let none = Lock { owner: Owner::from_u128(FIRST), fence: Fence::new(7) };
    let last = *granted.last().unwrap_or(&none);
    match which {
        0 => last,
        1 => *granted.first().unwrap_or(&none),
        2 => Lock { fence: last.fence.next(), ..last },
        _ => Lock { owner: Owner::from_u128(STRANGER), ..last },
    }
}

/// Each ask is sent twice, as after a lost answer, and the key is acquired once more after it.
pub(crate) async fn every_row_answers_as_the_moves_do(subject: &Subject) {
    let mut pair = Pair::new(subject);
    for (state_number, state) in states().into_iter().enumerate() {
        for (ask_number, ask) in asks().into_iter().enumerate() {
            let key = key(format!("{state_number}.{ask_number}"));
            let locks = bring(&mut pair, &key, state).await;
            for _ in 0..2 {
                match &ask {
                    Ask::Acquire(claim) => {
                        pair.acquire(&key, claim).await;
                    }
                    Ask::Extend(which) => {
                        pair.extend(&key, lock(&locks, *which), LEASE / 3).await;
                    }
                    Ask::Store(which) => {
                        pair.store(&key, lock(&locks, *which), &result("asked"), RETENTION / 2).await;
                    }
                    Ask::Release(which, effect) => {
                        pair.release(&key, lock(&locks, *which), *effect).await;
                    }
                }
                pair.pass(LEASE / 4);
            }
            pair.acquire(&key, &claim(9)).await;
        }
    }
    let seen: Vec<_> = pair.seen.iter().copied().collect();
    let all = [
        "acquired",
        "acquired again",
        "completed",
        "ended",
        "held",
        "in progress",
        "lost",
        "mismatch",
        "taken over",
        "unknown",
    ];
    assert_eq!(seen, all, "not every answer was given");
}
