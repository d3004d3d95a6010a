//! One server.

use std::borrow::Cow;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use idempotency_core::Timestamp;
use redis::aio::ConnectionLike;
use redis::{Cmd, Pipeline, Value};
use tokio::sync::oneshot;
use tokio::time::Sleep;

use super::Options;
use super::batch::{Batch, Ended, Job, Queue, Waiting};
use super::channel::{Calls, Channel, Open, Way};
use super::failure::Failure;
use crate::clock::ServerClock;
use crate::replicas::Replicas;
use crate::watch::Watching;

/// One server: a connection for calls, one for being told of changes, and one to wait for replicas on.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) way: Way,
    pub(crate) clock: ServerClock,
    pub(crate) watching: Watching,
    pub(crate) replicas: Option<Replicas>,
    calls: Channel<Calls>,
    queue: Mutex<Queue>,
    completions: AtomicUsize,
    options: Options,
}

impl Node {
    pub(crate) fn new(place: String, way: Way, options: Options) -> Arc<Self> {
        Arc::new(Self {
            way,
            clock: ServerClock::new(),
            watching: Watching::new(place.clone(), options),
            replicas: options.replicas.map(|wanted| Replicas::new(place.clone(), wanted, options)),
            calls: Channel::new(Calls, place, options.limit, options.replicas.is_some()),
            queue: Mutex::default(),
            completions: AtomicUsize::new(0),
            options,
        })
    }

    /// Its address, or what it is called.
    pub(crate) fn place(&self) -> &str {
        self.calls.place()
    }

    /// Makes one call. Ends within the time limit. A caller that goes away harms nobody: the call is
    /// made, or was not sent yet.
    pub(crate) async fn call(self: &Arc<Self>, job: Job) -> Result<Ended, Failure> {
        if self.clock.should_ask() {
            tokio::spawn(self.clone().ask_time());
        }
        match job {
            // A script costs the server more than what it does: one for all that are to be completed at
            // this moment. Not in a cluster, where the keys may be on several servers.
            Job::Complete(completing) if completing.expected.is_none() && !self.options.cluster => {
                let under_way = UnderWay::one_more(&self.completions);
                if under_way.alone {
                    return Ok(self.call_alone(Job::Complete(completing)).await);
                }
                let (reply, ended) = oneshot::channel();
                if self.queue.lock().unwrap_or_else(PoisonError::into_inner).add(Waiting { completing, reply }) {
                    tokio::spawn(self.clone().complete());
                }
                ended.await.map_err(|_| Failure::NoAnswer {
                    place: self.place().into(),
                    source: None,
                    why: "the runtime is shutting down",
                })
            }
            job => Ok(self.call_alone(job).await),
        }
    }

    async fn call_alone(&self, job: Job) -> Ended {
        let (mut result, history) = self.send(|by_text| job.command(by_text)).await;
        if job.is_completion_by_script()
            && let Ok(Value::Array(mut only)) = result
        {
            result = self.judged(only.pop().unwrap_or(Value::Nil));
        }
        Ended { result, job: self.options.cluster.then(|| Box::new(job)), history }
    }

    /// Sends completions that wait, once whoever else is ready to complete has come.
    async fn complete(self: Arc<Self>) {
        loop {
            tokio::task::yield_now().await;
            let (batch, more) = self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
            if more {
                tokio::spawn(self.clone().complete_all(batch));
            } else {
                return self.complete_all(batch).await;
            }
        }
    }

    async fn open(&self, limit: Pin<&mut Sleep>) -> Result<Open, Failure> {
        tokio::select! {
            biased;
            open = self.calls.open(&self.way) => open,
            () = limit => Err(Failure::Unreached {
                place: self.place().into(),
                source: None,
                why: "no connection was made within the time limit",
            }),
        }
    }

    async fn complete_all(self: Arc<Self>, batch: Batch) {
        let (answer, history) = self.send(|by_text| Cow::Owned(batch.command(by_text))).await;
        batch.answer(answer, history.as_ref(), |answer| self.judged(answer));
    }

    /// Sends a command; with its script, should the server have forgotten that.
    async fn send<'a>(
        &self,
        command: impl Fn(bool) -> Cow<'a, Cmd>,
    ) -> (Result<Value, Failure>, Option<Arc<str>>) {
        let limit = tokio::time::sleep(self.options.limit);
        tokio::pin!(limit);
        let mut open = match self.open(limit.as_mut()).await {
            Ok(open) => open,
            Err(failure) => return (Err(failure), None),
        };
        let answer = tokio::select! {
            biased;
            answer = exchange(&mut open, command) => answer,
            () = &mut limit => {
                self.calls.silent(&open);
                return (Err(Failure::late(self.place())), None);
            }
        };
        let result = match answer {
            Ok(answer) => {
                self.calls.answered();
                let spoils = |answer: &Value| matches!(answer, Value::ServerError(error) if Failure::spoils_connection(error));
                if spoils(&answer) || matches!(&answer, Value::Array(each) if each.iter().any(spoils)) {
                    self.calls.replace(&open);
                }
                self.judged(answer)
            }
            Err(error) => {
                self.calls.replace(&open);
                Err(Failure::no_answer(self.place(), error))
            }
        };
        (result, open.history)
    }

    /// An error that the server answers by is a failure.
    fn judged(&self, answer: Value) -> Result<Value, Failure> {
        match answer {
            Value::ServerError(error) => Err(Failure::Refused { place: self.place().into(), error }),
            answer => Ok(answer),
        }
    }

    /// Makes one call alone, to a server that does not have the key yet, as another told us to.
    pub(crate) async fn ask(&self, job: &Job) -> Result<Value, Failure> {
        let mut open = self.calls.open(&self.way).await?;
        let mut pipeline = Pipeline::new();
        pipeline.cmd("ASKING").add_command(job.command(true).into_owned());
        let answers = tokio::time::timeout(self.options.limit, open.connection.req_packed_commands(&pipeline, 1, 1));
        match answers.await {
            Err(_) => {
                self.calls.silent(&open);
                Err(Failure::late(self.place()))
            }
            Ok(Err(error)) => {
                self.calls.replace(&open);
                Err(Failure::no_answer(self.place(), error))
            }
            Ok(Ok(mut answers)) => match answers.pop() {
                Some(Value::ServerError(error)) => Err(Failure::Refused { place: self.place().into(), error }),
                Some(answer) => Ok(answer),
                None => Err(Failure::late(self.place())),
            },
        }
    }

    /// The server is not the one that it was: its connection is of no more use.
    pub(crate) async fn start_over(&self) {
        if let Ok(open) = self.calls.open(&self.way).await {
            self.calls.replace(&open);
        }
        self.clock.forget();
    }

    async fn ask_time(self: Arc<Self>) {
        let sent = Instant::now();
        let (answer, _) = self.send(|_| Cow::Owned(redis::cmd("TIME"))).await;
        if let Ok(Value::Array(parts)) = answer
            && let [seconds, micros] = &parts[..]
            && let (Some(seconds), Some(micros)) = (number(seconds), number(micros))
        {
            self.clock.observe(sent, Timestamp::from_micros(seconds.saturating_mul(1_000_000).saturating_add(micros)));
        }
    }
}

async fn exchange<'a>(open: &mut Open, command: impl Fn(bool) -> Cow<'a, Cmd>) -> redis::RedisResult<Value> {
    match open.connection.send_packed_command(&command(false)).await? {
        Value::ServerError(error) if error.code() == "NOSCRIPT" => {
            open.connection.send_packed_command(&command(true)).await
        }
        answer => Ok(answer),
    }
}

/// A call that is under way until this is dropped.
struct UnderWay<'a> {
    calls: &'a AtomicUsize,
    /// There was no other when it began.
    alone: bool,
}

impl<'a> UnderWay<'a> {
    fn one_more(calls: &'a AtomicUsize) -> Self {
        Self { calls, alone: calls.fetch_add(1, Ordering::Relaxed) == 0 }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A number as a server writes it.
pub(crate) fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Int(number) => u64::try_from(*number).ok(),
        Value::BulkString(text) => std::str::from_utf8(text).ok()?.parse().ok(),
        Value::SimpleString(text) => text.parse().ok(),
        _ => None,
    }
}
