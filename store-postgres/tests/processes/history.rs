//! Many processes at work on the same keys, some of them killed: what they saw can be true.

use std::time::{Duration, Instant};

use idempotency_testkit::servers::{PgBouncer, Postgres};

use crate::client::{Orders, now_ms};
use crate::common::{Way, is_long, runtime, until};
use crate::crowd::Crowd;
use idempotency_testkit::processes::{Program, Random};

const CLIENTS: u64 = 8;
/// Longer than a call takes, and short enough to lapse often.
const LEASE: Duration = Duration::from_millis(500);
/// Of each test; about one in seventy is drawn by nobody.
const KEYS: u64 = 2_000;
const KEYS_PER_SECOND: u64 = 200;
const KILLS: u64 = 6;

pub(crate) fn add_to(program: &mut Program) {
    program.test("history::at_the_usual_isolation_many_processes_are_told_what_can_be_true", || {
        linearizable(&Postgres::shared().unwrap().fresh_database().unwrap(), Way::Own);
    });
    program.test("history::at_the_strictest_isolation_many_processes_are_told_what_can_be_true", || {
        linearizable(&serializable(), Way::Callers);
    });
    program.test("history::through_a_pooler_many_processes_are_told_what_can_be_true", || {
        let pooler = PgBouncer::shared().unwrap();
        linearizable(&pooler.url(&Postgres::shared().unwrap().fresh_database().unwrap()), Way::Pooler);
        if is_long() {
            linearizable(&pooler.url(&serializable()), Way::Pooler);
        }
    });
}

/// A database on which nobody sees another isolation who does not ask for it.
fn serializable() -> String {
    let server = Postgres::shared().unwrap();
    let url = server.fresh_database().unwrap();
    let name = url.rsplit('/').next().unwrap();
    server.query(&format!("ALTER DATABASE {name} SET default_transaction_isolation = serializable")).unwrap();
    url
}

fn linearizable(url: &str, way: Way) {
    let keys = if is_long() { 10 * KEYS } else { KEYS };
    let begun = now_ms();
    let orders = Orders {
        url: url.to_owned(),
        way,
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
    let checked = crowd.history().check().unwrap_or_else(|verdict| panic!("seed {begun}: {verdict}"));
    println!("{way:?}, seed {begun}: {took} ms of calls, checked in {:?}: {checked:?}", checking.elapsed());
    assert!(checked.keys as u64 > keys * 9 / 10, "of {keys} keys");
}
