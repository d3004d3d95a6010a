//! How to open the store.

use std::fmt;
use std::time::Duration;

use idempotency_core::{StoreError, StoreErrorKind};
use redis::io::tcp::{TcpSettings, socket2};
use redis::{Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, RedisConnectionInfo};

use crate::link::{Acknowledged, Options, Place, Sentinels};

/// What the keys of records begin with, unless told otherwise: `idem:`.
pub const DEFAULT_PREFIX: &str = "idem:";
/// How long one call may take, unless told otherwise: 2 s.
pub const DEFAULT_LIMIT: Duration = Duration::from_secs(2);
/// How far the server's clock may step back without repeating a fence, unless told otherwise: a minute.
pub const DEFAULT_CLOCK_TOLERANCE: Duration = Duration::from_secs(60);

/// How long a connection may be silent until the system looks whether its other end is still there.
const SILENCE: Duration = Duration::from_secs(5);

/// What to do about a server that evicts keys when its memory is full: it would forget locks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Eviction {
    /// Refuse to open the store unless the server's `maxmemory-policy` is `noeviction`.
    #[default]
    Refuse,
    /// Warn, once for each store that is opened, and go on.
    Warn,
}

/// What to do while no server answers at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Fail within twice the limit of one call; at once where nobody listens.
    Fail,
    /// Try again for this long, then fail.
    Wait(Duration),
}

/// Where the records are, and how to reach them.
///
/// A password in it is shown by nothing.
#[derive(Clone)]
#[must_use = "a configuration does nothing until a store is opened with it"]
pub struct RedisStoreConfig {
    pub(crate) place: Place,
    pub(crate) prefix: String,
    pub(crate) limit: Duration,
    pub(crate) start: Start,
    pub(crate) eviction: Eviction,
    pub(crate) replicas: Option<Acknowledged>,
    pub(crate) clock_tolerance: Duration,
}

impl RedisStoreConfig {
    /// From a URL.
    ///
    /// | URL | Server |
    /// |---|---|
    /// | `redis://[user:password@]host[:port][/database]` | one server |
    /// | `redis-sentinel://[user:password@]host[:port][,host…]/master[/database]` | the master that these sentinels name |
    /// | `redis-cluster://[user:password@]host[:port][,host…]` | a cluster, some of whose servers these are |
    /// | `rediss://`, `rediss-sentinel://`, `rediss-cluster://` | the same, encrypted (feature `tls`) |
    ///
    /// User and password are the data servers'; for the sentinels' own there are the options
    /// `sentinel_user` and `sentinel_password`. In user and password, special characters are written as
    /// `%2F` and so on. Options follow a `?`, and have no `@`:
    ///
    /// | Option | Meaning |
    /// |---|---|
    /// | `prefix=idem:` | [`with_prefix`](Self::with_prefix) |
    /// | `limit=2s` | [`with_limit`](Self::with_limit) |
    /// | `start=30s` | [`with_start`](Self::with_start)`(Start::Wait(…))` |
    /// | `eviction=warn` | [`with_eviction`](Self::with_eviction)`(Eviction::Warn)` |
    /// | `replicas=1`, `replicas_within=1s` | [`with_replicas`](Self::with_replicas) |
    ///
    /// # Errors
    /// [`StoreError`] of kind [`Misconfigured`](StoreErrorKind::Misconfigured) where the URL is none of
    /// these. It shows no part of the URL but its scheme and the names of its options.
    pub fn from_url(url: &str) -> Result<Self, StoreError> {
        crate::url::parse(url)
    }

    /// One server, as a client that the caller has reaches it.
    pub fn from_client(client: &Client) -> Self {
        Self::at(Place::Server(speaking_resp3(client.get_connection_info().clone())))
    }

    /// The master of this name, as sentinels name it that are reached by these clients. How to log in at
    /// the master is taken from `master`; its address is not.
    pub fn from_sentinels(sentinels: Vec<Client>, name: impl Into<String>, master: &ConnectionInfo) -> Self {
        Self::at(Place::Sentinel(Sentinels { sentinels, name: name.into(), master: speaking_resp3(master.clone()) }))
    }

    /// A cluster, some of whose servers are reached by these clients. All of its servers are reached as
    /// the first one is, but for the address.
    ///
    /// # Errors
    /// [`StoreError`] of kind [`Misconfigured`](StoreErrorKind::Misconfigured) where there is no client,
    /// or one leads to no host and port.
    pub fn from_cluster(clients: &[Client]) -> Result<Self, StoreError> {
        let mut seeds = Vec::new();
        for client in clients {
            match client.get_connection_info().addr() {
                ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                    seeds.push((host.clone(), *port));
                }
                _ => return Err(misconfigured("a cluster's servers have hosts and ports")),
            }
        }
        let like = clients.first().ok_or_else(|| misconfigured("name at least one server of the cluster"))?;
        Ok(Self::at(Place::Cluster(speaking_resp3(like.get_connection_info().clone()), seeds)))
    }

    pub(crate) fn at(place: Place) -> Self {
        Self {
            place,
            prefix: DEFAULT_PREFIX.into(),
            limit: DEFAULT_LIMIT,
            start: Start::Fail,
            eviction: Eviction::default(),
            replicas: None,
            clock_tolerance: DEFAULT_CLOCK_TOLERANCE,
        }
    }

    /// Sets what the keys of all records begin with; [`DEFAULT_PREFIX`] by default. It may be empty.
    /// Nothing else may write keys that begin so.
    pub fn with_prefix(self, prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), ..self }
    }

    /// Sets how long one call may take, connecting included; [`DEFAULT_LIMIT`] by default. A call that
    /// is over it fails as *in doubt* if it was sent, and as *unavailable* if not. With
    /// [replicas](Self::with_replicas), the time to wait for them is added.
    pub fn with_limit(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// Sets what to do while no server answers when the store is opened; [`Start::Fail`] by default.
    pub fn with_start(self, start: Start) -> Self {
        Self { start, ..self }
    }

    /// Sets what to do about a server that evicts keys; [`Eviction::Refuse`] by default.
    pub fn with_eviction(self, eviction: Eviction) -> Self {
        Self { eviction, ..self }
    }

    /// Answers only once `replicas` replicas have acknowledged what the answer says (`WAIT`), so that it
    /// survives the failover to one of them. A call whose answer they do not acknowledge `within` this
    /// time fails as *in doubt*. Off by default: replication is asynchronous, and a failover forgets
    /// what was not replicated yet.
    ///
    /// Name as many as the master has. With fewer, one that has not acknowledged may be promoted, or one
    /// that has may do so for an old master while another is promoted. While one of them is away, then,
    /// nothing is acknowledged.
    pub fn with_replicas(self, replicas: u32, within: Duration) -> Self {
        Self { replicas: (replicas > 0).then_some(Acknowledged { by: replicas, within }), ..self }
    }

    /// Sets how far the server's clock may step back, or be behind that of the server before it, without
    /// a fence being given twice; [`DEFAULT_CLOCK_TOLERANCE`] by default. Keys are kept for so long at
    /// least.
    pub fn with_clock_tolerance(self, tolerance: Duration) -> Self {
        Self { clock_tolerance: tolerance, ..self }
    }

    pub(crate) fn options(&self) -> Options {
        Options { limit: self.limit, cluster: matches!(self.place, Place::Cluster(..)), replicas: self.replicas }
    }
}

impl fmt::Debug for RedisStoreConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match &self.place {
            Place::Server(server) => server.addr().to_string(),
            Place::Sentinel(sentinels) => {
                format!("the master {} of {} sentinels", sentinels.name, sentinels.sentinels.len())
            }
            Place::Cluster(_, seeds) => format!("a cluster, of which {} servers are named", seeds.len()),
        };
        f.debug_struct("RedisStoreConfig")
            .field("place", &place)
            .field("prefix", &self.prefix)
            .field("limit", &self.limit)
            .field("start", &self.start)
            .field("eviction", &self.eviction)
            .field("replicas", &self.replicas)
            .field("clock_tolerance", &self.clock_tolerance)
            .finish()
    }
}

/// Changes are pushed by the newer protocol only; every server that is supported speaks it.
pub(crate) fn speaking_resp3(server: ConnectionInfo) -> ConnectionInfo {
    let settings: RedisConnectionInfo = server.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    // A peer that is gone without a word is found out, whether or not anything is sent.
    let keepalive = socket2::TcpKeepalive::new().with_time(SILENCE).with_interval(SILENCE);
    let tcp = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
    #[cfg(target_os = "linux")]
    let tcp = tcp.set_user_timeout(2 * SILENCE);
    server.set_redis_settings(settings).set_tcp_settings(tcp)
}

pub(crate) fn misconfigured(message: impl Into<String>) -> StoreError {
    StoreError::new(StoreErrorKind::Misconfigured, "open").with_message(message)
}

/// Reads what the driver itself can read.
pub(crate) fn server(url: &str) -> Result<ConnectionInfo, StoreError> {
    let info = url.into_connection_info().map_err(|error| {
        // Its text names what is wrong, and not the URL.
        misconfigured("the URL is not that of a Redis server").with_source(error)
    })?;
    Ok(speaking_resp3(info))
}
