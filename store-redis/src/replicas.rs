//! Waiting until replicas have what was written.

use std::sync::{Arc, Mutex, PoisonError};

use redis::Pipeline;
use redis::aio::ConnectionLike;
use tokio::sync::oneshot;

use crate::link::{Acknowledged, Channel, Failure, Node, Options, Purpose, history_in, number, slot};

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
            let mut waiting = replicas.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.calls.push(told);
            !std::mem::replace(&mut waiting.somebody_asks, true)
        };
        replicas.choose_key(name, prefix);
        if asks {
            tokio::spawn(rounds(node.clone()));
        }
        let found = answer.await.map_err(|_| Failure::late(node.place()))??;
        if history == Some(&*found) {
            return Ok(());
        }
        // Another server answers in its place, or it was another's replica meanwhile.
        node.start_over().await;
        Err(Failure::NoAnswer {
            place: node.place().into(),
            source: None,
            why: "the server changed over while replicas were waited for",
        })
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

    async fn round(&self, node: &Node) -> Result<Arc<str>, Failure> {
        let mut open = self.channel.open(&node.way).await?;
        let Some(own_key) = self.own_key.lock().unwrap_or_else(PoisonError::into_inner).clone() else {
            return Err(Failure::late(self.channel.place()));
        };
        let within = self.wanted.within;
        let mut pipeline = Pipeline::with_capacity(3);
        pipeline.cmd("EVAL").arg(WRITE).arg(1).arg(own_key);
        pipeline.cmd("WAIT").arg(self.wanted.by).arg(u64::try_from(within.as_millis()).unwrap_or(u64::MAX).max(1));
        pipeline.cmd("INFO").arg("replication");
        let limit = within + self.options.limit;
        let answers = match tokio::time::timeout(limit, open.connection.req_packed_commands(&pipeline, 0, 3)).await {
            Ok(Ok(answers)) => answers,
            Ok(Err(error)) => {
                self.channel.replace(&open);
                return Err(Failure::no_answer(self.channel.place(), error));
            }
            Err(_) => {
                self.channel.replace(&open);
                return Err(Failure::late(self.channel.place()));
            }
        };
        self.channel.answered();
        for answer in &answers {
            if let redis::Value::ServerError(error) = answer {
                self.channel.replace(&open);
                *self.own_key.lock().unwrap_or_else(PoisonError::into_inner) = None;
                tracing::debug!(place = self.channel.place(), %error, "replicas cannot be waited for");
                if error.code() == "NOPERM" {
                    return Err(Failure::Refused { place: self.channel.place().into(), error: error.clone() });
                }
                return Err(Failure::NoAnswer {
                    place: self.channel.place().into(),
                    source: None,
                    why: "its replicas could not be waited for",
                });
            }
        }
        let info = match answers.last() {
            Some(redis::Value::BulkString(info)) => String::from_utf8_lossy(info).into_owned(),
            Some(redis::Value::VerbatimString { text, .. }) => text.clone(),
            _ => String::new(),
        };
        if answers.get(1).and_then(number).is_none_or(|acknowledged| acknowledged < u64::from(self.wanted.by)) {
            return Err(Failure::NoAnswer {
                place: self.channel.place().into(),
                source: None,
                why: "too few replicas have acknowledged it in time",
            });
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
