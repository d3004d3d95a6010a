//! Waiting until replicas have what was written.

use std::sync::{Arc, Mutex, PoisonError};

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

#[derive(Debug)]
struct Waits;

impl Purpose for Waits {}

/// Those who wait for the next round.
#[derive(Debug, Default)]
struct Waiting {
    calls: Vec<oneshot::Sender<Result<Arc<str>, &'static str>>>,
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
            let mut waiting = replicas.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.calls.push(told);
            !std::mem::replace(&mut waiting.somebody_asks, true)
        };
        replicas.choose_key(name, prefix);
        if asks {
            tokio::spawn(rounds(node.clone()));
        }
        let why = match tokio::time::timeout(replicas.wanted.within, answer).await {
            Ok(Ok(Ok(found))) if history == Some(&*found) => return Ok(()),
            Ok(Ok(Ok(_))) => "the server changed over while replicas were waited for",
            // Whatever kept us from asking: what was written is there.
            Ok(Ok(Err(why))) => why,
            Ok(Err(_)) => "the runtime is shutting down",
            Err(_) => TOO_FEW,
        };
        node.start_over();
        Err(Failure::NoAnswer { place: node.place().into(), source: None, why })
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
    async fn round(&self, node: &Node) -> Result<Arc<str>, &'static str> {
        let Ok(mut open) = self.channel.open(&node.way).await else { return Err(NOT_REACHED) };
        let Some(own_key) = self.own_key.lock().unwrap_or_else(PoisonError::into_inner).clone() else {
            return Err(NOT_REACHED);
        };
        let within = self.wanted.within;
        let mut pipeline = Pipeline::with_capacity(3);
        pipeline.cmd("SET").arg(own_key).arg("").arg("PX").arg(60_000);
        // Before the wait: it is the history that was written in, whatever becomes of the server then.
        pipeline.cmd("INFO").arg("replication");
        pipeline.cmd("WAIT").arg(self.wanted.by).arg(u64::try_from(within.as_millis()).unwrap_or(u64::MAX).max(1));
        let limit = within + self.options.limit;
        let exchange = open.connection.req_packed_commands(&pipeline, 0, 3);
        let Ok(Ok(answers)) = tokio::time::timeout(limit, exchange).await else {
            self.channel.replace(&open);
            return Err(NOT_REACHED);
        };
        self.channel.answered();
        for answer in &answers {
            if let redis::Value::ServerError(error) = answer {
                self.channel.replace(&open);
                if self.options.cluster {
                    // Its slot may have moved.
                    *self.own_key.lock().unwrap_or_else(PoisonError::into_inner) = None;
                }
                tracing::debug!(place = self.channel.place(), %error, "replicas cannot be waited for");
                return Err(NOT_REACHED);
            }
        }
        let info = match answers.get(1) {
            Some(redis::Value::BulkString(info)) => String::from_utf8_lossy(info).into_owned(),
            Some(redis::Value::VerbatimString { text, .. }) => text.clone(),
            _ => String::new(),
        };
        if answers.last().and_then(number).is_none_or(|acknowledged| acknowledged < u64::from(self.wanted.by)) {
            return Err(TOO_FEW);
        }
        Ok(history_in(&info).into())
    }
}

/// One round after another, as long as somebody waits.
async fn rounds(node: Arc<Node>) {
    let Some(replicas) = &node.replicas else { return };
    loop {
        // Whoever is about to ask is part of this round.
        tokio::task::yield_now().await;
        let calls = {
            let mut waiting = replicas.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if waiting.calls.is_empty() {
                waiting.somebody_asks = false;
                return;
            }
            std::mem::take(&mut waiting.calls)
        };
        let outcome = replicas.round(&node).await;
        calls.into_iter().for_each(|call| drop(call.send(outcome.clone())));
    }
}
