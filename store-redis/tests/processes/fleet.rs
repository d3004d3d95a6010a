//! Servers that fail over, and how to make them.

use idempotency_testkit::servers::{RedisCluster, RedisSentinel, RedisServer, Reply};

use crate::common::{key, until};

/// A Cluster of six, or a master and two replicas under three sentinels.
#[derive(Debug)]
pub(crate) enum Fleet {
    Cluster(RedisCluster),
    Sentinel(RedisSentinel),
}

impl Fleet {
    pub(crate) fn cluster() -> Self {
        Self::Cluster(RedisCluster::own().unwrap())
    }

    pub(crate) fn sentinel() -> Self {
        Self::Sentinel(RedisSentinel::own().unwrap())
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Cluster(_) => "cluster",
            Self::Sentinel(_) => "sentinel",
        }
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::Cluster(cluster) => cluster.url(),
            Self::Sentinel(sentinel) => sentinel.url(),
        }
    }

    fn servers(&self) -> &[RedisServer] {
        match self {
            Self::Cluster(cluster) => cluster.nodes().unwrap(),
            Self::Sentinel(sentinel) => sentinel.servers().unwrap(),
        }
    }

    /// The master of a record, as others than itself know it.
    pub(crate) fn master_of(&self, name: &str) -> Option<&RedisServer> {
        match self {
            Self::Cluster(cluster) => cluster.master_of(name).ok(),
            Self::Sentinel(sentinel) => sentinel.master().ok(),
        }
    }

    /// The numbers of keys whose records a server has now, from `from` on.
    pub(crate) fn keys_on(&self, server: &RedisServer, prefix: &str, from: u64) -> impl Iterator<Item = u64> {
        (from..).filter(move |number| {
            self.master_of(&record(prefix, *number)).is_some_and(|master| master.address() == server.address())
        })
    }

    /// Waits until another has taken over from the master of a record that was `old`, and everybody
    /// knows: a server that comes back empty must be nobody's master any more.
    pub(crate) async fn taken_over(&self, name: &str, old: &RedisServer) -> &RedisServer {
        until("another master", async || {
            let master = self.master_of(name).filter(|master| master.address() != old.address())?;
            (says(master, "role:master") && self.is_known_to_all(old, master)).then_some(master)
        })
        .await
    }

    fn is_known_to_all(&self, old: &RedisServer, master: &RedisServer) -> bool {
        let Self::Sentinel(sentinel) = self else { return true };
        let asked = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", sentinel.master_name()];
        let port = master.address().rsplit(':').next();
        let knows = |each: &RedisServer| matches!(each.command(&asked), Ok(Reply::Array(told)) if told.get(1).and_then(Reply::text) == port);
        let is_neither = |server: &&RedisServer| ![old.address(), master.address()].contains(&server.address());
        let follows = |server: &RedisServer| says(server, &format!("master_port:{}", port.unwrap_or_default()));
        sentinel.sentinels().unwrap().iter().all(knows) && self.servers().iter().filter(is_neither).all(follows)
    }

    /// Waits until another is a master in the place of `old`: by its own word, if that is to be
    /// enough.
    pub(crate) async fn promoted(&self, name: &str, old: &RedisServer, by_its_own_word: bool) {
        if let (Self::Sentinel(_), true) = (self, by_its_own_word) {
            let others = || self.servers().iter().filter(|server| server.address() != old.address());
            until("a master", async || others().find(|server| says(server, "role:master"))).await;
        } else {
            self.taken_over(name, old).await;
        }
    }

    /// How many replicas each master has.
    pub(crate) const fn replicas(&self) -> u32 {
        match self {
            Self::Cluster(_) => 1,
            Self::Sentinel(_) => 2,
        }
    }

    /// Waits until `server` follows `master`, and every replica of `master` has what it has.
    pub(crate) async fn follows(&self, server: &RedisServer, master: &RedisServer) {
        if let Self::Sentinel(_) = self {
            // The sentinels would say so too, after some ten seconds.
            let (host, port) = master.address().split_once(':').unwrap();
            until("an obedient replica", async || server.command(&["REPLICAOF", host, port]).ok()).await;
        }
        let port = master.address().rsplit(':').next().unwrap();
        until("a linked replica", async || {
            let follows = says(server, "role:slave") && says(server, &format!("master_port:{port}"));
            (follows && says(server, "master_link_status:up")).then_some(())
        })
        .await;
        until("servers that could fail over again", async || self.is_whole().then_some(())).await;
    }

    /// Whether every server is there and linked, and whoever would promote one knows that.
    fn is_whole(&self) -> bool {
        let is_linked = |server| says(server, "role:master") || says(server, "master_link_status:up");
        let are_linked = self.servers().iter().all(is_linked);
        are_linked
            && match self {
                Self::Cluster(cluster) => cluster.nodes().unwrap().iter().all(|node| {
                    let nodes = node.command(&["CLUSTER", "NODES"]);
                    let nodes = nodes.ok().and_then(|nodes| nodes.text().map(str::to_owned)).unwrap_or_default();
                    let count = |flag: &str| nodes.lines().filter(|line| line.contains(flag)).count();
                    count("fail") == 0 && count("slave") == 3 && count("master") == 3 && nodes.lines().count() == 6
                }),
                Self::Sentinel(sentinel) => sentinel.sentinels().unwrap().iter().all(|each| {
                    let Ok(Reply::Array(replicas)) = each.command(&["SENTINEL", "REPLICAS", sentinel.master_name()])
                    else {
                        return false;
                    };
                    let is_known =
                        |replica: &&Reply| has(replica, "flags", "slave") && has(replica, "master-link-status", "ok");
                    replicas.iter().filter(is_known).count() == 2
                }),
            }
    }
}

/// The name of a key's record.
pub(crate) fn record(prefix: &str, number: u64) -> String {
    format!("{prefix}{}", key(number).as_str())
}

/// Whether a list of names and values has a value.
fn has(list: &Reply, name: &str, value: &str) -> bool {
    let Reply::Array(list) = list else { return false };
    list.chunks(2).any(|pair| matches!(pair, [Reply::Text(is), Reply::Text(has)] if is == name && has == value))
}

/// Whether a server has a line in what it says of its replication.
fn says(server: &RedisServer, line: &str) -> bool {
    let info = server.command(&["INFO", "replication"]);
    info.is_ok_and(|info| info.text().is_some_and(|info| info.lines().any(|said| said == line)))
}
