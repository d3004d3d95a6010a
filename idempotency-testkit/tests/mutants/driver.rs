//! A client that calls its store itself, command by command.

use std::time::Duration;

use idempotency_core::{
    Claim, Completion, Effect, Fingerprint, IdempotencyStore, Key, Lock, OnUnknown, Owner, StoreError,
};
use idempotency_testkit::Call;
use idempotency_testkit::schedule::World;
use proptest::prelude::*;
use proptest::sample::Index;

const LEASE: Duration = Duration::from_secs(10);
const RETENTION: Duration = Duration::from_secs(100);
const UNKNOWN_RETENTION: Duration = Duration::from_secs(1000);

#[derive(Clone, Debug)]
pub(crate) enum Command {
    Get,
    Acquire { owner: u8, other: bool, on_unknown: OnUnknown, confirms: bool, settles: bool },
    Extend(Index),
    Store(Index, u8),
    Release(Index, Effect),
    Pass(Duration),
}

/// Commands, each for one of three keys.
pub(crate) fn commands() -> impl Strategy<Value = Vec<(usize, Command)>> {
    let policy =
        prop_oneof![6 => Just(OnUnknown::RunAgain), 1 => Just(OnUnknown::Reconcile), 1 => Just(OnUnknown::Refuse)];
    let flag = |weight| prop::bool::weighted(weight);
    let acquire = (0..3_u8, flag(0.15), policy, flag(0.2), flag(0.1));
    let effect = prop_oneof![Just(Effect::None), Just(Effect::Unknown), Just(Effect::Settled)];
    let time = prop_oneof![Just(LEASE / 2), Just(LEASE), Just(RETENTION), Just(2 * RETENTION)];
    let command = prop_oneof![
        1 => Just(Command::Get),
        5 => acquire.prop_map(|(owner, other, on_unknown, confirms, settles)| Command::Acquire {
            owner, other, on_unknown, confirms, settles,
        }),
        2 => any::<Index>().prop_map(Command::Extend),
        2 => (any::<Index>(), 1..3_u8).prop_map(|(lock, value)| Command::Store(lock, value)),
        2 => (any::<Index>(), effect).prop_map(|(lock, effect)| Command::Release(lock, effect)),
        2 => time.prop_map(Command::Pass),
    ];
    prop::collection::vec((prop_oneof![4 => Just(0_usize), 1 => 1..3_usize], command), 1..12)
}

fn key(number: usize) -> Key {
    let parts = [("a", "bc"), ("ab", "c"), ("x", "y")][number];
    Key::new("pay", parts.0).part(parts.1).build().unwrap()
}

/// Carries the commands out, whatever is answered: the answers are the referee's.
pub(crate) async fn drive(world: World, commands: Vec<(usize, Command)>) -> Result<(), StoreError> {
    let store = world.store();
    let mut locks: Vec<Vec<Lock>> = vec![Vec::new(); 3];
    for (number, command) in commands {
        let key = key(number);
        let lock = |index: &Index| (!locks[number].is_empty()).then(|| *index.get(&locks[number]));
        let call = match &command {
            Command::Get => Call::Get,
            Command::Acquire { owner, other, on_unknown, confirms, settles } => {
                let fingerprint = Fingerprint::of_bytes(if *other { b"other" } else { b"one" });
                Call::Acquire(Box::new(Claim {
                    owner: Owner::from_u128(u128::from(*owner) + 1),
                    lease: LEASE,
                    retention: RETENTION,
                    unknown_retention: UNKNOWN_RETENTION,
                    on_unknown: *on_unknown,
                    confirms: *confirms,
                    settles: *settles,
                    ..Claim::new(fingerprint)
                }))
            }
            Command::Extend(index) => match lock(index) {
                Some(lock) => Call::Extend(lock, LEASE),
                None => continue,
            },
            Command::Store(index, value) => match lock(index) {
                Some(lock) => Call::Store(lock, Completion::Value(vec![*value; 5].into()), RETENTION),
                None => continue,
            },
            Command::Release(index, effect) => match lock(index) {
                Some(lock) => Call::Release(lock, *effect),
                None => continue,
            },
            Command::Pass(time) => {
                tokio::time::sleep(*time).await;
                continue;
            }
        };
        if let Ok(answer) = call.send(&key, &store as &dyn IdempotencyStore).await
            && let Some(grant) = answer.granted()
        {
            locks[number].push(grant.lock);
        }
    }
    Ok(())
}
