//! Being told when a record changes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use idempotency_core::Watch;
use redis::aio::MultiplexedConnection;
use redis::{PushInfo, PushKind, RedisResult, Value};
use tokio::sync::{mpsc, oneshot};

use crate::link::{Channel, Failure, Options, Purpose, Servers, Way};

/// Whoever watches records on one server. The server remembers what was read on a connection of its
/// own, and says when that changes (`CLIENT TRACKING`); the other callers pay nothing for it.
#[derive(Debug)]
pub(crate) struct Watching {
    channel: Channel<Tracking>,
    limit: std::time::Duration,
}

/// Who waits for which record.
#[derive(Clone, Debug, Default)]
struct Watchers(Arc<Mutex<ByName>>);

type ByName = HashMap<Vec<u8>, Vec<oneshot::Sender<()>>>;

/// A connection on which the server tells of changes to what was read there.
#[derive(Debug)]
struct Tracking {
    watchers: Watchers,
    /// Whether the connection that was made last tells of changes.
    tells: Mutex<Arc<AtomicBool>>,
}

impl Purpose for Tracking {
    fn pushes(&self) -> Option<mpsc::UnboundedSender<PushInfo>> {
        let (pushes, mut pushed) = mpsc::unbounded_channel::<PushInfo>();
        let watchers = self.watchers.clone();
        let tells = Arc::new(AtomicBool::new(false));
        self.tells.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&tells);
        tokio::spawn(async move {
            while let Some(push) = pushed.recv().await {
                match push.kind {
                    PushKind::Invalidate => watchers.changed(&push.data),
                    // Whatever happens meanwhile, nobody will hear of it.
                    PushKind::Disconnection => watchers.wake_all(),
                    _ => {}
                }
            }
            // One that never told of anything ends nothing: whoever was woken would try it again at once.
            if tells.load(Ordering::Acquire) {
                watchers.wake_all();
            }
        });
        Some(pushes)
    }

    async fn prepare(&self, connection: &mut MultiplexedConnection) -> RedisResult<()> {
        redis::cmd("CLIENT").arg("TRACKING").arg("ON").query_async::<()>(connection).await?;
        self.tells.lock().unwrap_or_else(PoisonError::into_inner).store(true, Ordering::Release);
        Ok(())
    }
}

impl Watchers {
    fn add(&self, name: &[u8], watcher: oneshot::Sender<()>) {
        let mut all = self.all();
        let watchers = all.entry(name.to_vec()).or_default();
        // A waiter watches anew each time it has looked.
        watchers.retain(|watcher| !watcher.is_closed());
        watchers.push(watcher);
    }

    /// Wakes whoever watches the records that the server names; all where it names none, as when it
    /// was emptied.
    fn changed(&self, data: &[Value]) {
        match data {
            [Value::Array(names)] => {
                let mut all = self.all();
                for name in names {
                    if let Value::BulkString(name) = name {
                        all.remove(name).into_iter().flatten().for_each(told);
                    }
                }
            }
            _ => self.wake_all(),
        }
    }

    fn wake(&self, name: &[u8]) {
        self.all().remove(name).into_iter().flatten().for_each(told);
    }

    /// Forgets whoever watches a record that cannot be watched, and wakes nobody.
    fn leave(&self, name: &[u8]) {
        self.all().remove(name);
    }

    fn wake_all(&self) {
        std::mem::take(&mut *self.all()).into_values().flatten().for_each(told);
    }

    /// Forgets those who went away.
    fn tidy(&self, name: &[u8]) {
        let mut all = self.all();
        if let Some(watchers) = all.get_mut(name) {
            watchers.retain(|watcher| !watcher.is_closed());
            if watchers.is_empty() {
                all.remove(name);
            }
        }
    }

    fn all(&self) -> MutexGuard<'_, ByName> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watching {
    pub(crate) fn new(place: String, options: Options) -> Self {
        let tracking = Tracking { watchers: Watchers::default(), tells: Mutex::default() };
        Self { channel: Channel::new(tracking, place, options.limit, false), limit: options.limit }
    }

    fn watchers(&self) -> &Watchers {
        &self.channel.purpose().watchers
    }

    /// Has the server tell of the record's next change. A record that is in progress no more has
    /// changed already.
    async fn register(&self, way: &Way, name: &[u8]) -> Result<(), Failure> {
        // What breaks wakes those who wait. Where the server will have none that watches, it would have
        // none the next time either: they go by their own clocks.
        let mut open = self.channel.open(way).await.inspect_err(|failure| {
            if failure.is_refusal() { self.watchers().leave(name) } else { self.watchers().wake(name) }
        })?;
        let mut state = redis::cmd("GETRANGE");
        state.arg(name).arg(0).arg(4);
        match tokio::time::timeout(self.limit, state.query_async::<Value>(&mut open.connection)).await {
            Ok(Ok(Value::BulkString(state))) if state.last() == Some(&b'P') => {
                self.channel.answered(&open);
                Ok(())
            }
            Ok(Ok(_)) => {
                self.channel.answered(&open);
                self.watchers().wake(name);
                Ok(())
            }
            Ok(Err(error)) => {
                self.channel.replace(&open);
                Err(Failure::no_answer(self.channel.place(), error))
            }
            Err(_) => {
                self.channel.silent(&open);
                Err(Failure::late(self.channel.place()))
            }
        }
    }
}

/// Watches a record from now on. Where it cannot be watched, the watch never resolves: whoever waits
/// asks again from time to time anyway.
pub(crate) fn watch(servers: &Arc<Servers>, name: Vec<u8>) -> Watch {
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return Watch::never() };
    let (watcher, changed) = oneshot::channel();
    let servers = servers.clone();
    runtime.spawn(async move {
        let Ok(node) = servers.node(&name).await else { return };
        let watchers = node.watching.watchers().clone();
        let mut gone = Gone { watchers: watchers.clone(), name: name.clone() };
        // Before the server is asked, so that nothing is missed in between.
        watchers.add(&name, watcher);
        if node.watching.register(&node.way, &name).await.is_err() {
            // Told of nothing, the waiter goes by its own clock.
            tracing::debug!(place = node.place(), "a record cannot be watched; its waiters poll");
        }
        gone.name.clear();
    });
    Watch::new(async move {
        if changed.await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}

/// Tidies up when a registration is cut off.
struct Gone {
    watchers: Watchers,
    name: Vec<u8>,
}

impl Drop for Gone {
    fn drop(&mut self) {
        if !self.name.is_empty() {
            self.watchers.tidy(&self.name);
        }
    }
}

/// Tells a watcher, who may have gone away.
fn told(watcher: oneshot::Sender<()>) {
    let _ = watcher.send(());
}
