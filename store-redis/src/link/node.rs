//! One server.

use std::sync::{Arc, Mutex, PoisonError};

use idempotency_core::Timestamp;
use redis::aio::ConnectionLike;
use redis::{Pipeline, Value};
use tokio::sync::oneshot;

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
        let (reply, ended) = oneshot::channel();
        let send = self.queue.lock().unwrap_or_else(PoisonError::into_inner).add(Waiting { job, reply });
        if send {
            tokio::spawn(self.clone().send());
        }
        ended.await.map_err(|_| Failure::NoAnswer {
            place: self.place().into(),
            source: None,
            why: "the runtime is shutting down",
        })
    }

    /// Sends what waits, once whoever else is ready to ask has done so.
    async fn send(self: Arc<Self>) {
        loop {
            tokio::task::yield_now().await;
            let (waiting, more) = self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
            if more {
                tokio::spawn(self.clone().send_batch(waiting));
            } else {
                return self.send_batch(waiting).await;
            }
        }
    }

    async fn send_batch(self: Arc<Self>, waiting: Vec<Waiting>) {
        let batch = Batch::of(waiting, !self.options.cluster, self.clock.should_ask());
        let limit = tokio::time::sleep(self.options.limit);
        tokio::pin!(limit);
        let open = tokio::select! {
            open = self.calls.open(&self.way) => open,
            () = &mut limit => Err(Failure::Unreached {
                place: self.place().into(),
                source: None,
                why: "no connection was made within the time limit",
            }),
        };
        let mut open = match open {
            Ok(open) => open,
            Err(failure) => return batch.fail(&failure),
        };
        let answers = tokio::select! {
            answers = exchange(&mut open, &batch) => answers,
            () = &mut limit => {
                self.calls.silent(&open);
                return batch.fail(&Failure::late(self.place()));
            }
        };
        match answers {
            Ok(mut answers) => {
                self.calls.answered();
                if let Some(time) = batch.time(&mut answers) {
                    self.observe(batch.sent, &time);
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
    pub(crate) async fn ask(&self, job: &Job) -> Result<Value, Failure> {
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
            Ok(Ok(mut answers)) => match answers.pop() {
                Some(Value::ServerError(error)) => Err(Failure::Refused { place: self.place().into(), error }),
                Some(answer) => Ok(answer),
                None => Err(Failure::late(self.place())),
            },
        }
    }

    /// The server may not be the master any more: the next call and the next wait find out anew.
    pub(crate) fn start_over(&self) {
        self.calls.start_over();
        self.replicas.iter().for_each(Replicas::start_over);
        self.clock.forget();
    }

    fn observe(&self, sent: std::time::Instant, time: &Value) {
        if let Value::Array(parts) = time
            && let [seconds, micros] = &parts[..]
            && let (Some(seconds), Some(micros)) = (number(seconds), number(micros))
        {
            self.clock.observe(sent, Timestamp::from_micros(seconds.saturating_mul(1_000_000).saturating_add(micros)));
        }
    }
}

/// Sends a batch and gives its answers; what names a script that the server has forgotten goes again,
/// with the script.
async fn exchange(open: &mut Open, batch: &Batch) -> redis::RedisResult<Vec<Value>> {
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
