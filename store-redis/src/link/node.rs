//! One server.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use idempotency_core::Timestamp;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Cmd, Pipeline, RedisResult, Value};
use tokio::sync::oneshot;
use tokio::time::Sleep;

use super::Options;
use super::batch::{Batch, Ended, Job, Queue, Waiting, first};
use super::channel::{Channel, Open, Purpose, Way};
use super::failure::Failure;
use crate::clock::ServerClock;
use crate::replicas::Replicas;
use crate::watch::Watching;

/// One server: a connection for calls, one for being told of changes, and one to wait for replicas on.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) way: Way,
    pub(crate) clock: Arc<ServerClock>,
    pub(crate) watching: Watching,
    pub(crate) replicas: Option<Replicas>,
    calls: Channel<Calls>,
    queue: Mutex<Queue>,
    under_way: AtomicUsize,
    options: Options,
}

/// A connection for calls.
#[derive(Debug)]
struct Calls {
    clock: Arc<ServerClock>,
}

impl Purpose for Calls {
    /// Asks the time, while nothing else delays the answers.
    async fn prepare(&self, connection: &mut MultiplexedConnection) -> RedisResult<()> {
        const TIMES: u32 = 3;
        // It may be another server than before.
        self.clock.forget();
        for _ in 0..TIMES {
            let sent = Instant::now();
            let (seconds, micros): (u64, u64) = redis::cmd("TIME").query_async(connection).await?;
            self.clock.observe(sent, timestamp(seconds, micros));
        }
        Ok(())
    }
}

fn timestamp(seconds: u64, micros: u64) -> Timestamp {
    Timestamp::from_micros(seconds.saturating_mul(1_000_000).saturating_add(micros))
}

impl Node {
    pub(crate) fn new(place: String, way: Way, options: Options) -> Arc<Self> {
        let clock = Arc::new(ServerClock::new());
        Arc::new(Self {
            way,
            watching: Watching::new(place.clone(), options),
            replicas: options.replicas.map(|wanted| Replicas::new(place.clone(), wanted, options)),
            calls: Channel::new(Calls { clock: clock.clone() }, place, options.limit, options.replicas.is_some()),
            clock,
            queue: Mutex::default(),
            under_way: AtomicUsize::new(0),
            options,
        })
    }

    /// Its address, or what it is called.
    pub(crate) fn place(&self) -> &str {
        self.calls.place()
    }

    /// Makes one call, together with all others that are made at this moment. Ends within the time
    /// limit. A caller that goes away harms nobody: the call is made, or was not sent yet.
    pub(crate) async fn call(self: &Arc<Self>, job: Job) -> Result<Ended, Failure> {
        let under_way = UnderWay::one_more(&self.under_way);
        // Nobody to travel with: no other task need be woken to send it.
        if under_way.alone && !self.options.cluster && !self.clock.is_due() {
            return self.call_alone(job).await;
        }
        let (reply, ended) = oneshot::channel();
        let send = self.queue().add(Waiting { job, reply });
        if send {
            tokio::spawn(Sender { node: self.clone(), is_done: false }.send());
        }
        // Whoever sends keeps the limit. It may be on a runtime that does not go on.
        let Ok(ended) = tokio::time::timeout(self.options.limit * 5 / 4, ended).await else {
            self.queue().abandon();
            return Err(Failure::late(self.place()));
        };
        ended.map_err(|_| Failure::NoAnswer {
            place: self.place().into(),
            source: None,
            why: "the runtime is shutting down",
        })
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn call_alone(&self, job: Job) -> Result<Ended, Failure> {
        let limit = tokio::time::sleep(self.options.limit);
        tokio::pin!(limit);
        let mut open = self.open(limit.as_mut()).await?;
        let answer = tokio::select! {
            biased;
            answer = ask(&mut open, &job) => answer,
            () = &mut limit => {
                self.calls.silent(&open);
                return Err(Failure::late(self.place()));
            }
        };
        let result = match answer {
            Ok(Value::ServerError(error)) => {
                self.calls.answered(&open);
                if Failure::spoils_connection(&error) {
                    self.calls.replace(&open);
                }
                Err(Failure::Refused { place: self.place().into(), error })
            }
            Ok(answer) => {
                self.calls.answered(&open);
                Ok(answer)
            }
            Err(error) => {
                self.calls.replace(&open);
                Err(Failure::no_answer(self.place(), error))
            }
        };
        Ok(Ended { result, job: None, history: open.history })
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

    async fn send_batch(self: Arc<Self>, waiting: Vec<Waiting>) {
        let batch = Batch::of(waiting, self.options.cluster, self.clock.should_ask());
        let limit = tokio::time::sleep(self.options.limit);
        tokio::pin!(limit);
        let mut open = match self.open(limit.as_mut()).await {
            Ok(open) => open,
            Err(failure) => return batch.fail(&failure),
        };
        let sent = Instant::now();
        let answers = tokio::select! {
            answers = exchange(&mut open, &batch) => answers,
            () = &mut limit => {
                self.calls.silent(&open);
                return batch.fail(&Failure::late(self.place()));
            }
        };
        match answers {
            Ok(mut answers) => {
                self.calls.answered(&open);
                if let Some(time) = batch.time(&mut answers) {
                    self.observe(sent, &time);
                }
                let errors = batch.answer(answers, self.place(), &open.history);
                if errors.iter().any(Failure::spoils_connection) {
                    self.calls.replace(&open);
                }
            }
            Err(error) => {
                self.calls.replace(&open);
                batch.fail(&Failure::no_answer(self.place(), error));
            }
        }
    }

    /// Makes one call alone, to a server that does not have the key yet, as another told us to.
    pub(crate) async fn ask(&self, job: &Job) -> Result<Ended, Failure> {
        let mut open = self.calls.open(&self.way).await?;
        let mut pipeline = Pipeline::new();
        pipeline.cmd("ASKING").add_command(job.command(true));
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
            Ok(Ok(mut answers)) => {
                let result = match answers.pop() {
                    Some(Value::ServerError(error)) => Err(Failure::Refused { place: self.place().into(), error }),
                    Some(answer) => Ok(if matches!(job, Job::Complete(_)) { first(answer) } else { answer }),
                    None => Err(Failure::late(self.place())),
                };
                Ok(Ended { result, job: None, history: open.history })
            }
        }
    }

    /// The server may not be the master any more: the next call and the next wait find out anew.
    pub(crate) fn start_over(&self) {
        self.calls.start_over();
        self.replicas.iter().for_each(Replicas::start_over);
    }

    fn observe(&self, sent: Instant, time: &Value) {
        if let Value::Array(parts) = time
            && let [seconds, micros] = &parts[..]
            && let (Some(seconds), Some(micros)) = (number(seconds), number(micros))
        {
            self.clock.observe(sent, timestamp(seconds, micros));
        }
    }
}

/// Whoever comes to send what waits. Cut off, as when its runtime shuts down, it leaves nobody waiting.
struct Sender {
    node: Arc<Node>,
    is_done: bool,
}

impl Sender {
    /// Sends what waits, once whoever else is ready to ask has done so.
    async fn send(mut self) {
        loop {
            tokio::task::yield_now().await;
            let (waiting, more) = self.node.queue().take();
            if waiting.is_empty() {
                // It took so long that others were sent for it.
                self.is_done = true;
                return;
            }
            if !more {
                self.is_done = true;
                return self.node.clone().send_batch(waiting).await;
            }
            tokio::spawn(self.node.clone().send_batch(waiting));
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        if !self.is_done {
            self.node.queue().abandon();
        }
    }
}

/// Sends one call and gives its answer; with its script, should the server have forgotten that.
async fn ask(open: &mut Open, job: &Job) -> redis::RedisResult<Value> {
    let answer = match job {
        Job::Command(command) => return send(open, command).await,
        job => send(open, &job.command(false)).await?,
    };
    let answer = match answer {
        Value::ServerError(error) if error.code() == "NOSCRIPT" => send(open, &job.command(true)).await?,
        answer => answer,
    };
    Ok(if matches!(job, Job::Complete(_)) { first(answer) } else { answer })
}

/// Sends a command. An error that the server answers by is an answer.
async fn send(open: &mut Open, command: &Cmd) -> redis::RedisResult<Value> {
    open.connection.send_packed_command(command).await
}

/// A call that is under way, from now until it is dropped.
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

/// Sends a batch and gives its answers; what names a script that the server has forgotten goes again,
/// with the script.
async fn exchange(open: &mut Open, batch: &Batch) -> RedisResult<Vec<Value>> {
    let (pipeline, count) = batch.pipeline();
    let mut answers = open.connection.req_packed_commands(pipeline, 0, count).await?;
    let forgotten = batch.forgotten(&answers);
    if !forgotten.is_empty() {
        let mut pipeline = Pipeline::with_capacity(forgotten.len());
        let (places, commands): (Vec<usize>, Vec<_>) = forgotten.into_iter().unzip();
        for command in commands {
            pipeline.add_command(command);
        }
        let again = open.connection.req_packed_commands(&pipeline, 0, places.len()).await?;
        for (place, answer) in places.into_iter().zip(again) {
            answers[place] = answer;
        }
    }
    Ok(answers)
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
