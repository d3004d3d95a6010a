//! The clean-up: by its schedule, once a slot in all processes, with its report.

use std::collections::BTreeMap;
use std::time::Duration;

use idempotency::postgres::sqlx;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{created, database, in_the_end, ledger, said, send, with};
use crate::support::Service;

const SECONDLY: &[&str] = &["--secrets", "whatsapp=secret-1", "--ttl", "1s", "--cleanup", "* * * * * *"];
const AT_START: &[&str] =
    &["--secrets", "whatsapp=secret-1", "--ttl", "1s", "--cleanup-on-start", "true", "--statistics-age", "1ms"];

#[derive(Clone, Debug, Deserialize)]
struct Told {
    process: String,
    next: String,
    reports: Vec<Report>,
}

#[derive(Clone, Debug, Deserialize)]
struct Report {
    slot: String,
    outcome: String,
    removed: Option<u64>,
    by: Option<String>,
}

async fn told(service: &Service) -> Told {
    service.look("/api/v1/webhooks/cleanup").await
}

async fn until(service: &Service, so: impl Fn(&Told) -> bool + Send + Sync) -> Told {
    let comes = async {
        loop {
            let told = told(service).await;
            if so(&told) {
                return told;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    in_the_end("a report", comes).await
}

fn removed(told: &Told) -> u64 {
    told.reports.iter().filter(|report| report.outcome == "ran").filter_map(|report| report.removed).sum()
}

#[cfg(unix)]
#[tokio::test]
async fn expired_records_are_removed_by_schedule_and_it_is_told() {
    let (url, pool) = database().await;
    let service = with(SECONDLY).start(Some(&url)).await;
    for event in 0..20 {
        assert_eq!(send(&service, None, &created(&format!("evt_{event}"), &format!("o_{event}"))).await.status, 200);
    }
    let told = until(&service, |told| removed(told) == 20).await;
    assert!(told.reports.iter().all(|report| report.outcome == "ran"), "{told:?}");
    assert!(told.next > told.reports[0].slot, "{told:?}");
    let log = service.log();
    assert!(
        log.contains("idempotency cleanup completed") && log.contains("took_ms=") && log.contains("next="),
        "{log}"
    );
    // A forgotten key runs again, and the books still know the event.
    assert_eq!(said(&send(&service, None, &created("evt_1", "o_1")).await), Some("recorded"));
    assert_eq!(ledger(&service, Some(&pool)).await.len(), 20);
}

#[cfg(unix)]
#[tokio::test]
async fn it_is_done_at_the_start_where_that_is_asked() {
    let (url, _) = database().await;
    let mut service = with(AT_START).start(Some(&url)).await;
    let first = until(&service, |told| !told.reports.is_empty()).await;
    assert_eq!((first.reports[0].slot.as_str(), first.reports[0].removed), ("start", Some(0)));
    assert!(first.next.ends_with(":00:00Z"), "hourly unless told otherwise: {first:?}");
    assert_eq!(said(&send(&service, None, &created("evt_1", "o_1")).await), Some("recorded"));
    // Until its answer is kept no longer.
    in_the_end("its end", async {
        while service.look::<Value>("/api/v1/webhooks/statistics").await["records"]["active"] != json!(0) {
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    service.kill_and_restart().await;
    let again = until(&service, |told| !told.reports.is_empty()).await;
    assert_eq!((again.reports[0].outcome.as_str(), again.reports[0].removed), ("ran", Some(1)), "{again:?}");
}

#[tokio::test]
async fn a_schedule_that_is_none_is_told_at_the_start() {
    let refused = with(&["--cleanup", "61 * * * *"]).refused().await;
    assert!(refused.contains("its minute `61`") && refused.contains("`0 * * * *`"), "{refused}");
    let refused = with(&["--secrets", "a=one,b=one"]).refused().await;
    assert!(refused.contains("--secrets: two sources have the same secret"), "{refused}");
    let refused = with(&["--enabled", "perhaps"]).refused().await;
    assert!(refused.contains("--enabled is `true` or `false`, not `perhaps`"), "{refused}");
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn two_processes_clean_up_each_slot_once_while_webhooks_come() {
    let (url, pool) = database().await;
    let services = [with(SECONDLY).start(Some(&url)).await, with(SECONDLY).start(Some(&url)).await];
    let begun = [told(&services[0]).await, told(&services[1]).await];
    let from = begun.iter().map(|told| told.next.clone()).max().expect("two");
    // Webhooks at both, until both have come to ten slots.
    let mut sent = 0;
    let comes = async {
        loop {
            for _ in 0..20 {
                let service = &services[sent % 2];
                let body = created(&format!("evt_{sent}"), &format!("o_{sent}"));
                assert_eq!(send(service, None, &body).await.status, 200);
                sent += 1;
            }
            let ended = [told(&services[0]).await, told(&services[1]).await];
            if ended.iter().all(|told| told.reports.iter().filter(|report| report.slot > from).count() >= 10) {
                return ended;
            }
        }
    };
    let ended = in_the_end("ten slots at both", comes).await;
    let until = ended.iter().map(|told| told.reports[0].slot.clone()).min().expect("two");
    let mut ran: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (told, report) in ended.iter().flat_map(|told| told.reports.iter().map(move |report| (told, report))) {
        match report.outcome.as_str() {
            "ran" => ran.entry(&report.slot).or_default().push(&told.process),
            "done_by_another" => assert_ne!(report.by.as_deref(), Some(told.process.as_str())),
            other => panic!("{other}: {told:?}"),
        }
    }
    assert!(ran.values().all(|by| by.len() == 1), "a slot ran twice: {ran:?}");
    // What one was told to have been done by another was done by that.
    for (told, other) in [(&ended[0], &ended[1]), (&ended[1], &ended[0])] {
        for report in told.reports.iter().filter(|report| report.outcome == "done_by_another" && report.slot <= until) {
            assert_eq!(report.by.as_deref(), Some(other.process.as_str()));
            assert_eq!(ran.get(report.slot.as_str()), Some(&vec![other.process.as_str()]), "{report:?}");
        }
    }
    let both =
        ended.iter().filter(|told| told.reports.iter().any(|report| report.outcome == "done_by_another")).count();
    assert!(both > 0, "neither came second");
    assert!(ended.iter().map(removed).sum::<u64>() > 0, "nothing was removed");
    assert_eq!(ledger(&services[0], Some(&pool)).await.len(), sent);
}

/// So that a clean-up can be stopped at a record: whoever removes one waits for the test.
const STOPS: &str = "
    CREATE FUNCTION stops() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN PERFORM pg_advisory_xact_lock(42); RETURN OLD; END';
    CREATE TRIGGER stops BEFORE DELETE ON idempotency.records FOR EACH ROW EXECUTE FUNCTION stops();";
const IS_STOPPED: &str = "SELECT EXISTS (SELECT FROM pg_stat_activity
    WHERE wait_event = 'advisory' AND datname = current_database() AND query LIKE '%DELETE FROM%')";
const END_IT: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE wait_event = 'advisory' AND datname = current_database() AND query LIKE '%DELETE FROM%'";

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_clean_up_whose_process_is_killed_is_taken_over() {
    let (url, pool) = database().await;
    let mut first = with(SECONDLY).start(Some(&url)).await;
    let mut holds = pool.begin().await.expect("a transaction");
    sqlx::raw_sql(STOPS).execute(&pool).await.expect("a trigger");
    sqlx::query("SELECT pg_advisory_xact_lock(42)").execute(&mut *holds).await.expect("a lock");
    assert_eq!(send(&first, None, &created("evt_1", "o_1")).await.status, 200);
    in_the_end("a clean-up that is stopped", async {
        while !sqlx::query_scalar::<_, bool>(IS_STOPPED).fetch_one(&pool).await.expect("an answer") {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let second = with(SECONDLY).start(Some(&url)).await;
    first.kill_and_restart().await;
    sqlx::query(END_IT).execute(&pool).await.expect("it is ended");
    holds.rollback().await.expect("the lock is gone");
    // Whichever of the two comes first; it is told that a run before it did not end.
    let services = [first, second];
    let comes = async {
        loop {
            let reports = [told(&services[0]).await.reports, told(&services[1]).await.reports].concat();
            if reports.iter().any(|report| report.outcome == "ran" && report.removed == Some(1)) {
                return reports;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    let reports = in_the_end("a take-over", comes).await;
    assert!(reports.iter().all(|report| report.outcome != "failed"), "{reports:?}");
    let logs = services.map(|service| service.log()).concat();
    assert!(logs.contains("the run before did not end"), "{logs}");
}
