//! Calls that travel together.

use std::sync::Arc;

use redis::{Arg, Cmd, Pipeline, ServerError, Value};
use tokio::sync::oneshot;

use super::failure::Failure;
use crate::scripts::{COMPLETE, Move};

/// The most calls that travel together. They are answered together too, so with more the server waits
/// for this process and this process for the server; and one script does no more than so many
/// completions, as the server does nothing else meanwhile.
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

/// How a call ended, and the call, should it be made again.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) result: Result<Value, Failure>,
    /// Given back where another server may have to be asked: in a cluster.
    pub(crate) job: Option<Box<Job>>,
    /// The server's history of writes when it was asked.
    pub(crate) history: Option<Arc<str>>,
}

/// A call that waits to be sent.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) job: Job,
    pub(crate) reply: oneshot::Sender<Ended>,
}

/// What waits to be sent.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: Vec<Waiting>,
    /// Somebody will come to send it.
    sender_comes: bool,
}

impl Queue {
    /// Adds a call; whether somebody must be sent for it.
    pub(crate) fn add(&mut self, waiting: Waiting) -> bool {
        self.waiting.push(waiting);
        !std::mem::replace(&mut self.sender_comes, true)
    }

    /// Takes what is to travel together, and whether more waits.
    pub(crate) fn take(&mut self) -> (Vec<Waiting>, bool) {
        let mut bytes = 0;
        let fits = self.waiting.iter().take(MOST).position(|waiting| {
            bytes += waiting.job.size();
            bytes > ENOUGH
        });
        let count = fits.map_or_else(|| self.waiting.len().min(MOST), |at| at.max(1));
        let rest = self.waiting.split_off(count);
        let taken = std::mem::replace(&mut self.waiting, rest);
        self.sender_comes = !self.waiting.is_empty();
        (taken, self.sender_comes)
    }

    /// Nobody will come. Whoever waits is told.
    pub(crate) fn abandon(&mut self) {
        self.waiting.clear();
        self.sender_comes = false;
    }
}

impl Job {
    fn size(&self) -> usize {
        match self {
            Self::Command(command) => {
                let argument = |arg: Arg<&[u8]>| if let Arg::Simple(arg) = arg { arg.len() } else { 0 };
                command.args_iter().map(argument).sum()
            }
            Self::Move { name, args, .. } => name.len() + args.iter().map(Vec::len).sum::<usize>() + 64,
            Self::Complete(completing) => {
                completing.record.len() + completing.expected.as_ref().map_or(0, Vec::len) + completing.name.len()
            }
        }
    }

    /// The call as one command.
    pub(crate) fn command(&self, by_text: bool) -> Cmd {
        match self {
            Self::Command(command) => command.clone(),
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
        }
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

/// Calls, as commands in one pipeline.
#[derive(Debug)]
pub(crate) struct Batch {
    waiting: Vec<Option<Waiting>>,
    /// Which calls each command makes.
    commands: Vec<Calls>,
    pipeline: Pipeline,
    /// Whoever asked may have to ask another server.
    gives_back: bool,
    asks_time: bool,
}

/// The calls that one command makes, by their places in the batch.
#[derive(Debug)]
enum Calls {
    One(usize),
    /// Completions, by one script.
    Several(Vec<usize>),
}

impl Batch {
    /// Puts calls together: outside a cluster, completions of several keys into one script.
    pub(crate) fn of(waiting: Vec<Waiting>, cluster: bool, asks_time: bool) -> Self {
        let mut batch = Self {
            commands: Vec::with_capacity(waiting.len()),
            pipeline: Pipeline::with_capacity(waiting.len() + 1),
            waiting: waiting.into_iter().map(Some).collect(),
            gives_back: cluster,
            asks_time,
        };
        let mut completions = Vec::new();
        for (at, waiting) in batch.waiting.iter_mut().enumerate() {
            let command = match waiting.as_mut().map(|waiting| &mut waiting.job) {
                Some(Job::Complete(Completing { expected: None, .. })) if !cluster => {
                    completions.push(at);
                    continue;
                }
                // Sent once: no script that a server might have forgotten.
                Some(Job::Command(command)) if !cluster => std::mem::take(command),
                Some(job) => job.command(false),
                None => continue,
            };
            batch.commands.push(Calls::One(at));
            batch.pipeline.add_command(command);
        }
        if !completions.is_empty() {
            let all: Vec<&Completing> = completions.iter().filter_map(|at| batch.completing(*at)).collect();
            let command = completing(false, &all);
            batch.pipeline.add_command(command);
            batch.commands.push(Calls::Several(completions));
        }
        if asks_time {
            batch.pipeline.cmd("TIME");
        }
        batch
    }

    fn completing(&self, at: usize) -> Option<&Completing> {
        match &self.waiting.get(at)?.as_ref()?.job {
            Job::Complete(completing) => Some(completing),
            Job::Command(_) | Job::Move { .. } => None,
        }
    }

    pub(crate) fn pipeline(&self) -> (&Pipeline, usize) {
        (&self.pipeline, self.commands.len() + usize::from(self.asks_time))
    }

    /// The commands whose scripts the server has forgotten, to be sent again with their texts.
    pub(crate) fn forgotten(&self, answers: &[Value]) -> Vec<(usize, Cmd)> {
        let is_forgotten = |answer: &Value| matches!(answer, Value::ServerError(error) if error.code() == "NOSCRIPT");
        let by_text = |calls: &Calls| match calls {
            Calls::One(one) => self.waiting[*one].as_ref().map(|waiting| waiting.job.command(true)),
            Calls::Several(many) => {
                let all: Vec<&Completing> = many.iter().filter_map(|at| self.completing(*at)).collect();
                Some(completing(true, &all))
            }
        };
        answers
            .iter()
            .zip(&self.commands)
            .enumerate()
            .filter(|(_, (answer, _))| is_forgotten(answer))
            .filter_map(|(at, (_, calls))| Some((at, by_text(calls)?)))
            .collect()
    }

    /// Takes the server's time off the answers, where it was asked for.
    pub(crate) fn time(&self, answers: &mut Vec<Value>) -> Option<Value> {
        if self.asks_time { answers.pop() } else { None }
    }

    /// Tells everybody the answers.
    pub(crate) fn answer(mut self, answers: Vec<Value>, place: &str, history: &Option<Arc<str>>) -> Vec<ServerError> {
        let mut errors = Vec::new();
        for (answer, calls) in answers.into_iter().zip(std::mem::take(&mut self.commands)) {
            match (answer, calls) {
                // In a cluster, one completion is a script of its own.
                (answer, Calls::One(call)) => {
                    let answer = if self.completing(call).is_some() { first(answer) } else { answer };
                    self.tell(call, answer, place, history, &mut errors);
                }
                (Value::Array(each), Calls::Several(calls)) => {
                    for (answer, call) in each.into_iter().zip(calls) {
                        self.tell(call, answer, place, history, &mut errors);
                    }
                }
                (answer, Calls::Several(calls)) => {
                    for call in calls {
                        self.tell(call, answer.clone(), place, history, &mut errors);
                    }
                }
            }
        }
        errors
    }

    fn tell(
        &mut self,
        call: usize,
        answer: Value,
        place: &str,
        history: &Option<Arc<str>>,
        errors: &mut Vec<ServerError>,
    ) {
        let Some(Waiting { job, reply }) = self.waiting.get_mut(call).and_then(Option::take) else { return };
        let result = match answer {
            Value::ServerError(error) => {
                errors.push(error.clone());
                Err(Failure::Refused { place: place.into(), error })
            }
            answer => Ok(answer),
        };
        let job = self.gives_back.then(|| Box::new(job));
        // Whoever asked may have gone away.
        let _ = reply.send(Ended { result, job, history: history.clone() });
    }

    /// Tells everybody that there is no answer.
    pub(crate) fn fail(self, failure: &Failure) {
        for Waiting { job, reply } in self.waiting.into_iter().flatten() {
            let job = self.gives_back.then(|| Box::new(job));
            let _ = reply.send(Ended { result: Err(failure.clone()), job, history: None });
        }
    }
}

/// What the script of completions answers of the only one.
pub(super) fn first(answer: Value) -> Value {
    match answer {
        Value::Array(mut each) if each.len() == 1 => each.pop().unwrap_or(Value::Nil),
        answer => answer,
    }
}
