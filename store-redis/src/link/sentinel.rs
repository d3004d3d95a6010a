//! Whom the sentinels call the master.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind, RedisError, RedisResult, Value};
use tokio::task::JoinSet;

/// The sentinels of one master.
#[derive(Clone, Debug)]
pub(crate) struct Sentinels {
    /// How to reach each sentinel.
    pub(crate) sentinels: Vec<Client>,
    /// The name by which they know the master.
    pub(crate) name: String,
    /// How to log in at the master; its address is what the sentinels say.
    pub(crate) master: ConnectionInfo,
}

impl Sentinels {
    /// Connects to the master. All sentinels are asked at once, and each server that one of them names
    /// is tried: so neither a sentinel that hangs nor one that names a master of the past holds up
    /// anybody.
    pub(crate) async fn connect(&self, config: &AsyncConnectionConfig) -> RedisResult<MultiplexedConnection> {
        let mut asked = JoinSet::new();
        let named = Arc::new(Mutex::new(HashSet::new()));
        for sentinel in &self.sentinels {
            let (sentinel, name, master) = (sentinel.clone(), self.name.clone(), self.master.clone());
            let (config, named) = (config.clone(), named.clone());
            asked.spawn(async move {
                let (host, port) = ask(&sentinel, name).await?;
                let is_new = named.lock().unwrap_or_else(PoisonError::into_inner).insert((host.clone(), port));
                if !is_new {
                    return Ok(None);
                }
                let address = at(master.addr(), &host, port);
                let client = Client::open(master.set_addr(address))?;
                let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
                let role: Vec<Value> = redis::cmd("ROLE").query_async(&mut connection).await?;
                if matches!(role.first(), Some(Value::BulkString(role)) if role == b"master") {
                    return Ok(Some(connection));
                }
                Err(RedisError::from((ErrorKind::Io, "the sentinels name a master that is none (yet)")))
            });
        }
        let mut failed = RedisError::from((ErrorKind::EmptySentinelList, "no sentinel is named"));
        while let Some(answer) = asked.join_next().await {
            match answer {
                Ok(Ok(Some(connection))) => return Ok(connection),
                Ok(Err(error)) => failed = error,
                // Another tries the same server.
                Ok(Ok(None)) | Err(_) => {}
            }
        }
        Err(failed)
    }
}

/// Whom a sentinel calls the master of this name.
async fn ask(sentinel: &Client, name: String) -> RedisResult<(String, u16)> {
    let mut connection = sentinel.get_multiplexed_async_connection().await.map_err(|error| told(sentinel, error))?;
    let mut asks = redis::cmd("SENTINEL");
    asks.arg("get-master-addr-by-name").arg(&name);
    let master: Option<(String, u16)> =
        asks.query_async(&mut connection).await.map_err(|error| told(sentinel, error))?;
    master.ok_or_else(|| {
        let why = "a sentinel knows no master of this name";
        RedisError::from((ErrorKind::MasterNameNotFoundBySentinel, why, name))
    })
}

/// What a sentinel refuses is not the master's refusal.
fn told(sentinel: &Client, error: RedisError) -> RedisError {
    let address = sentinel.get_connection_info().addr().to_string();
    let why = match (error.kind(), error.code()) {
        (ErrorKind::AuthenticationFailed, _) | (_, Some("NOAUTH" | "WRONGPASS")) => {
            "a sentinel wants another user or password, which are the options sentinel_user and sentinel_password"
        }
        (_, Some("ERR")) if error.detail().is_some_and(|detail| detail.contains("SENTINEL")) => {
            "this is a server and no sentinel"
        }
        _ => return error,
    };
    RedisError::from((ErrorKind::InvalidClientConfig, why, address))
}

/// Another host and port, reached as `like` is.
pub(super) fn at(like: &ConnectionAddr, host: &str, port: u16) -> ConnectionAddr {
    match like {
        ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
            ConnectionAddr::TcpTls { host: host.into(), port, insecure: *insecure, tls_params: tls_params.clone() }
        }
        _ => ConnectionAddr::Tcp(host.into(), port),
    }
}
