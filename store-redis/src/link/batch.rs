//! Calls, and completions that travel together.

use std::borrow::Cow;
use std::sync::Arc;

use redis::{Cmd, Value};
use tokio::sync::oneshot;

use super::failure::Failure;
use crate::scripts::{COMPLETE, Move};

/// The most completions that one script makes: the server does nothing else meanwhile.
const MOST: usize = 32;
/// Once so many bytes are together, no more are added.
const ENOUGH: usize = 256 * 1024;

/// One call over one key.
#[derive(Debug)]
pub(crate) enum Job {
    /// A command.
    Command(Cmd),
    /// A move in Lua.
    Move { script: &'static Move, name: Vec<u8>, args: Vec<Vec<u8>> },
    /// The completion of what is taken to be in progress.
    Complete(Completing),
}

/// A record in progress becomes a completed one, if nobody changed it.
#[derive(Debug)]
pub(crate) struct Completing {
    pub(crate) name: Vec<u8>,
    /// How the record must begin.
    pub(crate) begins: [u8; crate::layout::BEGINS],
    /// All that it must be, where the server can compare by itself.
    pub(crate) expected: Option<Vec<u8>>,
    pub(crate) record: Vec<u8>,
    pub(crate) keep_ms: u64,
}

/// How a call ended, and the call, where it may have to be made again: in a cluster.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) result: Result<Value, Failure>,
    pub(crate) job: Option<Box<Job>>,
    /// The server's history of writes when it was asked.
    pub(crate) history: Option<Arc<str>>,
}

impl Job {
    /// The call as one command.
    pub(crate) fn command(&self, by_text: bool) -> Cow<'_, Cmd> {
        Cow::Owned(match self {
            Self::Command(command) => return Cow::Borrowed(command),
            Self::Move { script, name, args } => {
                let mut command = script.command(by_text, 1);
                command.arg(name);
                for arg in args {
                    command.arg(arg);
                }
                command
            }
            Self::Complete(Completing { name, expected: Some(expected), record, keep_ms, .. }) => {
                let mut command = Cmd::with_capacity(7, name.len() + record.len() + expected.len() + 32);
                command.arg("SET").arg(name).arg(record).arg("IFEQ").arg(expected).arg("PX").arg(*keep_ms);
                command
            }
            Self::Complete(one) => completing(by_text, &[one]),
        })
    }

    /// Its answer is the only element of what the server answers.
    pub(crate) fn is_completion_by_script(&self) -> bool {
        matches!(self, Self::Complete(Completing { expected: None, .. }))
    }
}

fn completing(by_text: bool, all: &[&Completing]) -> Cmd {
    let mut command = COMPLETE.command(by_text, all.len());
    for one in all {
        command.arg(&one.name);
    }
    for one in all {
        command.arg(&one.begins[..]).arg(&one.record).arg(one.keep_ms);
    }
    command
}

/// A completion that waits to be sent.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) completing: Completing,
    pub(crate) reply: oneshot::Sender<Ended>,
}

/// Completions that wait to be sent.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: Vec<Waiting>,
    /// Somebody will come to send them.
    sender_comes: bool,
}

impl Queue {
    /// Adds one; whether somebody must be sent for it.
    pub(crate) fn add(&mut self, waiting: Waiting) -> bool {
        self.waiting.push(waiting);
        !std::mem::replace(&mut self.sender_comes, true)
    }

    /// Takes what is to travel together, and whether more waits.
    pub(crate) fn take(&mut self) -> (Batch, bool) {
        let mut bytes = 0;
        let fits = self.waiting.iter().take(MOST).position(|waiting| {
            bytes += waiting.completing.name.len() + waiting.completing.record.len();
            bytes > ENOUGH
        });
        let count = fits.map_or_else(|| self.waiting.len().min(MOST), |at| at.max(1));
        let rest = self.waiting.split_off(count);
        let taken = std::mem::replace(&mut self.waiting, rest);
        self.sender_comes = !self.waiting.is_empty();
        (Batch(taken), self.sender_comes)
    }
}

/// Completions that one script makes.
#[derive(Debug)]
pub(crate) struct Batch(Vec<Waiting>);

impl Batch {
    pub(crate) fn command(&self, by_text: bool) -> Cmd {
        let all: Vec<&Completing> = self.0.iter().map(|waiting| &waiting.completing).collect();
        completing(by_text, &all)
    }

    /// Tells everybody how it ended.
    pub(crate) fn answer(
        self,
        answer: Result<Value, Failure>,
        history: Option<&Arc<str>>,
        judged: impl Fn(Value) -> Result<Value, Failure>,
    ) {
        let mut each = match answer {
            Ok(Value::Array(each)) => Ok(each.into_iter()),
            other => Err(other),
        };
        for Waiting { reply, .. } in self.0 {
            let result = match &mut each {
                Ok(each) => judged(each.next().unwrap_or(Value::Nil)),
                Err(same) => same.clone(),
            };
            // Whoever asked may have gone away.
            let _ = reply.send(Ended { result, job: None, history: history.cloned() });
        }
    }
}
