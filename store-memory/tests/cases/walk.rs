//! Random commands to a few keys, answered as by the moves.

use std::time::Duration;

use idempotency_core::{Acquired, Claim, Completion, Effect, Fence, Fingerprint, Lock, Omitted, OnUnknown, Owner};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, FileFailurePersistence, TestRunner};

use super::side_by_side::Pair;
use super::{LEASE, PURGED_BY, RETENTION, Subject, UNKNOWN_RETENTION, claim, key};

const KEYS: usize = 2;

#[derive(Clone, Debug)]
enum Command {
    Acquire(usize, Box<Claim>),
    Extend(usize, Index, Duration),
    Store(usize, Index, Completion, Duration),
    Release(usize, Index, Effect),
    Pass(Duration),
    Purge,
}

fn a_claim() -> impl Strategy<Value = Box<Claim>> {
    let policy = prop_oneof![
        6 => Just(OnUnknown::RunAgain),
        1 => Just(OnUnknown::Reconcile),
        1 => Just(OnUnknown::Refuse)
    ];
    let times = (prop_oneof![Just(LEASE), Just(LEASE / 3)], prop_oneof![Just(RETENTION), Just(RETENTION / 100)]);
    let one_in = |n: u32| (0..n).prop_map(|drawn| drawn == 0);
    (1..4_u128, one_in(5), policy, times, one_in(4), one_in(8)).prop_map(
        |(owner, other, on_unknown, (lease, retention), confirms, settles)| {
            let fingerprint = Fingerprint::of_bytes(if other { b"other" } else { b"one" });
            Box::new(Claim { fingerprint, lease, retention, on_unknown, confirms, settles, ..claim(owner) })
        },
    )
}

fn a_completion() -> impl Strategy<Value = Completion> {
    prop_oneof![
        3 => prop::collection::vec(any::<u8>(), 0..64).prop_map(|bytes| Completion::Value(bytes.into())),
        // Long enough to be kept in another way.
        1 => (5_000..30_000_usize).prop_map(|len| Completion::Value(vec![7; len].into())),
        1 => Just(Completion::Omitted(Omitted::ByChoice)),
    ]
}

fn a_command() -> impl Strategy<Value = Command> {
    let effect = prop_oneof![Just(Effect::None), Just(Effect::Unknown), Just(Effect::Settled)];
    let step = prop_oneof![
        Just(Duration::from_micros(1)),
        Just(LEASE / 3),
        Just(LEASE),
        Just(RETENTION / 100),
        Just(RETENTION),
        Just(UNKNOWN_RETENTION)
    ];
    prop_oneof![
        8 => (0..KEYS, a_claim()).prop_map(|(key, claim)| Command::Acquire(key, claim)),
        2 => (0..KEYS, any::<Index>()).prop_map(|(key, lock)| Command::Extend(key, lock, LEASE)),
        2 => (0..KEYS, any::<Index>(), a_completion())
            .prop_map(|(key, lock, value)| Command::Store(key, lock, value, RETENTION)),
        3 => (0..KEYS, any::<Index>(), effect).prop_map(|(key, lock, effect)| Command::Release(key, lock, effect)),
        4 => step.prop_map(Command::Pass),
        1 => Just(Command::Purge),
    ]
}

/// Runs random commands against one store, each case on keys of its own.
pub(crate) fn random_commands_answer_as_the_moves_do<F>(regressions: &'static str, fresh: impl Fn() -> F)
where
    F: Future<Output = Subject>,
{
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let subject = runtime.block_on(fresh());
    let persistence = FileFailurePersistence::Direct(regressions);
    let config = Config { cases: 300, failure_persistence: Some(Box::new(persistence)), ..Config::default() };
    let case = std::cell::Cell::new(0);
    let outcome = TestRunner::new(config).run(&prop::collection::vec(a_command(), 1..40), |commands| {
        case.set(case.get() + 1);
        runtime.block_on(walk(&subject, case.get(), &commands));
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
    // Nothing outlives its retention.
    runtime.block_on(async {
        subject.clock.advance(LEASE + UNKNOWN_RETENTION + RETENTION + PURGED_BY);
        while subject.store.purge(1000).await.unwrap().more {}
        assert_eq!(subject.store.stats().await.unwrap(), Default::default());
        assert_eq!(subject.store.list(None, 10).await.unwrap(), Default::default());
    });
}

async fn walk(subject: &Subject, case: u32, commands: &[Command]) {
    let mut pair = Pair::new(subject);
    let keys: [_; KEYS] = std::array::from_fn(|number| key(format!("{case}.{number}")));
    // A lock that was never granted, then all that were.
    let mut locks = [(); KEYS].map(|()| vec![Lock { owner: Owner::from_u128(1), fence: Fence::new(1) }]);
    for command in commands {
        match command {
            Command::Acquire(key, claim) => {
                if let Acquired::Acquired(grant) = pair.acquire(&keys[*key], claim).await {
                    locks[*key].push(grant.lock);
                }
            }
            Command::Extend(key, lock, lease) => {
                pair.extend(&keys[*key], *lock.get(&locks[*key]), *lease).await;
            }
            Command::Store(key, lock, value, retention) => {
                pair.store(&keys[*key], *lock.get(&locks[*key]), value, *retention).await;
            }
            Command::Release(key, lock, effect) => {
                pair.release(&keys[*key], *lock.get(&locks[*key]), *effect).await;
            }
            Command::Pass(time) => pair.pass(*time),
            Command::Purge => {
                subject.store.purge(usize::MAX).await.unwrap();
                pair.forget_the_expired();
            }
        }
        for key in &keys {
            pair.look(key, command).await;
        }
    }
}
