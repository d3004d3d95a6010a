//! One connection, replaced when it breaks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ConnectionInfo, PushInfo, RedisResult};
use tokio::sync::mpsc::UnboundedSender;

use super::failure::Failure;
use super::sentinel::Sentinels;

/// How often in a row a connection may give no answer in time before it is replaced: it may be that
/// nothing comes through it any more, which no error would ever tell.
const SILENCES: u64 = 2;

/// Where a connection leads to.
#[derive(Debug)]
pub(crate) enum Way {
    /// To one server.
    Direct(ConnectionInfo),
    /// To whichever server the sentinels call the master.
    Master(Sentinels),
}

/// What a connection is for.
pub(crate) trait Purpose: std::fmt::Debug + Send + Sync + 'static {
    /// Takes what the server pushes, if it is to push anything.
    fn pushes(&self) -> Option<UnboundedSender<PushInfo>> {
        None
    }

    /// Makes a new connection ready, before anybody uses it.
    fn prepare(&self, connection: &mut MultiplexedConnection) -> impl Future<Output = RedisResult<()>> + Send {
        let _ = connection;
        async { Ok(()) }
    }
}

/// A connection, made at first use, shared by all who ask, and made anew once it broke.
#[derive(Debug)]
pub(crate) struct Channel<P> {
    purpose: P,
    place: String,
    limit: Duration,
    /// Whether to find out which history of writes the server is in.
    with_history: bool,
    open: RwLock<Option<Open>>,
    /// Held by the one who connects.
    connecting: tokio::sync::Mutex<Option<Failure>>,
    /// Attempts to connect that have ended.
    attempts: AtomicU64,
}

/// A connection, and which one after another it is.
#[derive(Clone, Debug)]
pub(crate) struct Open {
    pub(crate) connection: MultiplexedConnection,
    pub(crate) number: u64,
    /// The server's replication id when the connection was made: another one means that this server,
    /// or another in its place, may have forgotten what went through here.
    pub(crate) history: Option<Arc<str>>,
    /// How often in a row it gave no answer in time.
    silences: Arc<AtomicU64>,
}

impl<P: Purpose> Channel<P> {
    pub(crate) fn new(purpose: P, place: String, limit: Duration, with_history: bool) -> Self {
        Self {
            purpose,
            place,
            limit,
            with_history,
            open: RwLock::new(None),
            connecting: tokio::sync::Mutex::new(None),
            attempts: AtomicU64::new(0),
        }
    }

    pub(crate) fn purpose(&self) -> &P {
        &self.purpose
    }

    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// The connection; a new one where there is none. Whoever comes while one is being made shares in
    /// how that ends.
    pub(crate) async fn open(&self, way: &Way) -> Result<Open, Failure> {
        if let Some(open) = self.present() {
            return Ok(open);
        }
        let seen = self.attempts.load(Ordering::Acquire);
        let mut last = self.connecting.lock().await;
        if let Some(open) = self.present() {
            return Ok(open);
        }
        if self.attempts.load(Ordering::Acquire) != seen
            && let Some(failure) = &*last
        {
            return Err(failure.clone());
        }
        let made = match tokio::time::timeout(self.limit, self.connect(way)).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(Failure::unreached(&self.place, error)),
            Err(_) => Err(Failure::Unreached {
                place: self.place.clone(),
                source: None,
                why: "it lets nobody in within the time limit",
            }),
        };
        let number = self.attempts.fetch_add(1, Ordering::AcqRel);
        match made {
            Ok((connection, history)) => {
                let open = Open { connection, number, history, silences: Arc::default() };
                *last = None;
                *self.open.write().unwrap_or_else(PoisonError::into_inner) = Some(open.clone());
                Ok(open)
            }
            Err(failure) => {
                *last = Some(failure.clone());
                Err(failure)
            }
        }
    }

    async fn connect(&self, way: &Way) -> RedisResult<(MultiplexedConnection, Option<Arc<str>>)> {
        let mut config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.limit))
            // Whoever calls has a limit of its own: one timer a call is enough.
            .set_response_timeout(None)
            .set_pipeline_buffer_size(256);
        if let Some(pushes) = self.purpose.pushes() {
            config = config.set_push_sender(pushes);
        }
        let mut connection = match way {
            Way::Direct(server) => {
                Client::open(server.clone())?.get_multiplexed_async_connection_with_config(&config).await?
            }
            Way::Master(sentinels) => sentinels.connect(&config).await?,
        };
        self.purpose.prepare(&mut connection).await?;
        let history = if self.with_history {
            let info: String = redis::cmd("INFO").arg("replication").query_async(&mut connection).await?;
            Some(history_in(&info).into())
        } else {
            None
        };
        Ok((connection, history))
    }

    /// An answer came through this connection.
    pub(crate) fn answered(&self, open: &Open) {
        if open.silences.load(Ordering::Relaxed) != 0 {
            open.silences.store(0, Ordering::Relaxed);
        }
    }

    /// No answer came through this connection in time.
    pub(crate) fn silent(&self, open: &Open) {
        if open.silences.fetch_add(1, Ordering::Relaxed) + 1 >= SILENCES {
            self.replace(open);
        }
    }

    /// This connection is of no more use.
    pub(crate) fn replace(&self, broken: &Open) {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        if open.as_ref().is_some_and(|open| open.number == broken.number) {
            tracing::debug!(place = self.place, "a Redis connection is given up, and made anew at the next call");
            *open = None;
        }
    }

    /// This connection, whichever it is, may lead to the wrong server.
    pub(crate) fn start_over(&self) {
        *self.open.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn present(&self) -> Option<Open> {
        self.open.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The replication id in what `INFO replication` says.
pub(crate) fn history_in(info: &str) -> &str {
    info.lines().find_map(|line| line.strip_prefix("master_replid:")).unwrap_or_default()
}
