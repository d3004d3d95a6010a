//! A Redis server with replicas.

use super::ServerError;
use super::redis::{Redis, RedisServer};

/// A Redis server and its replicas, each of which has what the first has.
///
/// Always servers of our own. They replicate asynchronously: an acknowledged write may be missing on
/// a replica that is promoted.
#[derive(Debug)]
pub struct RedisReplicas {
    servers: Vec<RedisServer>,
}

impl RedisReplicas {
    /// Starts a server and `replicas` more, and waits until all are linked to it.
    ///
    /// # Errors
    ///
    /// As [`Redis::start`]; or a replica was not linked within a minute.
    pub fn start(replicas: usize) -> Result<Self, ServerError> {
        Self::start_as(replicas, Redis::new())
    }

    /// Starts servers that are all made as `each` says.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_as(replicas: usize, each: Redis) -> Result<Self, ServerError> {
        // A replica asks for its first copy at once, and need not wait for others to join.
        let each = each.own().with_arg("repl-diskless-sync-delay", "0");
        let mut servers = vec![each.clone().start()?];
        let address = servers[0].address().replace(':', " ");
        for _ in 0..replicas {
            servers.push(each.clone().with_arg("replicaof", &*address).start()?);
        }
        for replica in &servers[1..] {
            replica.wait_for(|| replica.says("replication", "master_link_status:up"))?;
        }
        Ok(Self { servers })
    }

    /// The server that was started as the master. After a failover it may be one no longer.
    #[must_use]
    pub fn master(&self) -> &RedisServer {
        &self.servers[0]
    }

    /// The servers that were started as its replicas.
    #[must_use]
    pub fn replicas(&self) -> &[RedisServer] {
        &self.servers[1..]
    }

    /// All of them, the master first.
    #[must_use]
    pub fn servers(&self) -> &[RedisServer] {
        &self.servers
    }
}
