//! What is wrong with one key is not its neighbours' fault.

use std::time::{Duration, Instant};

use idempotency_core::{Acquired, Held, IdempotencyStore, StoreErrorKind, Upkeep};
use idempotency_store_postgres::PostgresStore;
use idempotency_store_postgres::sqlx::{self, PgPool};
use idempotency_testkit::servers::Postgres;

use crate::support::{MARGIN, acquired, assert_error, claim, config, key, value};

const LIMIT: Duration = Duration::from_secs(3);

/// Somebody, not this library, holds a row that is to be completed, and a key that is to be new.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_others_hold() {
    let url = Postgres::shared().unwrap().fresh_database().unwrap();
    let pool = PgPool::connect(&url).await.unwrap();
    let store = PostgresStore::open(config(&url).with_limit(LIMIT)).await.unwrap();
    let mut locks = Vec::new();
    for n in 0..40 {
        locks.push(acquired(&store, &key(format!("old{n}"))).await.lock);
    }
    let mut foreign = pool.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM idempotency.records WHERE key = $1 FOR UPDATE")
        .bind(key("old7").as_str())
        .execute(&mut *foreign)
        .await
        .unwrap();
    sqlx::query(
        "INSERT INTO idempotency.records (key, owner, fingerprint, fence, attempt, acquired_at, lease_until, \
         completed_at, forgotten_at, retention, unknown_retention, look_at, on_unknown, fingerprint_version, state, \
         confirmed) VALUES ($1, '', '', 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 'P', true)",
    )
    .bind(key("new7").as_str())
    .execute(&mut *foreign)
    .await
    .unwrap();

    // Those that are not held are done soon, the others are told in time.
    let begun = Instant::now();
    let stored = locks.iter().enumerate().map(|(n, lock)| {
        let (store, lock) = (store.clone(), *lock);
        tokio::spawn(async move {
            let answer = store.store_result(&key(format!("old{n}")), &lock, &value(b"v"), LIMIT).await;
            (n, answer, begun.elapsed())
        })
    });
    let held_up = claim();
    let new = (0..40).map(|n| {
        let store = store.clone();
        let claim = if n == 7 { held_up.clone() } else { claim() };
        tokio::spawn(async move {
            let answer = store.acquire_lock(&key(format!("new{n}")), &claim).await;
            (n, answer, begun.elapsed())
        })
    });
    let (stored, new): (Vec<_>, Vec<_>) = (stored.collect(), new.collect());
    for each in stored {
        let (n, answer, took) = each.await.unwrap();
        if n == 7 {
            assert_error(&answer.unwrap_err(), StoreErrorKind::Unavailable, &[]);
            assert!(took < LIMIT + MARGIN, "{took:?}");
        } else {
            assert_eq!(answer.unwrap(), Held::Held);
            assert!(took < LIMIT / 2, "{n}: {took:?}");
        }
    }
    for each in new {
        let (n, answer, took) = each.await.unwrap();
        if n == 7 {
            assert!(answer.unwrap_err().is_passing());
            assert!(took < LIMIT + MARGIN, "{took:?}");
        } else {
            assert!(matches!(answer, Ok(Acquired::Acquired(_))), "{n}: {answer:?}");
            assert!(took < LIMIT / 2, "{n}: {took:?}");
        }
    }
    foreign.rollback().await.unwrap();
    assert_eq!(store.store_result(&key("old7"), &locks[7], &value(b"v"), LIMIT).await.unwrap(), Held::Held);
    // It may have come through when the row was free: the same owner has it in any case.
    let again = store.acquire_lock(&key("new7"), &held_up).await.unwrap();
    assert!(matches!(again, Acquired::Acquired(_)), "{again:?}");
}

/// A row that is damaged fails the call for it, and no other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_row() {
    let url = Postgres::shared().unwrap().fresh_database().unwrap();
    let pool = PgPool::connect(&url).await.unwrap();
    let store = PostgresStore::open(config(&url)).await.unwrap();
    acquired(&store, &key("n7")).await;
    sqlx::query("UPDATE idempotency.records SET owner = 'short'").execute(&pool).await.unwrap();
    let new = (0..40).map(|n| {
        let store = store.clone();
        tokio::spawn(async move { store.acquire_lock(&key(format!("n{n}")), &claim()).await })
    });
    for (n, each) in new.collect::<Vec<_>>().into_iter().enumerate() {
        match (n, each.await.unwrap()) {
            (7, answer) => assert_error(&answer.unwrap_err(), StoreErrorKind::Damaged, &["owner"]),
            (_, answer) => assert!(matches!(answer, Ok(Acquired::Acquired(_))), "{n}: {answer:?}"),
        }
    }
    assert_eq!(store.get(&key("n7")).await.unwrap_err().kind(), StoreErrorKind::Damaged);
    assert_eq!(store.stats().await.unwrap().in_progress, 40);
}
