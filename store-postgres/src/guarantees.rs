//! What the server is, as it says itself.

use idempotency_core::{Answer, ClockSource, FenceSource, Guarantees, StoreError, StoreErrorKind};
use sqlx::Row;

use crate::carry::Pool;
use crate::error::Operation;

/// A standby, or what is set to be read-only, is told at once, and not by the first call.
pub(crate) async fn takes_writes(pool: &Pool) -> Result<(), StoreError> {
    const READ_ONLY: &str = "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::bool AS read_only";
    let row = match pool.one("open", || sqlx::query(READ_ONLY).persistent(false)).await {
        Err(error) if error.kind() == StoreErrorKind::Unavailable => return Err(pool.why_not(error).await),
        row => row?,
    };
    if row.try_get::<bool, _>("read_only").during("open")? {
        let message = "Postgres: this server is a standby or read-only: name the primary";
        return Err(StoreError::new(StoreErrorKind::Unavailable, "open").with_message(message));
    }
    Ok(())
}

/// What the server survives, as it is set up at this moment, for this user.
pub(crate) async fn found(pool: &Pool) -> Result<Guarantees, StoreError> {
    const ASKED: &str = "guarantees";
    const SETTINGS: &str = "SELECT current_setting('synchronous_commit') AS commits, current_setting('fsync') AS fsync, \
                    current_setting('synchronous_standby_names') AS standbys, pg_is_in_recovery() AS is_standby";
    let row = pool.one(ASKED, || sqlx::query(SETTINGS).persistent(false)).await?;
    let setting = |name: &str| row.try_get::<String, _>(name).during(ASKED);
    let (commits, fsync, standbys) = (setting("commits")?, setting("fsync")?, setting("standbys")?);
    let mut guarantees = Guarantees::none("postgres");
    guarantees.shared = Answer::Yes;
    guarantees.clock = ClockSource::Server;
    guarantees.fences = FenceSource::Counter;
    if row.try_get::<bool, _>("is_standby").during(ASKED)? {
        let standby = Answer::No("the server is a standby and takes no writes; name the primary".into());
        guarantees.survives_process_crash = standby.clone();
        guarantees.survives_machine_crash = standby.clone();
        guarantees.survives_failover = standby;
        return Ok(guarantees);
    }
    let not_yet = (commits == "off")
        .then(|| Answer::No("it answers before what it wrote is on the disk; set synchronous_commit to on".to_owned()));
    guarantees.survives_process_crash = not_yet.clone().unwrap_or(Answer::Yes);
    guarantees.survives_machine_crash = match (not_yet, fsync.as_str()) {
        (Some(not_yet), _) => not_yet,
        (None, "on") => Answer::Yes,
        (None, _) => Answer::No("it does not wait for its disk: set fsync on".into()),
    };
    guarantees.survives_failover = match (commits.as_str(), standbys.is_empty()) {
        ("on" | "remote_apply", false) => Answer::Yes,
        (_, true) => Answer::No("no standby has what it wrote before it answers; set synchronous_standby_names".into()),
        (commits, false) => {
            Answer::No(format!("synchronous_commit is {commits}: set it to on, so that a standby's disk has it"))
        }
    };
    Ok(guarantees)
}
