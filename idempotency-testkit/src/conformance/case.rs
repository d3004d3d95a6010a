//! One case, and how it is run.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use super::bench::Bench;
use super::failure::{Failure, Outcome};
use super::subject::{Capability, IntoSubject, Subject};
use crate::rule::Rule;

pub(super) type Running = Pin<Box<dyn Future<Output = Outcome> + Send>>;

pub(super) fn boxed(running: impl Future<Output = Outcome> + Send + 'static) -> Running {
    Box::pin(running)
}

/// How long a case may take before its store counts as hung.
const CASE_LIMIT: Duration = Duration::from_secs(600);

/// How long what a case leaves behind may still run before it is left to itself.
const LEFT_OVER: Duration = Duration::from_secs(1);

/// One case of the suite.
pub struct Case {
    pub(super) name: &'static str,
    pub(super) needs: Option<Capability>,
    pub(super) run: fn(Arc<Bench>) -> Running,
}

impl Case {
    /// Its name, which says what it holds a store to.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// What it needs that a store may declare to lack.
    #[must_use]
    pub const fn needs(&self) -> Option<Capability> {
        self.needs
    }

    /// Runs it on a runtime of its own, on which the subject is made too.
    ///
    /// Where the subject declares to lack what the case needs, that is printed, and the case passes.
    ///
    /// # Errors
    /// [`Failure`]: what the store did, and which promise that breaks.
    pub fn run(&self, fresh: impl IntoSubject) -> Result<(), Failure> {
        let subject = async {
            let subject = fresh.into_subject().await;
            let Some(need) = self.needs.filter(|need| !subject.has(*need)) else { return Ok(Some(subject)) };
            if let Some(why) = subject.lacks.get(&need) {
                println!("not tried: {}. The store declares to lack {need:?}: {why}", self.name);
                return Ok(None);
            }
            Err(Failure::other(format!(
                "nothing shows that the store {}: give the subject what it takes, or say why not with \
                 `.lacks(Capability::{need:?}, …)`",
                need.meaning()
            )))
        };
        let run = self.run;
        on_a_runtime(subject, run).map_err(|failure| failure.in_case(self.name))
    }
}

/// Runs `work` on a runtime of its own, where the store is made too.
pub(crate) fn on_a_bench<W>(fresh: impl IntoSubject, work: impl FnOnce(Arc<Bench>) -> W + Send + 'static) -> Outcome
where
    W: Future<Output = Outcome> + Send + 'static,
{
    on_a_runtime(async { Ok(Some(fresh.into_subject().await)) }, work)
}

fn on_a_runtime<W>(
    subject: impl Future<Output = Outcome<Option<Subject>>>,
    work: impl FnOnce(Arc<Bench>) -> W + Send + 'static,
) -> Outcome
where
    W: Future<Output = Outcome> + Send + 'static,
{
    let runtime = runtime().map_err(|error| Failure::other(format!("no runtime: {error}")))?;
    let outcome = runtime.block_on(async {
        let Some(subject) = subject.await? else { return Ok(()) };
        // On a worker, so that a store that blocks its thread does not hold up the limit.
        let running = tokio::spawn(async move { work(Bench::new(subject).await?).await });
        match tokio::time::timeout(CASE_LIMIT, running).await {
            Ok(joined) => joined.unwrap_or_else(|error| Err(Failure::panicked(error))),
            Err(_) => Err(Failure::of(Rule::RequestsEnd, format!("no end after {CASE_LIMIT:?}: the store hangs"))),
        }
    });
    runtime.shutdown_timeout(LEFT_OVER);
    outcome
}

fn runtime() -> std::io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(8).enable_all().build()
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case").field("name", &self.name).field("needs", &self.needs).finish_non_exhaustive()
    }
}
