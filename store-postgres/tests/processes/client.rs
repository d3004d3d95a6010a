//! A process that makes random calls over keys that others call too, and records them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use idempotency_core::{Acquired, Claim, Completion, Effect, Fingerprint, IdempotencyStore, Key, Lock, OnUnknown};
use idempotency_testkit::history::Recording;

use crate::common::{RETENTION, Way, claim, key, open, runtime};
use idempotency_testkit::processes::{Program, Random};

/// How many locks a task remembers, held or not.
const LOCKS: usize = 32;
/// How long to be quiet after a call that failed, in ms.
const AFTER_FAILURE: u64 = 20;

/// What a client is told to do.
#[derive(Clone, Debug)]
pub(crate) struct Orders {
    pub(crate) url: String,
    pub(crate) way: Way,
    /// When the first key was drawn, in ms since 1970.
    pub(crate) begun: u64,
    /// How many keys there are, in the end; how many new ones come each second; how many of the newest
    /// are called most.
    pub(crate) keys: u64,
    pub(crate) keys_per_second: u64,
    pub(crate) newest: u64,
    pub(crate) lease: Duration,
    pub(crate) tasks: u64,
    /// The longest time between two calls of a task, in ms.
    pub(crate) pause: u64,
}

impl Orders {
    pub(crate) fn arguments(&self) -> Vec<String> {
        let numbers = [
            self.begun,
            self.keys,
            self.keys_per_second,
            self.newest,
            self.lease.as_millis() as u64,
            self.tasks,
            self.pause,
        ];
        let texts = [self.url.clone(), self.way.name().to_owned()];
        texts.into_iter().chain(numbers.map(|number| number.to_string())).collect()
    }

    fn read(arguments: &[String]) -> Self {
        let number = |at: usize| arguments[at].parse::<u64>().unwrap();
        Self {
            url: arguments[0].clone(),
            way: Way::named(&arguments[1]),
            begun: number(2),
            keys: number(3),
            keys_per_second: number(4),
            newest: number(5),
            lease: Duration::from_millis(number(6)),
            tasks: number(7),
            pause: number(8),
        }
    }

    /// How many keys have come by now.
    pub(crate) fn come(&self) -> u64 {
        ((now_ms() - self.begun) * self.keys_per_second / 1000).min(self.keys)
    }
}

pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

pub(crate) fn add_to(program: &mut Program) {
    program.role("client", |arguments| {
        let [history, name, seed, orders @ ..] = arguments else { panic!("{arguments:?}") };
        runtime().block_on(client(Path::new(history), name, seed.parse().unwrap(), Orders::read(orders)));
    });
}

/// Calls until all keys have come, or until nobody holds the other end of its stdin.
async fn client(history: &Path, name: &str, seed: u64, orders: Orders) {
    let store = open(&orders.url, orders.way).await;
    let store = Arc::new(Recording::to_file(history).unwrap().client(name, store));
    let is_over = Arc::new(AtomicBool::new(false));
    std::thread::spawn({
        let is_over = is_over.clone();
        move || {
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            is_over.store(true, Relaxed);
        }
    });
    let tasks = (0..orders.tasks).map(|task| {
        let (store, orders, is_over) = (store.clone(), orders.clone(), is_over.clone());
        let mut caller = Caller {
            store,
            lease: orders.lease,
            random: Random::new(seed ^ (task + 1) << 40),
            locks: Vec::new(),
            in_doubt: None,
        };
        tokio::spawn(async move {
            while !is_over.load(Relaxed) && orders.come() < orders.keys {
                let pause = match caller.call(&orders).await {
                    true => caller.random.below(orders.pause + 1),
                    false => AFTER_FAILURE,
                };
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

/// One task of a client.
struct Caller<S> {
    store: Arc<S>,
    lease: Duration,
    random: Random,
    locks: Vec<(Key, Lock)>,
    /// A claim whose answer did not come.
    in_doubt: Option<(Key, Claim)>,
}

impl<S: IdempotencyStore> Caller<S> {
    /// Makes a random call; whether it was answered.
    async fn call(&mut self, orders: &Orders) -> bool {
        // So that each is used after the same time, however few there are: many have lapsed by then.
        let at = self.random.below(LOCKS as u64) as usize;
        match (self.random.below(100), self.locks.get(at).cloned()) {
            (0..10, _) => {
                let key = self.key(orders);
                self.store.get(&key).await.is_ok()
            }
            (10..20, Some((key, lock))) => self.store.extend_lock(&key, &lock, self.lease).await.is_ok(),
            (20..32, Some((key, lock))) => {
                let value = Bytes::from(self.random.next().to_be_bytes().to_vec());
                let stored = self.store.store_result(&key, &lock, &Completion::Value(value), RETENTION).await;
                self.ended(at, stored.is_ok())
            }
            (32..40, Some((key, lock))) => {
                let effect = if self.random.below(2) == 0 { Effect::None } else { Effect::Unknown };
                let released = self.store.release_lock(&key, &lock, effect).await;
                self.ended(at, released.is_ok())
            }
            _ => self.acquire(orders).await,
        }
    }

    async fn acquire(&mut self, orders: &Orders) -> bool {
        let (key, claim) = match self.in_doubt.take() {
            Some(again) if self.random.below(4) > 0 => again,
            _ => (self.key(orders), self.claim()),
        };
        match self.store.acquire_lock(&key, &claim).await {
            Ok(Acquired::Acquired(grant)) => {
                if self.locks.len() == LOCKS {
                    self.locks.remove(0);
                }
                self.locks.push((key, grant.lock));
                true
            }
            Ok(_) => true,
            Err(_) => {
                self.in_doubt = Some((key, claim));
                false
            }
        }
    }

    fn claim(&mut self) -> Claim {
        let fingerprint = match self.random.below(20) {
            0 => Fingerprint::from_parts(1, [7; 32]),
            _ => Fingerprint::NONE,
        };
        let on_unknown = if self.random.below(8) == 0 { OnUnknown::Refuse } else { OnUnknown::RunAgain };
        Claim { fingerprint, on_unknown, ..claim(self.lease) }
    }

    /// One of the newest keys, most of the time.
    fn key(&mut self, orders: &Orders) -> Key {
        let come = orders.come() + 1;
        let from = if self.random.below(8) == 0 { 0 } else { come.saturating_sub(orders.newest) };
        key(from + self.random.below(come - from))
    }

    /// A lock that was ended is forgotten, most of the time; else it is used again.
    fn ended(&mut self, at: usize, was_answered: bool) -> bool {
        if was_answered && self.random.below(4) > 0 {
            self.locks.swap_remove(at);
        }
        was_answered
    }
}
