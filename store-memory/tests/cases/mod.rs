//! What every store is held to, written once and run against each of them.

mod everyday;
mod load;
mod rows;
mod side_by_side;
mod upkeep;
mod walk;

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use everyday::a_duplicate_gets_the_first_value;
use idempotency_core::{
    Acquired, Claim, Clock, Completion, Fingerprint, Grant, Held, IdempotencyStore, Key, ManualClock, Owner, Timestamp,
    Upkeep,
};
pub(crate) use load::{many_keys_many_duplicates, one_run_a_key_however_many_ask, purging_under_load_loses_nothing};
pub(crate) use rows::every_row_answers_as_the_moves_do;
pub(crate) use upkeep::{
    listing_shows_each_key_once, purging_removes_the_expired_and_nothing_else, statistics_count_each_state,
};
pub(crate) use walk::random_commands_answer_as_the_moves_do;

pub(crate) const LEASE: Duration = Duration::from_secs(10);
pub(crate) const RETENTION: Duration = Duration::from_secs(1000);
pub(crate) const UNKNOWN_RETENTION: Duration = Duration::from_secs(5000);
/// A store may tell expired records apart by the minute, and remove them that much later.
pub(crate) const PURGED_BY: Duration = Duration::from_secs(180);

/// A store to be tried, on a clock that the test moves.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) store: Arc<dyn Upkeep>,
    pub(crate) clock: Arc<ManualClock>,
    /// What must outlive the store, such as its folder.
    _guard: Box<dyn Any + Send + Sync>,
}

impl Subject {
    pub(crate) fn new(store: impl Upkeep, clock: Arc<ManualClock>, guard: impl Any + Send + Sync) -> Self {
        Self { store: Arc::new(store), clock, _guard: Box::new(guard) }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Acquires a key that is free.
    pub(crate) async fn granted(&self, key: &Key, claim: &Claim) -> Grant {
        match self.store.acquire_lock(key, claim).await {
            Ok(Acquired::Acquired(grant)) => grant,
            other => panic!("no lock on {key}: {other:?}"),
        }
    }

    /// Runs a key to its end.
    pub(crate) async fn complete(&self, key: &Key, claim: &Claim, value: &'static str) {
        let lock = self.granted(key, claim).await.lock;
        let held = self.store.store_result(key, &lock, &result(value), claim.retention).await.unwrap();
        assert_eq!(held, Held::Held, "{key}");
    }
}

pub(crate) fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(Timestamp::from_micros(1_800_000_000_000_000)))
}

pub(crate) fn key(id: impl AsRef<[u8]>) -> Key {
    Key::new("case", id).build().unwrap()
}

pub(crate) fn claim(owner: u128) -> Claim {
    Claim {
        owner: Owner::from_u128(owner),
        lease: LEASE,
        retention: RETENTION,
        unknown_retention: UNKNOWN_RETENTION,
        ..Claim::new(Fingerprint::of_bytes(b"one"))
    }
}

pub(crate) fn result(text: &'static str) -> Completion {
    Completion::Value(text.as_bytes().into())
}

/// The cases as tests over a store that `$fresh` makes; `$quick` makes one that may be less durable,
/// for cases of many thousand runs.
macro_rules! store_cases {
    ($fresh:path, $quick:path) => {
        store_cases!(@tests "current_thread", $fresh: every_row_answers_as_the_moves_do,
            purging_removes_the_expired_and_nothing_else, statistics_count_each_state, listing_shows_each_key_once);
        store_cases!(@tests "multi_thread", $quick: one_run_a_key_however_many_ask, many_keys_many_duplicates,
            purging_under_load_loses_nothing);

        #[test]
        fn random_commands_answer_as_the_moves_do() {
            $crate::cases::random_commands_answer_as_the_moves_do(
                concat!(env!("CARGO_MANIFEST_DIR"), "/tests/regressions/walk.txt"),
                $quick,
            );
        }
    };
    (@tests "current_thread", $make:path: $($case:ident),+) => {$(
        #[tokio::test]
        async fn $case() {
            $crate::cases::$case(&$make().await).await;
        }
    )+};
    (@tests "multi_thread", $make:path: $($case:ident),+) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 8)]
        async fn $case() {
            $crate::cases::$case(&$make().await).await;
        }
    )+};
}

/// Says what differs, and after what.
#[track_caller]
pub(crate) fn same<T: PartialEq + Debug>(found: &T, expected: &T, what: &dyn Debug) {
    assert!(found == expected, "after {what:?}\n   found {found:?}\nexpected {expected:?}");
}
