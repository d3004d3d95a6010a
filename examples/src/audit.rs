//! An audit log: who did what, when, under which key, and whether it was done then or told again.
//!
//! **Runs are noted within the layer**, by the handler, before its answer is recorded: a client that hangs up does not
//! keep its payment out of the log, and what is recorded is in the log. **They are noted before they begin, too**: a
//! process that dies in the midst leaves a line that says what to look for. **Replays and refusals are noted around it**,
//! where they are seen: by the [`Origin`] of the response.

use std::io;
use std::path::Path;
use std::time::SystemTime;

use idempotency::Attempt;
use idempotency::http::server::Origin;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot};

use crate::correlation::CorrelationId;
use crate::journal::{Journal, JournalError};

/// Entries that share one wait for the disk.
const MOST_AT_ONCE: usize = 256;

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When, in UTC (RFC 3339).
    pub at: String,
    /// The request's id in the logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// Who: a tenant, a user, a job.
    pub actor: String,
    /// What, as `payment.create`.
    pub action: String,
    /// The key, as the provider is told it: the client's own, who may have put a secret into it, is not shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Whether it was done now.
    pub done: Done,
    /// The attempt that did it; of a replay, the one that gave the answer first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// What came of it: a status, or a word.
    pub outcome: String,
    /// What else there is to say.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub details: Map<String, Value>,
}

/// Whether something was done, or told again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Done {
    /// Not yet, and from here on maybe: without another entry of this attempt, nobody knows.
    Begun,
    /// Now, and nothing that is known of was done under this key before.
    Original,
    /// Now, after an attempt of which nobody knows what it did: the provider may have told again what was done then.
    AfterUnknown,
    /// Now, while the store of keys could not be reached: it may be done again.
    Unprotected,
    /// Now, without a key: it is done again whenever it is asked for.
    WithoutKey,
    /// Before: this was its answer again.
    Replay,
    /// Not at all.
    Refused,
}

impl Entry {
    /// An entry for now.
    pub fn new(actor: impl Into<String>, action: impl Into<String>, done: Done, outcome: impl ToString) -> Self {
        Self {
            at: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            correlation_id: None,
            actor: actor.into(),
            action: action.into(),
            key: None,
            done,
            attempt: None,
            outcome: outcome.to_string(),
            details: Map::new(),
        }
    }

    /// Of a run, by the handler: `None` is a request that had no key.
    pub fn ran(
        actor: impl Into<String>,
        action: impl Into<String>,
        attempt: Option<&Attempt>,
        outcome: impl ToString,
    ) -> Self {
        let done = match attempt {
            None => Done::WithoutKey,
            Some(attempt) if attempt.lock().is_none() => Done::Unprotected,
            Some(attempt) if attempt.prior().is_some() => Done::AfterUnknown,
            Some(_) => Done::Original,
        };
        let key = attempt.map(|attempt| attempt.downstream().into());
        let number = attempt.filter(|attempt| attempt.lock().is_some()).map(Attempt::number);
        Self { key, attempt: number, ..Self::new(actor, action, done, outcome) }
    }

    /// Of what is about to be done elsewhere, under this key there.
    pub fn begins(actor: impl Into<String>, action: impl Into<String>, key: &str, attempt: Option<&Attempt>) -> Self {
        let number = attempt.filter(|attempt| attempt.lock().is_some()).map(Attempt::number);
        Self { key: Some(key.to_owned()), attempt: number, ..Self::new(actor, action, Done::Begun, "begun") }
    }

    /// Of an answer, by a middleware around the layer; `None` where a handler ran, which notes it itself.
    pub fn answered(
        actor: impl Into<String>,
        action: impl Into<String>,
        origin: &Origin,
        outcome: impl ToString,
    ) -> Option<Self> {
        match origin {
            Origin::Replayed { key, first, .. } => {
                let entry = Self::new(actor, action, Done::Replay, outcome);
                let entry = Self { key: Some(key.downstream().into()), attempt: Some(first.attempt), ..entry };
                let of = first.context.correlation_id().map(|id| ("original_correlation_id", id));
                Some(of.into_iter().fold(entry, |entry, (name, id)| entry.with(name, id)))
            }
            Origin::NotRun { key, problem, .. } => {
                let entry = Self::new(actor, action, Done::Refused, outcome).with("problem", problem.name());
                Some(Self { key: key.as_ref().map(|key| key.downstream().into()), ..entry })
            }
            _ => None,
        }
    }

    /// Says which request it belongs to.
    pub fn correlated(self, id: &CorrelationId) -> Self {
        Self { correlation_id: Some(id.as_str().to_owned()), ..self }
    }

    /// Adds a detail.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.details.insert(name.to_owned(), value.into());
        self
    }
}

/// An append-only file of entries. Cloning is cheap and shares it.
#[derive(Clone, Debug)]
pub struct Audit(mpsc::UnboundedSender<(Entry, oneshot::Sender<io::Result<()>>)>);

impl Audit {
    /// Opens or creates the file, which this process alone may write to.
    ///
    /// # Errors
    ///
    /// If it cannot be written, or is no audit log.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let (journal, _) = Journal::open(path)?;
        let (sender, receiver) = mpsc::unbounded_channel();
        // It waits for the disk, which must not hold up the runtime; it ends with the last clone.
        std::thread::spawn(move || write(journal, receiver));
        Ok(Self(sender))
    }

    /// Appends an entry; it is on disk when this returns.
    ///
    /// # Errors
    ///
    /// If it cannot be written: whether it is there is then not known.
    pub async fn append(&self, entry: Entry) -> io::Result<()> {
        let (done, written) = oneshot::channel();
        let gone = || io::Error::other("the audit log's writer has ended");
        self.0.send((entry, done)).map_err(|_| gone())?;
        written.await.map_err(|_| gone())?
    }
}

/// Writes what has come together: a wait for the disk is shared by all who came while the one before lasted.
fn write(mut journal: Journal<Entry>, mut entries: mpsc::UnboundedReceiver<(Entry, oneshot::Sender<io::Result<()>>)>) {
    let mut batch = Vec::new();
    while let Some(first) = entries.blocking_recv() {
        batch.push(first);
        while batch.len() < MOST_AT_ONCE
            && let Ok(next) = entries.try_recv()
        {
            batch.push(next);
        }
        let written = journal.append_all(batch.iter().map(|(entry, _)| entry));
        if let Err(error) = &written {
            tracing::error!(%error, entries = batch.len(), "the audit log cannot be written");
        }
        for (_, done) in batch.drain(..) {
            let copy = match &written {
                Ok(()) => Ok(()),
                Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
            };
            // Whoever does not wait any more does not need to know.
            let _ = done.send(copy);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal;

    #[tokio::test(flavor = "multi_thread")]
    async fn what_many_append_at_once_is_all_there_in_whole_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let audit = Audit::open(&path).unwrap();
        let tasks: Vec<_> = (0..500)
            .map(|number| {
                let audit = audit.clone();
                tokio::spawn(async move {
                    let entry = Entry::new("tenant", "act", Done::Original, number).with("line", "one\ntwo");
                    audit.append(entry).await.unwrap();
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let mut numbers: Vec<u32> =
            journal::read::<Entry>(&path).unwrap().iter().map(|entry| entry.outcome.parse().unwrap()).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..500).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn what_was_appended_is_on_disk_when_it_is_said_to_be_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        for round in 1..=3 {
            let audit = Audit::open(&path).unwrap();
            audit.append(Entry::new("a", "b", Done::Refused, round)).await.unwrap();
            assert_eq!(journal::read::<Entry>(&path).unwrap().len(), round, "nothing is written over");
        }
    }
}
