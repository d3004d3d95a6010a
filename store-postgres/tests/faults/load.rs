//! Servers that fail under load: what was acknowledged is there, no two hold a key, and every call
//! answers in time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use idempotency_core::{Acquired, Claim, Completion, Held, IdempotencyStore, State};
use idempotency_store_postgres::PostgresStore;
use idempotency_testkit::servers::{Postgres, PostgresServer};

use crate::support::{MARGIN, SURELY, claim, config, key, value};

const LIMIT: Duration = Duration::from_secs(1);
const TASKS: u32 = 16;

/// Runs keys from nothing to a result while `disturb` does its work; some of them claimed twice.
async fn under_load(url: &str, disturb: impl FnOnce() + Send + 'static) {
    let store = PostgresStore::open(config(url).with_limit(LIMIT)).await.unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let next = Arc::new(AtomicU32::new(0));
    let tasks = (0..TASKS).map(|task| {
        let (store, is_over, next) = (store.clone(), is_over.clone(), next.clone());
        tokio::spawn(async move {
            let (mut held, mut stored, mut failed) = (Vec::new(), Vec::new(), 0_u32);
            while !is_over.load(Relaxed) {
                // Two tasks a key.
                let key = key((next.fetch_add(1, Relaxed) / 2).to_string());
                let claim = Claim { lease: SURELY * 10, ..claim() };
                let begun = Instant::now();
                let acquired = store.acquire_lock(&key, &claim).await;
                assert!(begun.elapsed() < LIMIT + MARGIN, "{:?}", begun.elapsed());
                let grant = match acquired {
                    Ok(Acquired::Acquired(grant)) => grant,
                    Ok(_) => continue,
                    Err(error) => {
                        assert!(error.is_passing(), "{error}");
                        failed += 1;
                        continue;
                    }
                };
                held.push((key.clone(), grant.lock));
                let begun = Instant::now();
                let told = store.store_result(&key, &grant.lock, &value(&task.to_be_bytes()), SURELY * 10).await;
                assert!(begun.elapsed() < LIMIT + MARGIN, "{:?}", begun.elapsed());
                match told {
                    Ok(Held::Held) => stored.push((key, task)),
                    Ok(Held::Lost) => panic!("{key} was lost within its lease"),
                    Err(error) => {
                        assert!(error.is_passing(), "{error}");
                        failed += 1;
                    }
                }
            }
            (held, stored, failed)
        })
    });
    let tasks: Vec<_> = tasks.collect();
    tokio::task::spawn_blocking(disturb).await.unwrap();
    is_over.store(true, Relaxed);
    let (mut all_held, mut all_stored, mut all_failed) = (Vec::new(), Vec::new(), 0);
    for task in tasks {
        let (held, stored, failed) = task.await.unwrap();
        all_held.extend(held);
        all_stored.extend(stored);
        all_failed += failed;
    }
    println!("{} held, {} stored, {all_failed} failed", all_held.len(), all_stored.len());
    assert!(all_stored.len() > 50 && all_failed > 0, "{} stored, {all_failed} failed", all_stored.len());
    let mut keys: Vec<_> = all_held.iter().map(|(key, _)| key.as_str().to_owned()).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), all_held.len(), "two held one key");
    for (key, task) in all_stored {
        let begun = Instant::now();
        let found = loop {
            match store.get(&key).await {
                Ok(found) => break found.unwrap().record,
                Err(error) => assert!(error.is_passing() && begun.elapsed() < SURELY, "{error}"),
            }
        };
        let State::Completed { result: Completion::Value(bytes), .. } = found.state else { panic!("{key}: {found:?}") };
        assert_eq!(&*bytes, task.to_be_bytes(), "{key}");
    }
}

fn pause() {
    std::thread::sleep(Duration::from_millis(300));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_and_comes_back() {
    let server = Arc::new(Postgres::new().own().start().unwrap());
    let url = server.fresh_database().unwrap();
    let killed = server.clone();
    under_load(&url, move || {
        for _ in 0..4 {
            pause();
            killed.kill().unwrap();
            pause();
            killed.restart().unwrap();
        }
        pause();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backends_that_are_ended_at_random() {
    let server = Postgres::shared().unwrap();
    let url = server.fresh_database().unwrap();
    let database = url.rsplit('/').next().unwrap().to_owned();
    under_load(&url, move || {
        for _ in 0..20 {
            end_some(server, &database);
            std::thread::sleep(Duration::from_millis(50));
        }
        pause();
    })
    .await;
}

fn end_some(server: &PostgresServer, database: &str) {
    let ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                 WHERE pid <> pg_backend_pid() AND random() < 0.4 AND datname =";
    server.query(&format!("{ended} '{database}'")).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs() {
    let server = Arc::new(Postgres::new().own().start().unwrap());
    let url = server.fresh_database().unwrap();
    let hung = server.clone();
    under_load(&url, move || {
        pause();
        hung.pause().unwrap();
        std::thread::sleep(LIMIT * 2);
        hung.resume().unwrap();
        std::thread::sleep(LIMIT);
    })
    .await;
}
