//! Waiting until replicas have what was written.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redis::Pipeline;
use redis::aio::ConnectionLike;
use tokio::sync::oneshot;

use crate::link::{Acknowledged, Channel, Failure, Node, Options, Purpose, history_in, number, slot};

const TOO_FEW: &str = "too few replicas have acknowledged it in time";
const NOT_REACHED: &str = "its replicas could not be waited for";

/// Waits on a connection of its own, once for all who wait at the same time: `WAIT` blocks its
/// connection, and speaks of what was written on it before. So it writes a key of its own first, which
/// the replicas get after whatever was written by then.
#[derive(Debug)]
pub(crate) struct Replicas {
    channel: Channel<Waits>,
    wanted: Acknowledged,
    options: Options,
    waiting: Mutex<Waiting>,
    /// The key that is written, of a slot that the server has.
    own_key: Mutex<Option<Vec<u8>>>,
}

/// Writes a key that is gone in a minute, also when the server is over its memory limit: what has been
/// ended then is to be waited for, too.
const WRITE: &str = "#!lua flags=allow-oom\nreturn redis.call('SET', KEYS[1], '', 'PX', 60000)";

#[derive(Debug)]
struct Waits;

impl Purpose for Waits {}

/// Those who wait for the next round.
#[derive(Debug, Default)]
struct Waiting {
    calls: Vec<oneshot::Sender<Result<Arc<str>, Failure>>>,
    somebody_asks: bool,
}

impl Replicas {
    pub(crate) fn new(place: String, wanted: Acknowledged, options: Options) -> Self {
        Self {
            channel: Channel::new(Waits, place, options.limit, false),
            wanted,
            options,
            waiting: Mutex::default(),
            own_key: Mutex::new(None),
        }
    }

    /// Waits until enough replicas have all that was written on `node` before this was called, in the
    /// history of writes that `history` names. `name` is any key that the server has.
    pub(crate) async fn have_all(
        node: &Arc<Node>,
        name: &[u8],
        prefix: &str,
        history: Option<&str>,
    ) -> Result<(), Failure> {
        let Some(replicas) = &node.replicas else { return Ok(()) };
        let (told, answer) = oneshot::channel();
        let asks = {
            let mut waiting = replicas.waiting();
            waiting.calls.push(told);
            !std::mem::replace(&mut waiting.somebody_asks, true)
        };
        replicas.choose_key(name, prefix);
        if asks {
            tokio::spawn(Rounds { node: node.clone(), is_done: false }.run());
        }
        let failure = match tokio::time::timeout(replicas.wanted.within, answer).await {
            Ok(Ok(Ok(found))) if history == Some(&*found) => return Ok(()),
            Ok(Ok(Ok(_))) => replicas.in_doubt("the server changed over while replicas were waited for"),
            Ok(Ok(Err(failure))) => failure,
            Ok(Err(_)) => replicas.in_doubt("the runtime is shutting down"),
            Err(_) => replicas.in_doubt(TOO_FEW),
        };
        node.start_over();
        Err(failure)
    }

    /// Whatever kept us from asking: what was written is there.
    fn in_doubt(&self, why: &'static str) -> Failure {
        Failure::NoAnswer { place: self.channel.place().into(), source: None, why }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next round is to be at whichever server is the master by then.
    pub(crate) fn start_over(&self) {
        self.channel.start_over();
    }

    fn choose_key(&self, name: &[u8], prefix: &str) {
        let mut own_key = self.own_key.lock().unwrap_or_else(PoisonError::into_inner);
        if own_key.is_none() {
            let wanted = slot(name);
            let in_slot = |key: &String| !self.options.cluster || slot(key.as_bytes()) == wanted;
            // One in 16,384 is.
            *own_key = (0_u32..).map(|n| format!("{prefix}~wait {n}")).find(in_slot).map(String::into_bytes);
        }
    }

    /// Has a round of waiting done; the server's history of writes, or why there was none.
    async fn round(&self, node: &Node) -> Result<Arc<str>, Failure> {
        let Ok(mut open) = self.channel.open(&node.way).await else { return Err(self.in_doubt(NOT_REACHED)) };
        let Some(own_key) = self.own_key.lock().unwrap_or_else(PoisonError::into_inner).clone() else {
            return Err(self.in_doubt(NOT_REACHED));
        };
        let within = self.wanted.within;
        let mut pipeline = Pipeline::with_capacity(4);
        if self.options.cluster {
            // Its slot may be on its way to this server.
            pipeline.cmd("ASKING");
        }
        pipeline.cmd("EVAL").arg(WRITE).arg(1).arg(own_key);
        // Before the wait: it is the history that was written in, whatever becomes of the server then.
        pipeline.cmd("INFO").arg("replication");
        pipeline.cmd("WAIT").arg(self.wanted.by).arg(u64::try_from(within.as_millis()).unwrap_or(u64::MAX).max(1));
        let limit = within + self.options.limit;
        let exchange = open.connection.req_packed_commands(&pipeline, 0, pipeline.len());
        let Ok(Ok(answers)) = tokio::time::timeout(limit, exchange).await else {
            self.channel.replace(&open);
            return Err(self.in_doubt(NOT_REACHED));
        };
        self.channel.answered(&open);
        for answer in &answers {
            if let redis::Value::ServerError(error) = answer {
                self.channel.replace(&open);
                if self.options.cluster {
                    // Its slot may have moved.
                    *self.own_key.lock().unwrap_or_else(PoisonError::into_inner) = None;
                }
                tracing::debug!(place = self.channel.place(), %error, "replicas cannot be waited for");
                if error.code() == "NOPERM" {
                    return Err(Failure::Refused { place: self.channel.place().into(), error: error.clone() });
                }
                return Err(self.in_doubt(NOT_REACHED));
            }
        }
        let info = match answers.len().checked_sub(2).and_then(|at| answers.get(at)) {
            Some(redis::Value::BulkString(info)) => String::from_utf8_lossy(info).into_owned(),
            Some(redis::Value::VerbatimString { text, .. }) => text.clone(),
            _ => String::new(),
        };
        if answers.last().and_then(number).is_none_or(|acknowledged| acknowledged < u64::from(self.wanted.by)) {
            return Err(self.in_doubt(TOO_FEW));
        }
        Ok(history_in(&info).into())
    }
}

/// One round after another, as long as somebody waits. Cut off, as when its runtime shuts down, it leaves
/// nobody waiting.
struct Rounds {
    node: Arc<Node>,
    is_done: bool,
}

impl Rounds {
    async fn run(mut self) {
        let node = self.node.clone();
        let Some(replicas) = &node.replicas else { return };
        loop {
            // Whoever is about to ask is part of this round.
            tokio::task::yield_now().await;
            let calls = {
                let mut waiting = replicas.waiting();
                if waiting.calls.is_empty() {
                    waiting.somebody_asks = false;
                    self.is_done = true;
                    return;
                }
                std::mem::take(&mut waiting.calls)
            };
            let outcome = replicas.round(&node).await;
            calls.into_iter().for_each(|call| drop(call.send(outcome.clone())));
        }
    }
}

impl Drop for Rounds {
    fn drop(&mut self) {
        if let Some(replicas) = self.node.replicas.as_ref().filter(|_| !self.is_done) {
            *replicas.waiting() = Waiting::default();
        }
    }
}
