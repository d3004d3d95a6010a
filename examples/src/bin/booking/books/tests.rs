//! What the rules forbid, and the fence of a job's run, in both databases.

use idempotency::postgres::sqlx;
use idempotency_testkit::servers;

use super::model::{Execution, Opened, Payment, State, Status};
use super::{Books, BooksError, By, Journaled, Refusal, Step, Tables};

const LONG: u64 = 60 * 60 * 1000;

fn by(actor: &str) -> By {
    By { actor: actor.into(), correlation: "c".into(), attempt: Some("a-1".into()), execution: None }
}

fn run_of(execution: &Execution) -> By {
    By { execution: Some(execution.execution_id.clone()), ..by("expire-locks") }
}

fn lock(id: &str, seats: u64, lasts: u64) -> Step {
    Step::Lock { id: id.into(), event_id: "concert".into(), seats, lasts }
}

fn expire(id: &str) -> Step {
    Step::Expire { id: id.into(), abandoned: None }
}

fn opened(fence: u64) -> Opened {
    Opened { key: "k".into(), fence }
}

fn begin(id: &str, fence: u64) -> Step {
    Step::BeginPayment { id: id.into(), payment: Payment { by: opened(fence), amount: 5, transaction_id: None } }
}

/// A journal's folder, and both kinds of books with an event of ten seats.
async fn both() -> (tempfile::TempDir, Vec<Books>) {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journaled::open(&folder.path().join("books.jsonl")).unwrap();
    let database = servers::Postgres::shared().unwrap().fresh_database().unwrap();
    let both = vec![Books::Journaled(journal), Books::Tables(Tables::open(&database).await.unwrap())];
    for books in &both {
        books.open_event("concert", 10, &by("operator")).await.unwrap();
    }
    (folder, both)
}

async fn seats(books: &Books) -> (u64, u64, u64) {
    let event = books.event("concert").await.unwrap();
    (event.free(), event.locked, event.booked)
}

#[tokio::test]
async fn a_run_after_which_another_has_begun_changes_nothing() {
    let (_folder, both) = both().await;
    for books in &both {
        for id in ["one", "two"] {
            books.take(lock(id, 3, 0), &by("alice")).await.unwrap();
        }
        let (stale, next) = (Execution::begins("EXPIRE_LOCKS", 1, "c"), Execution::begins("EXPIRE_LOCKS", 2, "c"));
        books.begin_execution(stale.clone()).await.unwrap();
        assert!(books.take(expire("one"), &run_of(&stale)).await.unwrap().now);
        books.begin_execution(next.clone()).await.unwrap();
        let refused = books.take(expire("two"), &run_of(&stale)).await.unwrap_err();
        assert!(matches!(refused, BooksError::Overtaken), "{refused}");
        assert_eq!(seats(books).await, (7, 3, 0));
        let ended = books.end_execution(&stale.execution_id, Status::Completed, 0, "").await;
        assert!(matches!(ended, Err(BooksError::Overtaken)), "it has failed, and stays so");
        assert!(books.take(expire("two"), &run_of(&next)).await.unwrap().now);
        let ended = books.end_execution(&next.execution_id, Status::Completed, 0, "").await.unwrap();
        assert_eq!((ended.status, ended.results.processed), (Status::Completed, 1));
        assert_eq!(seats(books).await, (10, 0, 0));
        let mut runs: Vec<_> = books.executions().await.unwrap();
        runs.sort_by_key(|run| run.execution_id.clone());
        let told: Vec<_> = runs.iter().map(|run| (run.status, run.results.processed)).collect();
        assert_eq!(told, [(Status::Failed, 1), (Status::Completed, 1)]);
    }
}

#[tokio::test]
async fn what_is_not_over_is_not_taken_back_and_what_is_over_once() {
    let (_folder, both) = both().await;
    for books in &both {
        books.take(lock("long", 3, LONG), &by("alice")).await.unwrap();
        books.take(lock("short", 3, 0), &by("alice")).await.unwrap();
        let over = books.over(&[State::Locked]).await.unwrap();
        assert_eq!(over.iter().map(|held| held.id.as_str()).collect::<Vec<_>>(), ["short"]);
        for (id, now) in [("long", false), ("short", true), ("short", false)] {
            assert_eq!(books.take(expire(id), &by("job")).await.unwrap().now, now, "{id}");
        }
        assert_eq!(seats(books).await, (7, 3, 0));
        let booked = books.take(Step::Book { id: "short".into(), lasts: LONG }, &by("alice")).await;
        assert!(matches!(booked, Err(BooksError::Refused(Refusal::LockExpired))));
    }
}

#[tokio::test]
async fn a_lock_that_is_over_but_not_yet_taken_back_is_not_booked() {
    let (_folder, both) = both().await;
    for books in &both {
        books.take(lock("short", 3, 0), &by("alice")).await.unwrap();
        let booked = books.take(Step::Book { id: "short".into(), lasts: LONG }, &by("alice")).await;
        assert!(matches!(booked, Err(BooksError::Refused(Refusal::LockExpired))));
        assert_eq!(seats(books).await, (7, 3, 0));
    }
}

#[tokio::test]
async fn a_payment_is_closed_and_abandoned_only_by_who_has_it() {
    let (_folder, both) = both().await;
    for books in &both {
        let alice = by("alice");
        books.take(lock("l", 3, LONG), &alice).await.unwrap();
        books.take(Step::Book { id: "l".into(), lasts: 50 }, &alice).await.unwrap();
        books.take(begin("l", 1), &alice).await.unwrap();
        books.take(begin("l", 2), &alice).await.unwrap();
        assert!(matches!(books.take(begin("l", 1), &alice).await, Err(BooksError::Refused(Refusal::BeingPaid))));
        let not_paid = |fence| {
            let (id, paid) = ("l".into(), opened(fence));
            Step::NotPaid { id, paid, action: "PAYMENT_FAILED", reason: String::new() }
        };
        assert!(!books.take(not_paid(1), &alice).await.unwrap().now, "a later attempt has it");
        while books.over(&[State::Paying]).await.unwrap().is_empty() {}
        let abandon = |fence| Step::Expire { id: "l".into(), abandoned: Some(opened(fence)) };
        for (step, now) in [(expire("l"), false), (abandon(1), false), (abandon(2), true), (abandon(2), false)] {
            assert_eq!(books.take(step.clone(), &by("job")).await.unwrap().now, now, "{step:?}");
        }
        assert_eq!(seats(books).await, (10, 0, 0));
    }
}

#[tokio::test]
async fn a_journal_is_as_it_was_when_it_is_opened_again() {
    let (folder, both) = both().await;
    let alice = by("alice");
    for id in ["one", "two"] {
        both[0].take(lock(id, 3, LONG), &alice).await.unwrap();
    }
    both[0].take(Step::Book { id: "two".into(), lasts: LONG }, &alice).await.unwrap();
    both[0].begin_execution(Execution::begins("EXPIRE_LOCKS", 1, "c")).await.unwrap();
    drop(both);
    let again = Books::Journaled(Journaled::open(&folder.path().join("books.jsonl")).unwrap());
    assert_eq!(seats(&again).await, (4, 3, 3));
    assert_eq!(again.find("two").await.unwrap().state, State::PaymentPending);
    assert_eq!((again.trail(None).await.unwrap().len(), again.executions().await.unwrap().len()), (4, 1));
}

#[tokio::test]
async fn runs_of_jobs_are_forgotten_after_an_hour() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("books.jsonl");
    let database = servers::Postgres::shared().unwrap().fresh_database().unwrap();
    let tables = Books::Tables(Tables::open(&database).await.unwrap());
    let long_ago = Execution::begins("EXPIRE_LOCKS", 1, "c");
    let line = serde_json::to_string(&long_ago).unwrap();
    std::fs::write(&path, format!("{{\"executions\":[{line}]}}\n")).unwrap();
    let journaled = Books::Journaled(Journaled::open(&path).unwrap());
    tables.begin_execution(long_ago).await.unwrap();
    let pool = sqlx::PgPool::connect(&database).await.unwrap();
    sqlx::query("UPDATE booking_executions SET started_at = 0").execute(&pool).await.unwrap();
    for books in [journaled, tables] {
        assert!(books.executions().await.unwrap().is_empty());
        books.begin_execution(Execution::begins("EXPIRE_LOCKS", 2, "c")).await.unwrap();
        let runs = books.executions().await.unwrap();
        assert_eq!(runs.iter().map(|run| run.execution_id.as_str()).collect::<Vec<_>>(), ["EXPIRE_LOCKS-2"]);
    }
}
