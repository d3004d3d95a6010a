//! Being told when an attempt ends.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use idempotency_core::Watch;
use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::sync::{Notify, oneshot};

use crate::carry::Pool;
use crate::config::PostgresStoreConfig;
use crate::row::Name;

/// How long to wait before another connection is made that is told of changes.
const PAUSE: Duration = Duration::from_millis(200);

type ByKey = HashMap<String, Vec<oneshot::Sender<()>>>;

/// Whoever waits. A waiter marks the row; the statement that ends its attempt then tells of it
/// (`NOTIFY`). Where nobody waits, nothing is told.
#[derive(Debug)]
pub(crate) struct Watching {
    pool: Arc<Pool>,
    /// Nobody is told through a pooler that gives connections away after each transaction.
    works: bool,
    watchers: Arc<Watchers>,
}

#[derive(Debug, Default)]
struct Watchers {
    by_key: Mutex<ByKey>,
    /// Somebody listens for them.
    listens: Mutex<bool>,
    /// The store is gone.
    over: Notify,
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.watchers.over.notify_one();
    }
}

impl Watching {
    pub(crate) fn new(pool: Arc<Pool>, config: &PostgresStoreConfig) -> Self {
        Self { pool, works: !config.behind_pooler, watchers: Arc::default() }
    }

    /// Watches a key from now on. Where it cannot be watched, the watch never resolves: whoever waits asks
    /// again from time to time anyway.
    pub(crate) fn watch(&self, name: Name) -> Watch {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return Watch::never() };
        if !self.works {
            return Watch::never();
        }
        let (watcher, changed) = oneshot::channel();
        self.watchers.add(&name.key, watcher);
        let mut listens = self.watchers.listens.lock().unwrap_or_else(PoisonError::into_inner);
        if !*listens {
            *listens = true;
            runtime.spawn(listen(Listening(self.watchers.clone()), self.pool.clone()));
        }
        drop(listens);
        runtime.spawn(register(self.watchers.clone(), self.pool.clone(), name));
        Watch::new(async move {
            if changed.await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }
}

impl Watchers {
    fn add(&self, key: &str, watcher: oneshot::Sender<()>) {
        let mut by_key = self.by_key();
        let watchers = by_key.entry(key.to_owned()).or_default();
        // A waiter watches anew each time it has looked.
        watchers.retain(|watcher| !watcher.is_closed());
        watchers.push(watcher);
    }

    fn wake(&self, key: &str) {
        self.by_key().remove(key).into_iter().flatten().for_each(told);
    }

    fn wake_all(&self) {
        std::mem::take(&mut *self.by_key()).into_values().flatten().for_each(told);
    }

    fn by_key(&self) -> MutexGuard<'_, ByKey> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells a watcher, who may have gone away.
fn told(watcher: oneshot::Sender<()>) {
    let _ = watcher.send(());
}

/// Marks the row, so that its end is told. An attempt that is over has ended already.
async fn register(watchers: Arc<Watchers>, pool: Arc<Pool>, name: Name) {
    let mark = || pool.query(&pool.sql.watch).bind(name.key.clone());
    if pool.again("watch", mark).await.is_ok_and(|rows| rows.is_empty()) {
        watchers.wake(&name.key);
    }
}

/// Says that nobody listens any more, when it ends.
struct Listening(Arc<Watchers>);

impl Drop for Listening {
    fn drop(&mut self) {
        *self.0.listens.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.0.wake_all();
    }
}

/// Listens as long as the store is there.
async fn listen(listening: Listening, pool: Arc<Pool>) {
    let watchers = &listening.0;
    tokio::select! {
        () = watchers.over.notified() => {}
        () = listen_on(watchers, &pool) => {}
    }
}

async fn listen_on(watchers: &Watchers, pool: &Pool) {
    // A connection besides those of the pool: it may have no more than one.
    let one = PgPoolOptions::new().max_connections(1).max_lifetime(None).idle_timeout(None);
    while !pool.pool.is_closed() {
        let server = (*pool.pool.connect_options()).clone();
        if let Ok(mut listener) = PgListener::connect_with(&one.clone().connect_lazy_with(server)).await
            && listener.listen(&pool.sql.channel).await.is_ok()
        {
            // What was told before is lost.
            watchers.wake_all();
            while let Ok(Some(told)) = listener.try_recv().await {
                watchers.wake(told.payload());
            }
            watchers.wake_all();
        }
        tokio::time::sleep(PAUSE).await;
    }
}
