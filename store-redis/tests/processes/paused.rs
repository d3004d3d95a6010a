//! A master that is paused while another takes over, and goes on as if nothing had been: nothing that
//! it does then is acknowledged.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use idempotency_core::{Acquired, Completion, Effect, IdempotencyStore, Lock};
use idempotency_store_redis::RedisStore;
use idempotency_testkit::history::{Recorder, Recording};
use idempotency_testkit::servers::Reply;

use crate::common::{RETENTION, claim, is_long, key, open, runtime, until};
use crate::fleet::{Fleet, record};
use idempotency_testkit::processes::Program;

const LEASE: Duration = Duration::from_secs(60);
const STORES: u64 = 6;
const KEYS: usize = 60;
const PREFIX: &str = "paused:";

type Client = Arc<Recorder<RedisStore>>;

pub(crate) fn add_to(program: &mut Program) {
    program.test("paused::nothing_is_acknowledged_by_a_clusters_old_master", || {
        paused(&Fleet::cluster(), When::TakenOver)
    });
    program
        .test("paused::nothing_is_acknowledged_by_sentinels_old_master", || paused(&Fleet::sentinel(), When::Promoted));
    program.test(
        "paused::a_master_that_is_not_demoted_is_left_by_its_clients",
        a_master_that_is_not_demoted_is_left_by_its_clients,
    );
}

/// With fewer replicas than there are, one that is not promoted may yet acknowledge what the old master
/// does: that is counted, and not wrong.
fn paused(fleet: &Fleet, short: When) {
    let all = fleet.replicas();
    let cases = match is_long() {
        true => [(all, When::TakenOver), (all, When::Promoted), (0, When::TakenOver), (1, When::Promoted)].repeat(5),
        false => vec![(all, short)],
    };
    for (round, (replicas, when)) in (0..).zip(cases) {
        let (recording, counts) = runtime().block_on(split(fleet, replicas, when, round * 100_000));
        println!("{}, {replicas} replicas, {when:?}: {counts:?}", fleet.name());
        if replicas == all {
            assert_eq!(counts.false_locks, 0, "round {round}");
            recording.history().check().unwrap_or_else(|verdict| panic!("round {round}: {verdict}"));
        }
    }
}

/// When the paused master goes on.
#[derive(Clone, Copy, Debug, PartialEq)]
enum When {
    /// As soon as another is a master, of which nobody else need know.
    Promoted,
    /// When all know the other one.
    TakenOver,
}

#[derive(Debug, Default)]
struct Counts {
    answered: usize,
    failed: usize,
    /// Answers that the new master knows nothing of.
    false_locks: usize,
}

/// Many keys on one master, which is paused until another has its place; and calls that reach it as
/// soon as it goes on.
async fn split(fleet: &Fleet, replicas: u32, when: When, begin: u64) -> (Recording, Counts) {
    let recording = Recording::in_memory();
    let mut old: Vec<Client> = Vec::new();
    for at in 0..STORES {
        let store = open(&fleet.url(), PREFIX, replicas).await;
        old.push(Arc::new(recording.client(format!("old {at}"), store)));
    }
    let name = record(PREFIX, begin);
    let paused = fleet.master_of(&name).unwrap();
    let keys: Vec<u64> = fleet.keys_on(paused, PREFIX, begin).take(3 * KEYS).collect();
    let (held, fresh) = keys.split_at(KEYS);
    // Every store has its connections, and holds locks.
    let mut locks: Vec<(u64, Lock)> = Vec::new();
    for (at, number) in held.iter().enumerate() {
        let store = &old[at % old.len()];
        let claim = claim(LEASE);
        let lock = until("a lock", async || match store.acquire_lock(&key(*number), &claim).await {
            Ok(Acquired::Acquired(grant)) => Some(grant.lock),
            _ => None,
        });
        locks.push((*number, lock.await));
    }
    paused.pause().unwrap();
    let new: Client = Arc::new(recording.client("new", open(&fleet.url(), PREFIX, 0).await));
    fleet.promoted(&name, paused, when == When::Promoted).await;
    if when == When::TakenOver {
        // Whoever is on the other side meanwhile ends some of the locks.
        for (number, lock) in locks.iter().step_by(2) {
            let (key, claim) = (key(*number), claim(LEASE));
            until("a release", async || new.release_lock(&key, lock, Effect::None).await.ok()).await;
            until("a lock", async || new.acquire_lock(&key, &claim).await.ok()).await;
        }
    }
    let calls = calls(&old, &locks, fresh);
    // Sent, but not answered: they wait in the paused server's sockets.
    tokio::time::timeout(Duration::from_millis(100), std::future::pending::<()>()).await.unwrap_err();
    paused.resume().unwrap();
    let master = fleet.taken_over(&name, paused).await;
    let mut counts = Counts::default();
    for (call, number, lock) in calls {
        match call.await.unwrap() {
            None => counts.failed += 1,
            Some(granted) => {
                counts.answered += 1;
                let lock = granted.or(lock);
                let known = until("a look", async || new.get(&key(number)).await.ok()).await;
                let is_known = |lock| known.as_ref().is_some_and(|found| found.record.lock == lock);
                counts.false_locks += usize::from(lock.is_some_and(|lock| !is_known(lock)));
            }
        }
    }
    fleet.follows(paused, master).await;
    // All of them find the new master.
    for (at, store) in old.iter().enumerate() {
        until("an answer", async || store.get(&key(held[at])).await.ok()).await;
    }
    (recording, counts)
}

type Calling = (tokio::task::JoinHandle<Option<Option<Lock>>>, u64, Option<Lock>);

/// Calls of every kind, by all stores at once: the lock that was granted or held, where it was.
fn calls(old: &[Client], locks: &[(u64, Lock)], fresh: &[u64]) -> Vec<Calling> {
    let mut calls = Vec::new();
    for (at, (number, lock)) in locks.iter().enumerate() {
        let (store, number, lock) = (old[at % old.len()].clone(), *number, *lock);
        let call = async move {
            let key = key(number);
            let value = Completion::Value(Bytes::from_static(b"of the old master"));
            match at % 5 {
                0 => store.get(&key).await.map(drop),
                1 | 2 => store.store_result(&key, &lock, &value, RETENTION).await.map(drop),
                3 => store.extend_lock(&key, &lock, LEASE).await.map(drop),
                _ => store.release_lock(&key, &lock, Effect::Unknown).await.map(drop),
            }
            .ok()
            .map(|()| None)
        };
        calls.push((tokio::spawn(call), number, None));
    }
    for (at, number) in fresh.iter().enumerate() {
        let (store, number) = (old[at % old.len()].clone(), *number);
        let call = async move {
            match store.acquire_lock(&key(number), &claim(LEASE)).await {
                Ok(Acquired::Acquired(grant)) => Some(Some(grant.lock)),
                Ok(_) => Some(None),
                Err(_) => None,
            }
        };
        calls.push((tokio::spawn(call), number, None));
    }
    calls
}

/// Nobody can make a replica of the old master: whoever stays with it waits for replicas in vain.
fn a_master_that_is_not_demoted_is_left_by_its_clients() {
    let fleet = Fleet::sentinel();
    runtime().block_on(async {
        let store = open(&fleet.url(), PREFIX, 1).await;
        let lock = |number| {
            let (store, claim) = (store.clone(), claim(LEASE));
            async move { until("a lock", async || store.acquire_lock(&key(number), &claim).await.ok()).await }
        };
        lock(1).await;
        let name = record(PREFIX, 1);
        let old = fleet.master_of(&name).unwrap();
        old.command(&["ACL", "SETUSER", "default", "-replicaof", "-slaveof", "-client|kill"]).unwrap();
        old.pause().unwrap();
        let new = fleet.taken_over(&name, old).await;
        old.resume().unwrap();
        lock(2).await;
        assert_ne!(new.command(&["EXISTS", &record(PREFIX, 2)]).unwrap(), Reply::Integer(0));
    });
}
