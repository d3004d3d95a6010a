//! The books in a journal on disk, for one process.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use idempotency_examples::journal::{Journal, JournalError};
use serde::{Deserialize, Serialize};

use super::model::{Entry, Event, Execution, Reservation, State, Status};
use super::{BooksError, By, CUT_OFF, EXECUTIONS_KEPT, Refusal, Step, Taken, opened, rules};

/// A line of the journal: rows as they are from then on, and the audit trail's line that says why. A line is
/// there whole or not at all, and so is a change.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Line {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event: Option<Event>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reservation: Option<Reservation>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    executions: Vec<Execution>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    audit: Option<Entry>,
}

#[derive(Debug)]
struct Book {
    journal: Journal<Line>,
    events: BTreeMap<String, Event>,
    reservations: BTreeMap<String, Reservation>,
    executions: BTreeMap<String, Execution>,
    trail: Vec<Entry>,
}

#[derive(Clone, Debug)]
pub(crate) struct Journaled(Arc<Mutex<Book>>);

impl Journaled {
    pub(crate) fn open(path: &Path) -> Result<Self, JournalError> {
        let (journal, lines) = Journal::open(path)?;
        let mut book = Book {
            journal,
            events: BTreeMap::new(),
            reservations: BTreeMap::new(),
            executions: BTreeMap::new(),
            trail: Vec::new(),
        };
        lines.into_iter().for_each(|line| book.apply(line));
        Ok(Self(Arc::new(Mutex::new(book))))
    }

    pub(super) async fn open_event(&self, event_id: &str, capacity: u64, by: &By) -> Result<Event, BooksError> {
        let (event_id, by) = (event_id.to_owned(), by.clone());
        self.on_book(move |book| match book.events.get(&event_id) {
            Some(event) if event.capacity == capacity => Ok(event.clone()),
            Some(_) => Err(Refusal::EventTaken.into()),
            None => {
                let event = Event { event_id, capacity, locked: 0, booked: 0 };
                let audit = Some(opened(&event, &by, now()));
                book.record(Line { event: Some(event.clone()), audit, ..Line::default() })?;
                Ok(event)
            }
        })
        .await
    }

    pub(super) async fn event(&self, event_id: &str) -> Result<Option<Event>, BooksError> {
        let event_id = event_id.to_owned();
        self.on_book(move |book| Ok(book.events.get(&event_id).cloned())).await
    }

    pub(super) async fn find(&self, id: &str) -> Result<Option<Reservation>, BooksError> {
        let id = id.to_owned();
        self.on_book(move |book| Ok(book.reservations.get(&id).cloned())).await
    }

    pub(super) async fn take(&self, step: Step, by: &By) -> Result<Taken, BooksError> {
        let by = by.clone();
        self.on_book(move |book| {
            let held = book.reservations.get(step.id()).cloned();
            let event_id = match (&step, &held) {
                (_, Some(held)) => &held.event_id,
                (Step::Lock { event_id, .. }, None) => event_id,
                (_, None) => return Err(Refusal::NotFound.into()),
            };
            let mut event = book.events.get(event_id).cloned().ok_or(Refusal::NotFound)?;
            let mut executions = Vec::new();
            if let Some(id) = &by.execution {
                let known = book.executions.get(id).filter(|known| known.status == Status::Running);
                let mut execution = known.cloned().ok_or(BooksError::Overtaken)?;
                execution.results.processed += 1;
                executions.push(execution);
            }
            let (reservation, audit) = rules::take(&step, &by, &mut event, held, now())?;
            let is_now = audit.is_some();
            if is_now {
                let (event, reservation) = (Some(event), Some(reservation.clone()));
                book.record(Line { event, reservation, executions, audit })?;
            }
            Ok(Taken { reservation, now: is_now })
        })
        .await
    }

    pub(super) async fn note(&self, entry: Entry) -> Result<(), BooksError> {
        let entry = Entry { at: now(), ..entry };
        self.on_book(move |book| book.record(Line { audit: Some(entry), ..Line::default() })).await
    }

    pub(super) async fn trail(&self, booking_id: Option<&str>) -> Result<Vec<Entry>, BooksError> {
        let booking_id = booking_id.map(str::to_owned);
        let is_asked = move |entry: &&Entry| booking_id.is_none() || entry.booking_id == booking_id;
        self.on_book(move |book| Ok(book.trail.iter().filter(is_asked).cloned().collect())).await
    }

    pub(super) async fn over(&self, states: &'static [State]) -> Result<Vec<Reservation>, BooksError> {
        let now = now();
        let is_over = move |held: &&Reservation| states.contains(&held.state) && held.expires_at <= now;
        self.on_book(move |book| Ok(book.reservations.values().filter(is_over).cloned().collect())).await
    }

    pub(super) async fn begin_execution(&self, execution: Execution) -> Result<(), BooksError> {
        self.on_book(move |book| {
            let now = now();
            book.executions.retain(|_, known| known.started_at + EXECUTIONS_KEPT > now);
            let is_cut_off =
                |known: &&Execution| known.job_type == execution.job_type && known.status == Status::Running;
            let mut executions: Vec<_> = book.executions.values().filter(is_cut_off).cloned().collect();
            for cut_off in &mut executions {
                cut_off.status = Status::Failed;
                cut_off.completed_at = Some(now);
                cut_off.results.details = CUT_OFF.into();
            }
            executions.push(Execution { started_at: now, ..execution });
            book.record(Line { executions, ..Line::default() })
        })
        .await
    }

    pub(super) async fn end_execution(
        &self,
        id: &str,
        status: Status,
        errors: u64,
        details: &str,
    ) -> Result<Option<Execution>, BooksError> {
        let (id, details) = (id.to_owned(), details.to_owned());
        self.on_book(move |book| {
            let known = book.executions.get(&id).filter(|known| known.status == Status::Running);
            let Some(mut execution) = known.cloned() else { return Ok(None) };
            execution.status = status;
            execution.completed_at = Some(now());
            execution.results.errors = errors;
            execution.results.details = details;
            book.record(Line { executions: vec![execution.clone()], ..Line::default() })?;
            Ok(Some(execution))
        })
        .await
    }

    pub(super) async fn executions(&self) -> Result<Vec<Execution>, BooksError> {
        self.on_book(move |book| {
            let kept = |known: &&Execution| known.started_at + EXECUTIONS_KEPT > now();
            let mut executions: Vec<_> = book.executions.values().filter(kept).cloned().collect();
            executions.sort_by_key(|execution| std::cmp::Reverse(execution.started_at));
            Ok(executions)
        })
        .await
    }

    /// The journal waits for the disk, which must not hold up the runtime.
    async fn on_book<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Book) -> Result<T, BooksError> + Send + 'static,
    ) -> Result<T, BooksError> {
        let book = self.0.clone();
        let work = move || act(&mut book.lock().unwrap_or_else(PoisonError::into_inner));
        tokio::task::spawn_blocking(work).await.map_err(|error| BooksError::Disk(io::Error::other(error)))?
    }
}

impl Book {
    fn record(&mut self, line: Line) -> Result<(), BooksError> {
        self.journal.append(&line)?;
        self.apply(line);
        Ok(())
    }

    fn apply(&mut self, line: Line) {
        let Line { event, reservation, executions, audit } = line;
        self.events.extend(event.map(|event| (event.event_id.clone(), event)));
        self.reservations.extend(reservation.map(|held| (held.id.clone(), held)));
        self.executions.extend(executions.into_iter().map(|run| (run.execution_id.clone(), run)));
        self.trail.extend(audit);
    }
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
