//! Masters killed under load: what was acknowledged once all replicas had it is still there.

use std::time::{Duration, Instant};

use idempotency_core::{IdempotencyStore, StoreErrorKind};
use idempotency_store_redis::RedisStore;
use idempotency_testkit::history::{Recording, Verdict};

use crate::client::{Orders, now_ms};
use crate::common::{LIMIT, claim, is_long, key, open, runtime, until};
use crate::crowd::Crowd;
use crate::fleet::{Fleet, record};
use crate::losses::Losses;
use idempotency_testkit::processes::{Program, Random};

/// Longer than a call that is asked again.
const LEASE: Duration = Duration::from_secs(3);
const KEYS_PER_SECOND: u64 = 100;
const REPLICATED_CLIENTS: u64 = 6;
const OTHER_CLIENTS: u64 = 2;
/// How many calls are answered under load before the next kill.
const PROBES: u64 = 50;

pub(crate) fn add_to(program: &mut Program) {
    program
        .test("failover::a_cluster_forgets_nothing_that_its_replicas_acknowledged", || failed_over(&Fleet::cluster()));
    program
        .test("failover::sentinel_forgets_nothing_that_the_replicas_acknowledged", || failed_over(&Fleet::sentinel()));
}

fn failed_over(fleet: &Fleet) {
    let rounds = if is_long() { 25 } else { 1 };
    let seed = now_ms();
    let orders = |prefix: &str, replicas| Orders {
        url: fleet.url(),
        prefix: prefix.to_owned(),
        replicas,
        begun: seed,
        keys: u64::from(u32::MAX),
        keys_per_second: KEYS_PER_SECOND,
        newest: 2 * KEYS_PER_SECOND,
        lease: LEASE,
        tasks: 4,
        pause: 15,
    };
    let mut replicated = Crowd::start(orders("replicated:", fleet.replicas()), seed, REPLICATED_CLIENTS);
    let mut others = Crowd::start(orders("other:", 0), seed + 1000, OTHER_CLIENTS);
    let mut times = Times::default();
    runtime().block_on(async {
        let mut probe = Probe::new(fleet, seed).await;
        for _ in 0..rounds {
            probe.round(fleet, &mut times).await;
            let (one, other) = (probe.random.below(REPLICATED_CLIENTS), probe.random.below(OTHER_CLIENTS));
            replicated.replace(one as usize);
            others.replace(other as usize);
        }
        probe.answers(PROBES).await;
    });
    replicated.stop();
    others.stop();
    runtime().block_on(async {
        read_all(&replicated).await;
        read_all(&others).await;
    });
    let name = fleet.name();
    println!("{name}, seed {seed}, {rounds} failovers: {times}");
    let history = others.history(LIMIT);
    let verdict = match history.check() {
        Ok(_) => "a possible history",
        Err(Verdict::Impossible(_)) => "an impossible history",
        Err(Verdict::GaveUp(_)) => "a history that nobody can tell",
    };
    println!("  waiting for none: {:?}, {verdict}", Losses::of(&history));
    let history = replicated.history(LIMIT);
    let losses = Losses::of(&history);
    println!("  waiting for all replicas: {losses:?}");
    assert_eq!((losses.lost, losses.unannounced), (0, 0), "seed {seed}");
    assert!(losses.results > 0 && losses.runs > losses.results);
    let checked = history.check().unwrap_or_else(|verdict| panic!("seed {seed}: {verdict}"));
    println!("  {checked:?}");
}

/// Reads every key at last, as one more client.
async fn read_all(crowd: &Crowd) {
    let orders = crowd.orders();
    let store = open(&orders.url, &orders.prefix, orders.replicas).await;
    let store = Recording::to_file(crowd.folder().join("last.history")).unwrap().client("last", store);
    for number in 0..=orders.come() {
        until("a last look", async || store.get(&key(number)).await.ok()).await;
    }
}

/// Somebody who calls all the time, from one place.
struct Probe {
    store: RedisStore,
    replicated: RedisStore,
    random: Random,
    called: u64,
}

const PREFIX: &str = "probe:";

impl Probe {
    async fn new(fleet: &Fleet, seed: u64) -> Self {
        let store = open(&fleet.url(), PREFIX, 0).await;
        let replicated = open(&fleet.url(), PREFIX, fleet.replicas()).await;
        Self { store, replicated, random: Random::new(seed), called: 0 }
    }

    /// Kills a master, waits until another serves in its place, and makes a replica of it.
    async fn round(&mut self, fleet: &Fleet, times: &mut Times) {
        self.answers(PROBES).await;
        self.called += 1;
        let name = record(PREFIX, self.called);
        let killed = fleet.master_of(&name).unwrap();
        let keys: Vec<u64> = fleet.keys_on(killed, PREFIX, self.called).take(2).collect();
        let (one, other) = ((key(keys[0]), claim(LEASE)), (key(keys[1]), claim(LEASE)));
        self.called = keys[1];
        let begun = Instant::now();
        killed.kill().unwrap();
        until("an answer of the new master", async || self.store.acquire_lock(&one.0, &one.1).await.ok()).await;
        times.answered.push(begun.elapsed());
        let master = fleet.taken_over(&name, killed).await;
        let begun = Instant::now();
        killed.restart().unwrap();
        fleet.follows(killed, master).await;
        times.rejoined.push(begun.elapsed());
        until("an acknowledged answer", async || self.replicated.acquire_lock(&other.0, &other.1).await.ok()).await;
        times.acknowledged.push(begun.elapsed());
    }

    /// Waits for so many acknowledged answers, from all servers.
    async fn answers(&mut self, count: u64) {
        for _ in 0..count {
            self.called += 1;
            let key = key(self.called);
            let claim = claim(LEASE);
            until("an answer", async || match self.replicated.acquire_lock(&key, &claim).await {
                Ok(_) => Some(()),
                Err(error) if error.kind() == StoreErrorKind::Internal => panic!("{error}"),
                Err(_) => None,
            })
            .await;
        }
    }
}

/// How long things took, one a round.
#[derive(Debug, Default)]
struct Times {
    /// From the kill to the next answer for a key of the killed master.
    answered: Vec<Duration>,
    /// From the restart of the killed one until it was a replica that has all.
    rejoined: Vec<Duration>,
    /// From then to the next answer that a replica had acknowledged.
    acknowledged: Vec<Duration>,
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (name, times) in [
            ("answers after", &self.answered),
            ("old master back after", &self.rejoined),
            ("acknowledged after", &self.acknowledged),
        ] {
            let mut times = times.clone();
            times.sort();
            let at = |part: usize| times[(times.len() - 1) * part / 2];
            write!(f, "\n  {name}: least {:?}, middle {:?}, most {:?}", at(0), at(1), at(2))?;
        }
        Ok(())
    }
}
