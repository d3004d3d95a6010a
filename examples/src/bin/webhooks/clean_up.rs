//! Removes expired records by a schedule, of all processes in one at a time, and each slot once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use idempotency::{Error, Exclusively, Idempotency, Store, StoreError};
use idempotency_examples::schedule::{Schedule, Slot};
use idempotency_examples::serve::new_id;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::sleep;

/// The job's name, by which processes know it.
const JOB: &str = "webhooks:clean-up";
/// How many records are removed at a time.
const BATCH: usize = 1_000;
/// A clean-up that takes longer is stopped; the next goes on from there.
const LONGEST: Duration = Duration::from_secs(10 * 60);
/// How long a slot is known to be done, whoever comes to it and however late.
const REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);
/// How often a process looks whether another's clean-up is over.
const LOOK: Duration = Duration::from_millis(500);
/// How many reports are remembered: a few days' of an hourly schedule.
const REPORTS: usize = 100;

/// The clean-up of a store.
#[derive(Debug)]
pub(crate) struct CleanUp {
    idempotency: Idempotency,
    store: Store,
    schedule: Schedule,
    /// Tells this process from others in reports.
    process: String,
    reports: Mutex<VecDeque<Report>>,
}

/// What a clean-up did; it is the slot's result, for whoever else comes to it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Removed {
    removed: u64,
    took_ms: u64,
    by: String,
}

/// What became of a slot in this process.
#[derive(Clone, Debug, Serialize)]
struct Report {
    /// Its planned time, or `start`.
    slot: String,
    #[serde(flatten)]
    outcome: Outcome,
}

#[derive(Clone, Debug, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
enum Outcome {
    Ran(Removed),
    DoneByAnother(Removed),
    AnotherIsRunning,
    Failed { error: String },
}

#[derive(Debug, thiserror::Error)]
enum CleanUpError {
    #[error(transparent)]
    Exclusive(#[from] Error),
    #[error("the store cannot be purged: {0}")]
    Store(#[from] StoreError),
}

impl CleanUp {
    pub(crate) fn new(idempotency: Idempotency, store: Store, schedule: Schedule) -> Arc<Self> {
        Arc::new(Self { idempotency, store, schedule, process: new_id(), reports: Mutex::default() })
    }

    /// Cleans up in every slot, and now if that is wished, for as long as the process lives.
    pub(crate) async fn run(self: Arc<Self>, now: bool) {
        if now {
            self.at_start().await;
        }
        let mut last = None;
        while let Some(slot) = self.schedule.next(last).await {
            self.in_slot(slot).await;
            last = Some(slot);
        }
    }

    /// What was done in the last slots, newest first, and when the next is.
    pub(crate) fn report(&self) -> Value {
        let reports: Vec<Report> =
            self.reports.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect();
        json!({
            "schedule": self.schedule.to_string(), "next": self.next(), "process": self.process, "reports": reports,
        })
    }

    pub(crate) fn next(&self) -> Option<String> {
        Some(self.schedule.after(jiff::Timestamp::now())?.to_string())
    }

    /// A clean-up that is in no slot; where another is under way, that one will do.
    async fn at_start(&self) {
        let job = self.idempotency.exclusive(JOB).at_most_for(LONGEST);
        let outcome = match job.run(|_| self.purge()).await {
            Ok(Exclusively::Ran(removed) | Exclusively::Overtaken(removed)) => Outcome::Ran(removed.into_inner()),
            Ok(_) => Outcome::AnotherIsRunning,
            Err(error) => Outcome::Failed { error: error.to_string() },
        };
        self.tell("start".into(), outcome);
    }

    async fn in_slot(&self, slot: Slot) {
        let outcome = loop {
            let job = self.idempotency.exclusive(JOB).at_most_for(LONGEST).retention(REMEMBERED).slot(slot.to_string());
            match job.run(|_| self.purge()).await {
                Ok(Exclusively::Ran(removed) | Exclusively::Overtaken(removed)) => {
                    break Outcome::Ran(removed.into_inner());
                }
                Ok(Exclusively::AlreadyDone { report, .. }) => break Outcome::DoneByAnother(report),
                // It may die before the slot is done.
                Ok(Exclusively::Busy { retry_after, .. }) => sleep(retry_after.min(LOOK)).await,
                Ok(Exclusively::TooSoon { .. }) => sleep(LOOK).await,
                Err(error) => break Outcome::Failed { error: error.to_string() },
            }
        };
        self.tell(slot.to_string(), outcome);
    }

    async fn purge(&self) -> Result<Removed, CleanUpError> {
        let begun = Instant::now();
        let mut removed = 0;
        loop {
            let purged = self.store.purge(BATCH).await?;
            removed += purged.removed as u64;
            if !purged.more {
                let took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
                return Ok(Removed { removed, took_ms, by: self.process.clone() });
            }
        }
    }

    fn tell(&self, slot: String, outcome: Outcome) {
        let next = self.next().unwrap_or_default();
        match &outcome {
            Outcome::Ran(Removed { removed, took_ms, .. }) => {
                tracing::info!(slot, removed, took_ms, next, "idempotency cleanup completed");
            }
            Outcome::DoneByAnother(Removed { by, removed, .. }) => {
                tracing::info!(slot, by, removed, next, "idempotency cleanup was done by another process");
            }
            Outcome::AnotherIsRunning => tracing::info!(slot, next, "another process is at the idempotency cleanup"),
            Outcome::Failed { error } => tracing::error!(slot, error, next, "idempotency cleanup failed"),
        }
        let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        reports.push_front(Report { slot, outcome });
        reports.truncate(REPORTS);
    }
}
