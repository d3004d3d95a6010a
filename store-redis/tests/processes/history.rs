//! Many processes at work on the same keys, some of them killed: what they saw can be true.

use std::time::{Duration, Instant};

use idempotency_testkit::servers::{Redis, RedisCluster, RedisSentinel};

use crate::client::{Orders, now_ms};
use crate::common::{is_long, runtime, until};
use crate::crowd::Crowd;
use idempotency_testkit::processes::{Program, Random};

const CLIENTS: u64 = 8;
/// Longer than a call takes, and short enough to lapse often.
const LEASE: Duration = Duration::from_millis(400);
/// Of each test; about one in seventy is drawn by nobody.
const KEYS: u64 = 10_200;
const KEYS_PER_SECOND: u64 = 700;
const KILLS: u64 = 6;

pub(crate) fn add_to(program: &mut Program) {
    program.test("history::one_server_tells_many_processes_what_can_be_true", || {
        linearizable(&Redis::shared().unwrap().url());
    });
    program.test("history::a_cluster_tells_many_processes_what_can_be_true", || {
        linearizable(&RedisCluster::shared().unwrap().url());
    });
    program.test("history::a_master_under_sentinels_tells_many_processes_what_can_be_true", || {
        linearizable(&RedisSentinel::shared().unwrap().url());
    });
}

fn linearizable(url: &str) {
    let keys = if is_long() { 10 * KEYS } else { KEYS };
    let begun = now_ms();
    let orders = Orders {
        url: url.to_owned(),
        prefix: format!("history-{begun}:"),
        replicas: 0,
        begun,
        keys,
        keys_per_second: KEYS_PER_SECOND,
        // Five leases long, so that locks lapse and are taken over.
        newest: 2 * KEYS_PER_SECOND,
        lease: LEASE,
        tasks: 4,
        pause: 2,
    };
    let mut random = Random::new(begun);
    let mut crowd = Crowd::start(orders, begun, CLIENTS);
    runtime().block_on(async {
        for kill in 1..=KILLS {
            let due = keys * kill / (KILLS + 1);
            until("a time to kill", async || (crowd.orders().come() >= due).then_some(())).await;
            crowd.replace(random.below(CLIENTS) as usize);
        }
    });
    crowd.wait();
    let (took, checking) = (now_ms() - begun, Instant::now());
    let checked = crowd.history(LEASE / 4).check().unwrap_or_else(|verdict| panic!("seed {begun}: {verdict}"));
    println!("seed {begun}: {took} ms of calls, checked in {:?}: {checked:?}", checking.elapsed());
    assert!(checked.keys as u64 > keys * 9 / 10, "of {keys} keys");
}
