//! Histories as lines of text.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use idempotency_core::{
    Acquired, Claim, Completion, Effect, Grant, Held, Key, Lock, OnUnknown, Prior, Snapshot, StoreErrorKind, Timestamp,
};
use serde::{Deserialize, Serialize};

use super::events::{CallId, History};
use super::mirror::{self, ClaimMirror, CompletionMirror, EffectMirror, GrantMirror, HeldMirror, LockMirror};
use super::mirror::{OnUnknownMirror, PriorMirror, SnapshotMirror};
use super::timing::Timing;
use crate::call::{Answer, Call};

/// One event: a line of JSON.
#[derive(Serialize, Deserialize)]
pub(super) enum Line {
    Sent {
        /// The call; unique among all files that are read together.
        id: String,
        #[serde(with = "mirror::time")]
        at: Timestamp,
        client: String,
        key: String,
        call: CallLine,
    },
    Answered {
        id: String,
        #[serde(with = "mirror::time")]
        at: Timestamp,
        answer: AnswerLine,
    },
}

#[derive(Serialize, Deserialize)]
pub(super) enum CallLine {
    Get,
    Acquire(#[serde(with = "ClaimMirror")] Claim),
    Extend(#[serde(with = "LockMirror")] Lock, #[serde(with = "mirror::duration")] Duration),
    Store(
        #[serde(with = "LockMirror")] Lock,
        #[serde(with = "CompletionMirror")] Completion,
        #[serde(with = "mirror::duration")] Duration,
    ),
    Release(#[serde(with = "LockMirror")] Lock, #[serde(with = "EffectMirror")] Effect),
}

#[derive(Serialize, Deserialize)]
pub(super) enum AnswerLine {
    NothingFound,
    Found(#[serde(with = "SnapshotMirror")] Snapshot),
    Held(#[serde(with = "HeldMirror")] Held),
    Acquired(#[serde(with = "GrantMirror")] Grant),
    InProgress(u32, #[serde(with = "mirror::duration")] Duration),
    Completed(#[serde(with = "SnapshotMirror")] Snapshot),
    Mismatch,
    Unknown(#[serde(with = "PriorMirror")] Prior, #[serde(with = "OnUnknownMirror")] OnUnknown),
    Ended,
    Failed(#[serde(with = "mirror::kind")] StoreErrorKind),
}

impl From<Call> for CallLine {
    fn from(call: Call) -> Self {
        match call {
            Call::Get => Self::Get,
            Call::Acquire(claim) => Self::Acquire(*claim),
            Call::Extend(lock, lease) => Self::Extend(lock, lease),
            Call::Store(lock, result, retention) => Self::Store(lock, result, retention),
            Call::Release(lock, effect) => Self::Release(lock, effect),
        }
    }
}

impl From<CallLine> for Call {
    fn from(line: CallLine) -> Self {
        match line {
            CallLine::Get => Self::Get,
            CallLine::Acquire(claim) => Self::Acquire(Box::new(claim)),
            CallLine::Extend(lock, lease) => Self::Extend(lock, lease),
            CallLine::Store(lock, result, retention) => Self::Store(lock, result, retention),
            CallLine::Release(lock, effect) => Self::Release(lock, effect),
        }
    }
}

impl From<Result<Answer, StoreErrorKind>> for AnswerLine {
    fn from(answer: Result<Answer, StoreErrorKind>) -> Self {
        match answer {
            Err(kind) => Self::Failed(kind),
            Ok(Answer::Found(None)) => Self::NothingFound,
            Ok(Answer::Found(Some(found))) => Self::Found(*found),
            Ok(Answer::Held(held)) => Self::Held(held),
            Ok(Answer::Acquired(acquired)) => match acquired {
                Acquired::Acquired(grant) => Self::Acquired(grant),
                Acquired::InProgress { attempt, remaining } => Self::InProgress(attempt, remaining),
                Acquired::Completed(found) => Self::Completed(*found),
                Acquired::Mismatch => Self::Mismatch,
                Acquired::Unknown { prior, on_unknown } => Self::Unknown(prior, on_unknown),
                Acquired::Ended => Self::Ended,
            },
        }
    }
}

impl From<AnswerLine> for Result<Answer, StoreErrorKind> {
    fn from(line: AnswerLine) -> Self {
        Ok(Answer::Acquired(match line {
            AnswerLine::Failed(kind) => return Err(kind),
            AnswerLine::NothingFound => return Ok(Answer::Found(None)),
            AnswerLine::Found(found) => return Ok(Answer::Found(Some(Box::new(found)))),
            AnswerLine::Held(held) => return Ok(Answer::Held(held)),
            AnswerLine::Acquired(grant) => Acquired::Acquired(grant),
            AnswerLine::InProgress(attempt, remaining) => Acquired::InProgress { attempt, remaining },
            AnswerLine::Completed(found) => Acquired::Completed(Box::new(found)),
            AnswerLine::Mismatch => Acquired::Mismatch,
            AnswerLine::Unknown(prior, on_unknown) => Acquired::Unknown { prior, on_unknown },
            AnswerLine::Ended => Acquired::Ended,
        }))
    }
}

/// A history could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// A file could not be read.
    #[error("{} could not be read", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A line is not an event, and is not one that its writer was killed in.
    #[error("line {line} of {} is not an event", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line's number, from 1.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// An event does not fit the others: an answer to no call, or a second one, or what is no key.
    #[error("line {line} of {} does not fit: {problem}", path.display())]
    Stray {
        /// The file.
        path: PathBuf,
        /// The line's number, from 1.
        line: usize,
        /// What does not fit.
        problem: &'static str,
    },
}

impl History {
    /// Reads what [`Recording::to_file`](super::Recording::to_file) wrote, by one process or many, and
    /// orders it by time.
    ///
    /// The writers' times must be of one clock, as those of one machine's processes are; events of the
    /// same microsecond are taken to have overlapped. The last line of a file may be cut off, as its
    /// writer may have been killed. The history's timing is [`Timing::REAL`].
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn read<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Result<Self, ReadError> {
        let mut events = Vec::new();
        for path in paths {
            let path = path.as_ref();
            let failed = |source| ReadError::File { path: path.into(), source };
            let mut reader = BufReader::new(std::fs::File::open(path).map_err(failed)?);
            let mut text = Vec::new();
            for line in 1.. {
                text.clear();
                if reader.read_until(b'\n', &mut text).map_err(failed)? == 0 {
                    break;
                }
                match serde_json::from_slice(&text) {
                    Ok(event) => events.push((event, path.to_path_buf(), line)),
                    Err(_) if text.last() != Some(&b'\n') => {}
                    Err(source) => return Err(ReadError::Line { path: path.into(), line, source }),
                }
            }
        }
        merged(events)
    }
}

fn merged(mut events: Vec<(Line, PathBuf, usize)>) -> Result<History, ReadError> {
    // Stable, and of equal times a sending comes first: what may have overlapped is taken to have.
    events.sort_by_key(|(event, ..)| match event {
        Line::Sent { at, .. } => (*at, false),
        Line::Answered { at, .. } => (*at, true),
    });
    let mut history = History::new().with_timing(Timing::REAL);
    let mut calls: HashMap<String, Option<CallId>> = HashMap::new();
    let mut clients: HashMap<String, Arc<str>> = HashMap::new();
    for (event, path, line) in events {
        let stray = |problem| ReadError::Stray { path: path.clone(), line, problem };
        match event {
            Line::Sent { id, at, client, key, call } => {
                let key = Key::parse(&key).map_err(|_| stray("this is no key"))?;
                let client = clients.entry(client).or_insert_with_key(|name| Arc::from(name.as_str()));
                let call = history.sent(&key, client.clone(), call.into(), at);
                if calls.insert(id, Some(call)).is_some() {
                    return Err(stray("two calls have one id"));
                }
            }
            Line::Answered { id, at, answer } => {
                let call = calls.get_mut(&id).and_then(Option::take);
                history.answered(call.ok_or_else(|| stray("an answer to no open call"))?, at, answer.into());
            }
        }
    }
    Ok(history)
}
