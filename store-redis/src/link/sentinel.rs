//! Whom the sentinels call the master.

use redis::{Client, ConnectionAddr, ConnectionInfo, ErrorKind, RedisError, RedisResult};
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
    /// How to reach the master: as the first sentinel that answers says. All are asked at once, so
    /// that one which hangs holds up nobody.
    pub(crate) async fn master(&self) -> RedisResult<Client> {
        let mut asked = JoinSet::new();
        for sentinel in &self.sentinels {
            let (sentinel, name) = (sentinel.clone(), self.name.clone());
            asked.spawn(async move {
                let mut connection = sentinel.get_multiplexed_async_connection().await?;
                redis::cmd("SENTINEL")
                    .arg("get-master-addr-by-name")
                    .arg(name)
                    .query_async::<Option<(String, u16)>>(&mut connection)
                    .await
            });
        }
        let mut failed = RedisError::from((ErrorKind::EmptySentinelList, "no sentinel is named"));
        while let Some(answer) = asked.join_next().await {
            match answer {
                Ok(Ok(Some((host, port)))) => {
                    return Client::open(self.master.clone().set_addr(at(self.master.addr(), &host, port)));
                }
                Ok(Ok(None)) => {
                    failed = RedisError::from((
                        ErrorKind::MasterNameNotFoundBySentinel,
                        "a sentinel knows no master of this name",
                        self.name.clone(),
                    ));
                }
                Ok(Err(error)) => failed = error,
                Err(_) => {}
            }
        }
        Err(failed)
    }
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
