//! A master that is paused while another takes over, and goes on as if nothing had been: nothing that
//! it does then is acknowledged.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use idempotency_core::{Acquired, Completion, Effect, IdempotencyStore, Lock};
use idempotency_store_redis::RedisStore;
use idempotency_testkit::history::{Recorder, Recording};

use crate::client::now_ms;
use crate::common::{RETENTION, claim, is_long, key, open, runtime, until};
use crate::fleet::{Fleet, record};
use crate::runner::Program;

const LEASE: Duration = Duration::from_secs(60);
const STORES: u64 = 6;
const KEYS: usize = 60;
const PREFIX: &str = "paused:";

type Client = Arc<Recorder<RedisStore>>;

pub(crate) fn add_to(program: &mut Program) {
    program.test("paused::nothing_is_acknowledged_by_a_clusters_old_master", || paused(&Fleet::cluster()));
    program.test("paused::nothing_is_acknowledged_by_sentinels_old_master", || paused(&Fleet::sentinel()));
}

fn paused(fleet: &Fleet) {
    let rounds = if is_long() { 10 } else { 1 };
    let seed = now_ms();
    for round in 0..rounds {
        let counts = [1, 0].map(|replicas| {
            runtime().block_on(async {
                let begin = (round * 2 + u64::from(replicas)) * 100_000;
                let (recording, counts) = split(fleet, replicas, begin).await;
                match (recording.history().check(), replicas) {
                    (Ok(_), _) | (Err(_), 0) => {}
                    (Err(verdict), _) => panic!("seed {seed}, round {round}: {verdict}"),
                }
                counts
            })
        });
        let [with, without] = counts;
        println!("{}: with a replica {with:?}, without {without:?}", fleet.name());
    }
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
async fn split(fleet: &Fleet, replicas: u32, begin: u64) -> (Recording, Counts) {
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
    let master = fleet.taken_over(&name, paused).await;
    // Whoever is on the other side meanwhile ends some of the locks.
    let new: Client = Arc::new(recording.client("new", open(&fleet.url(), PREFIX, 0).await));
    for (number, lock) in locks.iter().step_by(2) {
        until("a change at the new master", async || new.release_lock(&key(*number), lock, Effect::None).await.ok())
            .await;
        until("a change at the new master", async || new.acquire_lock(&key(*number), &claim(LEASE)).await.ok()).await;
    }
    let calls = calls(&old, &locks, fresh);
    // Sent, but not answered: they wait in the paused server's sockets.
    tokio::time::timeout(Duration::from_millis(100), std::future::pending::<()>()).await.unwrap_err();
    paused.resume().unwrap();
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
