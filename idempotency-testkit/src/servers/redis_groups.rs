//! Redis servers that belong together: replicas, Sentinel, Cluster.

use std::net::SocketAddr;
use std::thread;
use std::time::Instant;

use super::error::ServerError;
use super::process::{LOOK_EVERY, Process, READY_WITHIN};
use super::redis::{Redis, StartingRedis, start};
use super::resp::{self, Reply};
use super::wire::Url;

/// A Redis server and those that copy it.
#[derive(Debug)]
pub struct RedisReplicas {
    primary: Redis,
    replicas: Vec<Redis>,
}

impl RedisReplicas {
    /// Starts a server and `count` replicas of it, and waits until each of them is up to date.
    ///
    /// # Errors
    /// [`ServerError`]
    pub fn start(count: usize) -> Result<Self, ServerError> {
        Self::start_with(count, Redis::new())
    }

    /// As [`RedisReplicas::start`], with settings for all of them.
    ///
    /// # Errors
    /// [`ServerError`]
    pub fn start_with(count: usize, settings: StartingRedis) -> Result<Self, ServerError> {
        let primary = settings.clone().start_own()?;
        let of = primary.address();
        let replica = |_| {
            let replicaof = format!("{} {}", of.ip(), of.port());
            settings.clone().with("repl-diskless-sync-delay", "0").with("replicaof", replicaof).start_own()
        };
        let replicas = (0..count).map(replica).collect::<Result<Vec<_>, _>>()?;
        let group = Self { primary, replicas };
        for replica in &group.replicas {
            replica.own()?.wait_until(&|| {
                let told = replica.ask(&["INFO", "replication"])?;
                let up = told.text().contains("master_link_status:up");
                if up { Ok(()) } else { Err("its link to the primary is not up".into()) }
            })?;
        }
        Ok(group)
    }

    /// The server that takes writes.
    #[must_use]
    pub const fn primary(&self) -> &Redis {
        &self.primary
    }

    /// Those that copy it.
    #[must_use]
    pub fn replicas(&self) -> &[Redis] {
        &self.replicas
    }
}

const SENTINEL: &str = "IDEMPOTENCY_TEST_REDIS_SENTINEL_URL";
const CLUSTER: &str = "IDEMPOTENCY_TEST_REDIS_CLUSTER_URL";

/// A Redis server, two replicas, and three Sentinels that promote one when it is gone for a second.
#[derive(Debug)]
pub struct RedisSentinel {
    url: Url,
    sentinels: Vec<Process>,
    servers: Option<RedisReplicas>,
}

impl RedisSentinel {
    /// The name under which the Sentinels know the server.
    pub const NAME: &'static str = "tests";

    /// Starts them, and waits until the Sentinels know the replicas and each other; or gives those that
    /// `IDEMPOTENCY_TEST_REDIS_SENTINEL_URL` names.
    ///
    /// # Errors
    /// [`ServerError`]
    pub fn start() -> Result<Self, ServerError> {
        if let Some(url) = Url::from_environment(SENTINEL)? {
            return Ok(Self { url, sentinels: Vec::new(), servers: None });
        }
        let servers = RedisReplicas::start(2)?;
        let of = servers.primary().address();
        let mut sentinels = Vec::new();
        for _ in 0..3 {
            let settings = [
                ("sentinel monitor", format!("{} {} {} 2", Self::NAME, of.ip(), of.port())),
                ("sentinel down-after-milliseconds", format!("{} 1000", Self::NAME)),
                ("sentinel failover-timeout", format!("{} 5000", Self::NAME)),
                ("sentinel parallel-syncs", format!("{} 1", Self::NAME)),
            ];
            let settings = settings.map(|(name, value)| (name.to_owned(), value)).to_vec();
            sentinels.push(start("redis-sentinel", settings, &["--sentinel"])?);
        }
        for sentinel in &sentinels {
            sentinel.wait_until(&|| {
                let told = resp::ask(sentinel.address(), &["SENTINEL", "MASTER", Self::NAME]);
                let told = told.map_err(|error| format!("it is not answered: {error}"))?;
                let (replicas, others) = (field(&told, "num-slaves"), field(&told, "num-other-sentinels"));
                if (replicas, others) == ("2", "2") {
                    return Ok(());
                }
                Err(format!("it knows {replicas} of 2 replicas and {others} of 2 other Sentinels"))
            })?;
        }
        let addresses: Vec<String> = sentinels.iter().map(|sentinel| sentinel.address().to_string()).collect();
        let url = Url::own(format!("redis-sentinel://{}/{}", addresses.join(","), Self::NAME), sentinels[0].address());
        Ok(Self { url, sentinels, servers: Some(servers) })
    }

    /// The URL of all Sentinels, with the [name](Self::NAME) as its path:
    /// `redis-sentinel://127.0.0.1:PORT,…/tests`.
    #[must_use]
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// Where the server is that the Sentinels now take for the primary one.
    ///
    /// # Errors
    /// [`ServerError::Answer`]
    pub fn primary(&self) -> Result<SocketAddr, ServerError> {
        let what = || "SENTINEL GET-MASTER-ADDR-BY-NAME".to_owned();
        let told = resp::ask(self.url.address(), &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", Self::NAME])
            .map_err(|source| ServerError::Io { what: what(), source })?;
        let parts: Vec<&str> = told.list().iter().map(Reply::text).collect();
        let address = parts.join(":").parse();
        address.map_err(|_| ServerError::Answer { what: what(), answer: format!("{told:?}") })
    }

    /// The servers that they watch.
    ///
    /// # Errors
    /// [`ServerError::Foreign`]
    pub fn servers(&self) -> Result<&RedisReplicas, ServerError> {
        self.servers.as_ref().ok_or(ServerError::Foreign { variable: SENTINEL })
    }

    /// How many Sentinels there are; none where they are somebody else's.
    #[must_use]
    pub fn sentinels(&self) -> usize {
        self.sentinels.len()
    }
}

/// A field of an answer that is a list of names and values.
fn field<'a>(told: &'a Reply, name: &str) -> &'a str {
    let list = told.list();
    list.chunks(2).find(|pair| pair[0].text() == name).and_then(|pair| pair.get(1)).map_or("", Reply::text)
}

/// A Redis Cluster of three servers and a replica of each.
#[derive(Debug)]
pub struct RedisCluster {
    url: Url,
    nodes: Vec<Redis>,
}

impl RedisCluster {
    const PRIMARIES: usize = 3;
    const SLOTS: usize = 16_384;

    /// Starts six servers, joins them, and waits until every slot is served and every replica is up to
    /// date; or gives the cluster that `IDEMPOTENCY_TEST_REDIS_CLUSTER_URL` names.
    ///
    /// # Errors
    /// [`ServerError`]
    pub fn start() -> Result<Self, ServerError> {
        if let Some(url) = Url::from_environment(CLUSTER)? {
            return Ok(Self { url, nodes: Vec::new() });
        }
        let settings = Redis::new()
            .with("cluster-enabled", "yes")
            .with("cluster-node-timeout", "2000")
            .with("repl-diskless-sync-delay", "0");
        let nodes = (0..2 * Self::PRIMARIES).map(|_| settings.clone().start_own());
        let nodes = nodes.collect::<Result<Vec<_>, _>>()?;
        let addresses: Vec<String> = nodes.iter().map(|node| node.address().to_string()).collect();
        let url = Url::own(format!("redis-cluster://{}", addresses.join(",")), nodes[0].address());
        let cluster = Self { url, nodes };
        cluster.join()?;
        Ok(cluster)
    }

    fn join(&self) -> Result<(), ServerError> {
        let (primaries, replicas) = self.nodes.split_at(Self::PRIMARIES);
        for (number, node) in primaries.iter().enumerate() {
            let share = |number: usize| Self::SLOTS * number / Self::PRIMARIES;
            let (first, last) = (share(number).to_string(), (share(number + 1) - 1).to_string());
            said_ok(node, &["CLUSTER", "ADDSLOTSRANGE", &first, &last])?;
            said_ok(node, &["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()])?;
        }
        let first = self.nodes[0].address();
        for node in &self.nodes[1..] {
            said_ok(node, &["CLUSTER", "MEET", &first.ip().to_string(), &first.port().to_string()])?;
        }
        self.until(|node| {
            let known = node.ask(&["CLUSTER", "NODES"])?.text().lines().count();
            if known == self.nodes.len() {
                Ok(())
            } else {
                Err(format!("it knows {known} of {} nodes", self.nodes.len()))
            }
        })?;
        for (primary, replica) in primaries.iter().zip(replicas) {
            let id = primary.ask(&["CLUSTER", "MYID"]).map_err(|answer| answered(primary, "CLUSTER MYID", answer))?;
            // It may not have heard yet that the other is a primary.
            replica.own()?.wait_until(&|| match replica.ask(&["CLUSTER", "REPLICATE", id.text()])? {
                Reply::Text(ok) if ok == "OK" => Ok(()),
                other => Err(format!("CLUSTER REPLICATE is answered {other:?}")),
            })?;
        }
        self.wait_until_whole()
    }

    /// Waits until every server that runs knows every slot as served, and every replica is up to date.
    ///
    /// # Errors
    /// [`ServerError::NotReady`]
    pub fn wait_until_whole(&self) -> Result<(), ServerError> {
        self.until(|node| {
            let info = node.ask(&["CLUSTER", "INFO"])?;
            if !(info.text().contains("cluster_state:ok") && info.text().contains("cluster_slots_ok:16384")) {
                return Err("not every slot is served".into());
            }
            let role = node.ask(&["INFO", "replication"])?;
            if role.text().contains("role:slave") && !role.text().contains("master_link_status:up") {
                return Err("a replica is not up to date".into());
            }
            Ok(())
        })
    }

    fn until(&self, condition: impl Fn(&Redis) -> Result<(), String>) -> Result<(), ServerError> {
        for node in self.nodes.iter().filter(|node| node.process_id().is_some()) {
            node.own()?.wait_until(&|| condition(node))?;
        }
        Ok(())
    }

    /// The URL of all servers: `redis-cluster://127.0.0.1:PORT,…`.
    #[must_use]
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// The servers: three that began as primaries, then their replicas; none where the cluster is
    /// somebody else's.
    #[must_use]
    pub fn nodes(&self) -> &[Redis] {
        &self.nodes
    }

    /// Waits until another server than `gone` serves the slots that it served.
    ///
    /// # Errors
    /// [`ServerError::NotReady`]
    pub fn wait_until_replaced(&self, gone: &Redis) -> Result<(), ServerError> {
        let (begun, gone) = (Instant::now(), gone.address());
        let asked = self.nodes.iter().find(|node| node.address() != gone && node.process_id().is_some());
        let Some(asked) = asked else { return Err(ServerError::Foreign { variable: CLUSTER }) };
        let port = format!(":{}@", gone.port());
        loop {
            let nodes = asked.ask(&["CLUSTER", "NODES"]).unwrap_or(Reply::Nothing);
            let lines = || nodes.text().lines();
            let serves = |line: &&str| line.split(' ').count() > 8 && !line.contains("fail");
            let others = lines().filter(serves).filter(|line| !line.contains(&port)).count();
            if others == Self::PRIMARIES {
                return self.wait_until_whole();
            }
            if begun.elapsed() > READY_WITHIN {
                let why = format!("{others} of {} other servers serve slots", Self::PRIMARIES);
                let (what, log) = (format!("the cluster without {gone}"), asked.log_tail());
                return Err(ServerError::NotReady { what, waited: READY_WITHIN, why, log });
            }
            thread::sleep(LOOK_EVERY);
        }
    }
}

fn said_ok(node: &Redis, words: &[&str]) -> Result<(), ServerError> {
    match node.ask(words) {
        Ok(Reply::Text(ok)) if ok == "OK" => Ok(()),
        Ok(other) => Err(answered(node, &words.join(" "), format!("{other:?}"))),
        Err(error) => Err(answered(node, &words.join(" "), error)),
    }
}

fn answered(node: &Redis, what: &str, answer: String) -> ServerError {
    ServerError::Answer { what: format!("{node}, asked {what},"), answer }
}
