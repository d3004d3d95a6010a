//! The background jobs. Of each never two run at once, in all processes over one store.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use idempotency::{Attempt, Error, Exclusively};
use idempotency_examples::correlation::CorrelationId;
use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval};
use tracing::Instrument;

use crate::books::model::{Execution, State, Status};
use crate::books::{BooksError, By};
use crate::payments::NotTakenBack;
use crate::service::Service;

/// Longer than any run should take. One that hangs holds the next off for no longer.
const LONGEST_RUN: Duration = Duration::from_secs(10 * 60);
/// How long the report of a slot of the schedule is kept.
const REPORTS_KEPT: Duration = Duration::from_secs(60 * 60);

/// What is said of a run that did not begin because of another.
pub(crate) const ANOTHER: &str = "Another instance is already running";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Job {
    ExpireLocks,
    ExpireBookings,
}

impl Job {
    const ALL: [Self; 2] = [Self::ExpireLocks, Self::ExpireBookings];

    pub(crate) fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|job| job.name() == name)
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::ExpireLocks => "expire-locks",
            Self::ExpireBookings => "expire-bookings",
        }
    }

    const fn job_type(self) -> &'static str {
        match self {
            Self::ExpireLocks => "EXPIRE_LOCKS",
            Self::ExpireBookings => "EXPIRE_BOOKINGS",
        }
    }

    /// Where what it takes back is found.
    const fn states(self) -> &'static [State] {
        match self {
            Self::ExpireLocks => &[State::Locked],
            Self::ExpireBookings => &[State::PaymentPending, State::Paying],
        }
    }
}

/// What became of a run that was asked for.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Ran {
    /// Whether nothing ran.
    skipped: bool,
    message: &'static str,
    execution: Option<Execution>,
}

impl Ran {
    const fn skipped(message: &'static str) -> Self {
        Self { skipped: true, message, execution: None }
    }
}

/// Runs both jobs once in each period of this length, whoever of the processes comes first.
pub(crate) async fn on_schedule(service: Arc<Service>, every: Duration) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for job in Job::ALL {
            let id = CorrelationId::random();
            let span = tracing::info_span!("job", correlation_id = %id, job = job.name());
            let run = service.run_job(job, id.as_str(), Some(every));
            async {
                match run.await {
                    Ok(Ran { message, execution, .. }) => tracing::info!(?execution, "{message}"),
                    Err(error) => tracing::error!(%error, "the job failed"),
                }
            }
            .instrument(span)
            .await;
        }
    }
}

impl Service {
    /// Runs a job, unless it runs already; of the schedule, once in each period.
    pub(crate) async fn run_job(&self, job: Job, correlation: &str, every: Option<Duration>) -> Result<Ran, JobError> {
        let mut run = self.idempotency.exclusive(job.name()).at_most_for(LONGEST_RUN).retention(REPORTS_KEPT);
        if let Some(every) = every {
            run = run.slot_of(SystemTime::now(), every);
        }
        let ran = run.run(|attempt| self.expire(job, attempt, correlation)).await?;
        Ok(match ran {
            Exclusively::Ran(execution) | Exclusively::Overtaken(execution) => {
                Ran { skipped: false, message: "done", execution: Some(execution.into_inner()) }
            }
            Exclusively::Busy { .. } => Ran::skipped(ANOTHER),
            Exclusively::TooSoon { .. } => Ran::skipped("it ran a moment ago"),
            Exclusively::AlreadyDone { .. } => Ran::skipped("this slot of the schedule is done"),
        })
    }

    /// The job itself. What it takes back is taken back one by one, each with its place in the count, so that a
    /// run that is cut off leaves no half, and says how far it came.
    async fn expire(&self, job: Job, attempt: Attempt, correlation: &str) -> Result<Execution, JobError> {
        let execution = Execution::begins(job.job_type(), attempt.fence().get(), correlation);
        let id = execution.execution_id.clone();
        let by = By {
            actor: job.name().into(),
            correlation: correlation.into(),
            attempt: None,
            execution: Some(id.clone()),
        };
        self.books.begin_execution(execution).await?;
        match self.take_back_all(job, &by).await {
            Ok((errors, details)) => Ok(self.books.end_execution(&id, Status::Completed, errors, &details).await?),
            Err(error) => {
                self.books.end_execution(&id, Status::Failed, 1, &error.to_string()).await?;
                Err(error.into())
            }
        }
    }

    /// How many could not be taken back, and the last reason: those are for the next run.
    async fn take_back_all(&self, job: Job, by: &By) -> Result<(u64, String), BooksError> {
        let (mut errors, mut details) = (0, String::new());
        for held in self.books.over(job.states()).await? {
            match self.take_back(&held, by).await {
                Ok(_) => {}
                Err(NotTakenBack::Books(BooksError::Overtaken)) => return Err(BooksError::Overtaken),
                Err(error) => {
                    tracing::warn!(reservation = held.id, %error, "not taken back; the next run tries again");
                    errors += 1;
                    details = format!("{}: {error}", held.id);
                }
            }
        }
        Ok((errors, details))
    }
}

/// A job could not run, or not to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JobError {
    #[error(transparent)]
    Once(#[from] Error),
    #[error(transparent)]
    Books(#[from] BooksError),
}
