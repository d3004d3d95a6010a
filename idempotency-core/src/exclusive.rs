//! Jobs that never run twice at once.

mod job;

use std::sync::Arc;
use std::time::Duration;

use self::job::Job;
use crate::attempt::Attempt;
use crate::codec::Replay;
use crate::error::{Error, InvalidCall};
use crate::key::{Key, KeyBuilder};
use crate::lock::OnUnknown;
use crate::outcome::{Origin, Outcome};
use crate::shared::{Inner, Settings};
use crate::time::{Timestamp, checked};

/// The operation of the keys of jobs and their slots.
const OPERATION: &str = "exclusive";

/// A run of a job of which there is never more than one at once, in all processes over one store; made by
/// [`Idempotency::exclusive`](crate::Idempotency::exclusive), begun by [`Exclusive::run`].
///
/// The lock is the key with operation `exclusive` and the job's name as its id, renewed for as long as the
/// run goes on. Whoever comes meanwhile is told so, and does not wait. When its holder dies, the lock runs
/// out with the handle's lease (30 s), and the next run takes over, told by [`Attempt::prior`] that the one
/// before it did not end.
///
/// A setting that is not valid is told by the run, before anything is asked of the store.
///
/// ```
/// use std::time::Duration;
///
/// use idempotency_core::{Error, Exclusively, Idempotency};
///
/// async fn expire_bookings(idem: &Idempotency) -> Result<(), Error> {
///     let done = idem
///         .exclusive("expire-bookings")
///         .at_most_for(Duration::from_secs(600))
///         .slot("2026-11-24T18:00Z") // this slot of the schedule once, whoever comes first
///         .run(|attempt| async move {
///             if attempt.prior().is_some() { /* the run before did not end: look for what it left half done */ }
///             Ok::<_, Error>(("expired".to_owned(), 42))
///         })
///         .await?;
///     match done {
///         Exclusively::Ran(report) | Exclusively::Overtaken(report) => println!("ran: {:?}", *report),
///         Exclusively::Busy { retry_after, .. } => println!("another is running; come back in {retry_after:?}"),
///         Exclusively::TooSoon { last } => println!("ran at {}", last.completed_at),
///         Exclusively::AlreadyDone { report, origin } => println!("done at {}: {report:?}", origin.completed_at),
///     }
///     Ok(())
/// }
/// ```
#[derive(Debug)]
#[must_use = "nothing runs until `run`"]
pub struct Exclusive<'a> {
    inner: &'a Arc<Inner>,
    name: String,
    slot: Option<KeyBuilder>,
    settings: Settings,
    on_unknown: Option<OnUnknown>,
    at_least_for: Duration,
    keeps_running: bool,
    error: Option<InvalidCall>,
}

/// What became of an exclusive run.
#[derive(Debug)]
#[must_use = "the job may not have run"]
pub enum Exclusively<T> {
    /// It ran now, alone. Of a slot, [`Outcome::how`] says whether the report is recorded: where it is not,
    /// the slot may be run again. Without a slot nothing is to be recorded; if the lock could not be given
    /// back, it is *unrecorded*, and the next run waits for the lease and takes it for one that did not end.
    Ran(Outcome<T>),
    /// It ran now, to its end, but another run may have gone on beside it, as its lock was lost before:
    /// the process was paused, or it was told to
    /// [go on all the same](Exclusive::keep_running_when_lost).
    Overtaken(Outcome<T>),
    /// Another run is under way. Nothing ran.
    Busy {
        /// The number of that run.
        attempt: u32,
        /// The time left on its lease: by then it is over, renewed, or lapsed.
        retry_after: Duration,
    },
    /// The last run is not over for [long enough](Exclusive::at_least_for). Nothing ran.
    TooSoon {
        /// That run, and in [`Origin::remaining`] for how long it still holds others off.
        last: Origin,
    },
    /// The slot was done before. Nothing ran.
    AlreadyDone {
        /// What the run that did it reported.
        report: T,
        /// Which attempt that was, and when.
        origin: Origin,
    },
}

impl<'a> Exclusive<'a> {
    pub(crate) fn new(inner: &'a Arc<Inner>, name: String) -> Self {
        Self {
            inner,
            name,
            slot: None,
            settings: inner.settings.clone(),
            on_unknown: None,
            at_least_for: Duration::ZERO,
            keeps_running: false,
            error: None,
        }
    }

    fn timed(mut self, name: &'static str, given: Duration, set: impl FnOnce(&mut Self, Duration)) -> Self {
        match checked(name, given) {
            Ok(duration) => set(&mut self, duration),
            Err(error) => drop(self.error.get_or_insert(error.into())),
        }
        self
    }

    /// Sets how long the run may hold others off, its last lease included; the handle's `max_run` (an hour)
    /// unless set. Then the lock is lost, as [`LeaseLost::RanTooLong`](crate::LeaseLost::RanTooLong), and
    /// the run stopped.
    pub fn at_most_for(self, limit: Duration) -> Self {
        self.timed("longest run", limit, |run, limit| run.settings.max_run = limit)
    }

    /// Sets for how long from its start a run that succeeds holds others off, however short it was; not at
    /// all unless set. So that clocks which differ do not run a job twice, or callers who come too often.
    /// One that fails holds nobody off.
    pub fn at_least_for(self, time: Duration) -> Self {
        self.timed("time to hold others off", time, |run, time| run.at_least_for = time)
    }

    /// Makes this the run of one slot of the job's schedule, named by whatever tells it from others, such as
    /// its planned time. A slot that succeeded is not run again, by anyone, for as long as its report is
    /// remembered (see [`Exclusive::retention`]); one that failed may be tried again.
    pub fn slot(mut self, name: impl AsRef<[u8]>) -> Self {
        self.slot = Some(self.key().part(name));
        self
    }

    /// As [`Exclusive::slot`]: that of the period of length `every`, counted from 1970, in which a moment
    /// lies; for a job that is to run once an hour, whoever asks how often.
    pub fn slot_of(mut self, at: impl Into<Timestamp>, every: Duration) -> Self {
        self.slot = Some(self.key().period(at.into(), every));
        self
    }

    /// Sets how long a slot's report is remembered, and so the slot not run again; the handle's retention
    /// (24 h) unless set. Take longer than slots are ever made up for.
    pub fn retention(self, retention: Duration) -> Self {
        self.timed("retention", retention, |run, retention| {
            run.settings.retention = retention;
            run.settings.unknown_retention = run.settings.unknown_retention.max(retention);
        })
    }

    /// Sets what to do with a slot whose run was cut off; as the handle says unless set.
    /// [`OnUnknown::RunAgain`] runs it again, told by [`Attempt::prior`]; [`OnUnknown::Refuse`] answers
    /// [`Error::OutcomeUnknown`] until an operator settles the slot's key: at most once.
    ///
    /// A run that *returns* an error is not cut off: its slot may be tried again. What must not be, returns
    /// `Ok` with a report that says so.
    pub fn on_unknown(mut self, on_unknown: OnUnknown) -> Self {
        self.on_unknown = Some(on_unknown);
        self
    }

    /// Goes on with a run whose lock is lost, instead of stopping it at its next await: for a job that looks
    /// at [`Attempt::lost`] itself and is to end in order, or one that another may run beside.
    pub const fn keep_running_when_lost(mut self) -> Self {
        self.keeps_running = true;
        self
    }

    /// Runs `job` unless another run of its name is under way.
    ///
    /// The fence of its attempt orders all runs of the job, whatever their slot. A successful run takes two
    /// round trips, one of a slot five, and each lock one more for every third of a lease; whoever comes to a
    /// slot that is done takes one.
    ///
    /// # Lost
    /// A run whose lock is lost is stopped: its future is dropped at its next await. What it started
    /// elsewhere (a task, a thread, a request under way) goes on, as does code that does not await; only the
    /// fence bars that.
    ///
    /// # Cancellation
    /// Dropped, the job is dropped too. Nothing runs any more, so the lock is given back at once, in the
    /// background; the slot, which may be half done, is *unknown* from then on. A panic of the job goes
    /// through, as if dropped. Dropped after the job returned, its end is told to the store in the
    /// background.
    ///
    /// # Errors
    /// The job's own error: the lock is given back and the slot is free, so that the next may try.
    /// [`Error::LockLost`] where the run was stopped: the slot then is unknown. [`Error::OutcomeUnknown`]
    /// and [`Error::NotReplayable`] for the slot, as [`Idempotency::execute_once`] has them.
    /// [`Error::Store`] where the store failed, or gave no answer within the handle's store limit, before
    /// the job began: nothing ran. [`Error::Invalid`] for settings.
    ///
    /// A store that fails *after* the job returned costs no report: see [`Exclusively::Ran`].
    ///
    /// # Panics
    /// Outside a tokio runtime, or in one without timers (`enable_time`); and with the job's own panic.
    ///
    /// [`Idempotency::execute_once`]: crate::Idempotency::execute_once
    pub fn run<T, E, F, Fut>(self, job: F) -> impl Future<Output = Result<Exclusively<T>, E>> + Send + 'a
    where
        T: Replay + 'a,
        E: From<Error> + Send + 'a,
        F: FnOnce(Attempt) -> Fut + Send + 'a,
        Fut: Future<Output = Result<T, E>> + Send + 'a,
    {
        let checked = self.checked();
        async move { checked?.run(job).await }
    }

    fn key(&self) -> KeyBuilder {
        Key::new(OPERATION, &self.name)
    }

    fn checked(mut self) -> Result<Job<'a>, Error> {
        if let Some(error) = self.error.take() {
            return Err(error.into());
        }
        let key = self.key().build().map_err(InvalidCall::from)?;
        let slot = self.slot.map(KeyBuilder::build).transpose().map_err(InvalidCall::from)?;
        let mut settings = self.settings;
        match (&slot, self.on_unknown) {
            (None, Some(on_unknown)) => return Err(InvalidCall::NoSlot(on_unknown).into()),
            (Some(_), Some(on_unknown)) => settings.on_unknown = on_unknown,
            (_, None) => {}
        }
        if slot.is_some() && settings.on_unknown == OnUnknown::Reconcile {
            return Err(InvalidCall::NothingToReconcileWith.into());
        }
        settings.lease = settings.lease.min(settings.max_run);
        let Self { inner, at_least_for, keeps_running, .. } = self;
        Ok(Job { inner, key, slot, settings, at_least_for, keeps_running })
    }
}
