//! A move in two steps whose second step comes late.

use std::time::Duration;

use idempotency_core::{Acquired, Claim, Effect, Held, IdempotencyStore};
use idempotency_store_postgres::PostgresStore;
use idempotency_testkit::proxy::{Direction, Proxy};
use idempotency_testkit::servers::Postgres;

use crate::support::{acquired, claim, config, key};

/// How long each message takes to the server: longer than half of the time for which the record is kept.
const DELAY: Duration = Duration::from_millis(1300);
const KEPT: Duration = Duration::from_millis(2000);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_is_forgotten_between_a_look_and_its_change_is_not_brought_back() {
    let server = Postgres::shared().unwrap();
    let url = server.fresh_database().unwrap();
    PostgresStore::open(config(&url)).await.unwrap();
    let proxy = Proxy::start(server.address()).unwrap();
    let database = url.rsplit('/').next().unwrap();
    let through = server.url_at(&proxy.address().to_string(), database);
    let store = PostgresStore::open(config(&through).with_connections(1).with_limit(20 * DELAY)).await.unwrap();
    // All that is said below was said once before, so that each of it is one message.
    let before = acquired(&store, &key("before")).await;
    assert_eq!(store.release_lock(&key("before"), &before.lock, Effect::None).await.unwrap(), Held::Held);

    let brief = Claim { lease: Duration::from_millis(1), unknown_retention: KEPT, ..claim() };
    let Acquired::Acquired(grant) = store.acquire_lock(&key("late"), &brief).await.unwrap() else { panic!("new") };
    proxy.delay(Direction::ToServer, DELAY);
    // Looked at while it is there, it would be changed when it is there no longer.
    assert_eq!(store.release_lock(&key("late"), &grant.lock, Effect::Unknown).await.unwrap(), Held::Lost);
    proxy.heal();
    assert!(store.get(&key("late")).await.unwrap().is_none());
}
