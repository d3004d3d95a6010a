//! SIGKILL in the middle of a webhook, wherever that is, and many at once.

use std::time::Duration;

use idempotency::postgres::sqlx::{self, PgPool};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::{WEBHOOK, WEBHOOKS, assert_problem, created, database, in_the_end, ledger, said, send, signed};
use crate::support::Service;

/// Sends it, and does not mind if there is no answer.
fn on_its_way(service: &Service, body: &serde_json::Value) -> JoinHandle<()> {
    let ask = signed(service, "secret-1", body);
    tokio::spawn(async move { drop(ask.send().await) })
}

/// Waits until a query says yes.
async fn until(database: &PgPool, query: &'static str) {
    in_the_end(query, async {
        while !sqlx::query_scalar::<_, bool>(query).fetch_one(database).await.expect("an answer") {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

const IS_IN_PROGRESS: &str =
    "SELECT EXISTS (SELECT FROM idempotency.records_readable WHERE state = 'in progress' AND id = 'evt_1')";
/// Somebody waits for a lock that the test holds, with a statement that is of the books or of the records.
const WAITS_TO_BOOK: &str = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'
    AND datname = current_database() AND query LIKE '%webhooks_orders%')";
const WAITS_TO_RECORD: &str = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'
    AND datname = current_database() AND query LIKE '%completed_at = c.now%')";

const END_IT: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'
    AND datname = current_database() AND query LIKE '%completed_at = c.now%'";
const IS_ENDED: &str = "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'
    AND datname = current_database() AND query LIKE '%completed_at = c.now%')";

/// Asks again until it is answered, as its provider would. How the last answer came about.
async fn until_answered(service: &Service, body: &serde_json::Value) -> String {
    in_the_end("an answer", answered(service, body)).await
}

async fn answered(service: &Service, body: &serde_json::Value) -> String {
    loop {
        let reply = send(service, None, body).await;
        match reply.status.as_u16() {
            409 => {
                assert_problem(&reply, 409, "in-progress");
                sleep(Duration::from_millis(50)).await;
            }
            status => {
                assert_eq!(status, 200, "{reply:?}");
                assert_eq!(reply.json::<serde_json::Value>().expect("JSON")["entry"]["event"], json!("evt_1"));
                return format!(
                    "{} after {}",
                    said(&reply).unwrap_or_default(),
                    reply.header("idempotency-prior").unwrap_or("nothing")
                );
            }
        }
    }
}

#[cfg(unix)]
#[tokio::test]
async fn killed_before_its_order_is_booked_it_is_booked_by_the_retry() {
    let (url, pool) = database().await;
    let mut service = WEBHOOKS.start(Some(&url)).await;
    let body = created("evt_1", "o_1");
    let mut holds = pool.begin().await.expect("a transaction");
    sqlx::query("LOCK TABLE webhooks_orders IN EXCLUSIVE MODE").execute(&mut *holds).await.expect("a lock");
    let first = on_its_way(&service, &body);
    until(&pool, WAITS_TO_BOOK).await;
    let during = send(&service, None, &body).await;
    assert_eq!((during.status.as_u16(), said(&during)), (409, None), "a duplicate meanwhile");
    service.kill_and_restart().await;
    first.await.expect("it has no answer");
    holds.rollback().await.expect("the lock is gone");
    assert_eq!(until_answered(&service, &body).await, "recorded after unknown");
    assert_eq!(ledger(&service, Some(&pool)).await.len(), 1);
    assert_eq!(until_answered(&service, &body).await, "replayed after nothing");
}

#[cfg(unix)]
#[tokio::test]
async fn killed_after_its_order_is_booked_it_is_not_booked_again() {
    let (url, pool) = database().await;
    let mut service = WEBHOOKS.start(Some(&url)).await;
    let body = created("evt_1", "o_1");
    let mut books = pool.begin().await.expect("a transaction");
    sqlx::query("LOCK TABLE webhooks_orders IN EXCLUSIVE MODE").execute(&mut *books).await.expect("a lock");
    let first = on_its_way(&service, &body);
    until(&pool, WAITS_TO_BOOK).await;
    until(&pool, IS_IN_PROGRESS).await;
    // It books, and cannot say that it did.
    let mut record = pool.begin().await.expect("a transaction");
    sqlx::query("LOCK TABLE idempotency.records IN EXCLUSIVE MODE").execute(&mut *record).await.expect("a lock");
    books.rollback().await.expect("the lock is gone");
    until(&pool, WAITS_TO_RECORD).await;
    assert_eq!(ledger(&service, Some(&pool)).await.len(), 1);
    service.kill_and_restart().await;
    first.await.expect("it has no answer");
    // A server does not notice that a client is gone which waits for a lock: it would record for the dead.
    sqlx::query(END_IT).execute(&pool).await.expect("it is ended");
    until(&pool, IS_ENDED).await;
    record.rollback().await.expect("the lock is gone");
    assert_eq!(until_answered(&service, &body).await, "recorded after unknown");
    assert_eq!(ledger(&service, Some(&pool)).await.len(), 1);
    assert!(service.log().contains("already booked, skipping"), "{}", service.log());
}

/// The same on sled, where it cannot be stopped at a point: its journal is as such a kill leaves it.
#[tokio::test]
async fn what_the_journal_has_is_not_booked_again_though_its_key_is_new() {
    let mut service = WEBHOOKS.start(None).await;
    assert_eq!(said(&send(&service, Some("k1"), &created("evt_1", "o_1")).await), Some("recorded"));
    service.kill_and_restart().await;
    assert_eq!(said(&send(&service, Some("k2"), &created("evt_1", "o_1")).await), Some("recorded"));
    assert_eq!(said(&send(&service, Some("k1"), &created("evt_1", "o_1")).await), Some("replayed"));
    assert_eq!(ledger(&service, None).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_are_one() {
    let service = WEBHOOKS.start(None).await;
    let body = created("evt_1", "o_1");
    let all: Vec<_> = (0..32).map(|_| tokio::spawn(signed(&service, "secret-1", &body).send())).collect();
    let mut recorded = 0;
    for one in all {
        let reply = one.await.expect("a task").expect("an answer");
        match (reply.status.as_u16(), said(&reply)) {
            (200, Some("recorded")) => recorded += 1,
            (200, Some("replayed")) => {}
            (409, None) => assert!(reply.header("retry-after").is_some()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(recorded, 1);
    assert_eq!(service.log().matches("idempotency key is new").count(), 1);
    assert_eq!(ledger(&service, None).await.len(), 1);
    assert_eq!(service.post(WEBHOOK, &body).send().await.expect("an answer").status, 401);
}
