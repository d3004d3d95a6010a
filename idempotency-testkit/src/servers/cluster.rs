//! A Redis Cluster.

use std::sync::OnceLock;

use super::ServerError;
use super::foreign::Foreign;
use super::redis::{ANSWER, PORT, Redis, RedisServer};
use super::resp::{Reply, ask};

const VARIABLE: &str = "IDEMPOTENCY_TEST_REDIS_CLUSTER_URL";
const FORM: &str = "redis-cluster://[user:password@]host:port[,host:port…]";

const SLOTS: usize = 16384;
const MASTERS: usize = 3;
const NODES: usize = 2 * MASTERS;
/// How long a node may be silent until it is taken for gone.
const NODE_TIMEOUT_MS: &str = "1500";

/// Three Redis servers that share the slots, and a replica of each, which takes over when its master
/// does not answer for 1.5 s.
#[derive(Debug)]
pub struct RedisCluster {
    place: Place,
}

#[derive(Debug)]
enum Place {
    Own(Vec<RedisServer>),
    Foreign(Foreign),
}

impl RedisCluster {
    /// Starts all six, or reaches the cluster that `IDEMPOTENCY_TEST_REDIS_CLUSTER_URL` names. Returns
    /// when every node serves every slot and every replica is linked, usually within 5 s.
    ///
    /// # Errors
    ///
    /// As [`Redis::start`]; or the cluster did not form within a minute.
    pub fn start() -> Result<Self, ServerError> {
        match Foreign::named_by(VARIABLE, FORM, PORT)? {
            Some(foreign) => Self::reach(foreign),
            None => Self::own(),
        }
    }

    /// Always starts them, whatever the environment names: for tests that kill them.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn own() -> Result<Self, ServerError> {
        Self::own_as(Redis::new())
    }

    /// One cluster for the whole test process, started at first use and ended with the process. Give
    /// each test keys of its own, and leave it running.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start), the same for all who ask.
    pub fn shared() -> Result<&'static Self, &'static ServerError> {
        static SHARED: OnceLock<Result<RedisCluster, ServerError>> = OnceLock::new();
        SHARED.get_or_init(Self::start).as_ref()
    }

    /// Starts six servers that are all made as `each` says.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn own_as(each: Redis) -> Result<Self, ServerError> {
        let each = each
            .own()
            .with_arg("cluster-enabled", "yes")
            .with_arg("cluster-node-timeout", NODE_TIMEOUT_MS)
            .with_arg("repl-diskless-sync-delay", "0");
        let nodes = (0..NODES).map(|_| each.clone().start()).collect::<Result<Vec<_>, _>>()?;
        form(&nodes)?;
        Ok(Self { place: Place::Own(nodes) })
    }

    /// `redis-cluster://host:port,…` with all nodes, or what the environment says, with its password.
    #[must_use]
    pub fn url(&self) -> String {
        match &self.place {
            Place::Own(_) => format!("redis-cluster://{}", self.addresses().join(",")),
            Place::Foreign(foreign) => foreign.url(),
        }
    }

    /// Hosts and ports of the nodes, or of those that the environment names.
    #[must_use]
    pub fn addresses(&self) -> Vec<&str> {
        match &self.place {
            Place::Own(nodes) => nodes.iter().map(RedisServer::address).collect(),
            Place::Foreign(foreign) => foreign.hosts().iter().map(String::as_str).collect(),
        }
    }

    /// The six nodes; the first three were started as masters, and the replica of each comes three
    /// after it.
    ///
    /// # Errors
    ///
    /// They are foreign.
    pub fn nodes(&self) -> Result<&[RedisServer], ServerError> {
        match &self.place {
            Place::Own(nodes) => Ok(nodes),
            Place::Foreign(foreign) => Err(foreign.refuses("looked at")),
        }
    }

    /// The node that is the master of `key` now, as the first other node that answers knows it.
    ///
    /// # Errors
    ///
    /// They are foreign, or no node answers.
    pub fn master_of(&self, key: &str) -> Result<&RedisServer, ServerError> {
        let nodes = self.nodes()?;
        let mut last = None;
        for node in nodes {
            // A node that is silent is passed over soon.
            match node.ping(std::time::Duration::from_secs(1)).and_then(|()| master_of(node, key)) {
                Ok(address) => {
                    if let Some(found) = nodes.iter().find(|node| node.address() == address) {
                        return Ok(found);
                    }
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| ServerError::Refused {
            server: "the cluster".to_owned(),
            asked: format!("whose slot has {key}"),
            answer: "none of its nodes".to_owned(),
        }))
    }

    fn reach(foreign: Foreign) -> Result<Self, ServerError> {
        let mut last = None;
        for host in foreign.hosts() {
            // Refused or not: somebody is there.
            match ask(host, ANSWER, &["PING"]) {
                Ok(_) => return Ok(Self { place: Place::Foreign(foreign) }),
                Err(error) => last = Some(error),
            }
        }
        let error = last.unwrap_or_else(|| std::io::ErrorKind::NotFound.into());
        Err(ServerError::io(format!("no node that {VARIABLE} names answers"))(error))
    }
}

/// Makes a cluster of the nodes: as `redis-cli --cluster create` does, but without its fixed waits.
fn form(nodes: &[RedisServer]) -> Result<(), ServerError> {
    let (masters, replicas) = nodes.split_at(MASTERS);
    for (at, master) in masters.iter().enumerate() {
        let slots = (SLOTS * at / MASTERS..SLOTS * (at + 1) / MASTERS).map(|slot| slot.to_string());
        let words: Vec<String> = ["CLUSTER".to_owned(), "ADDSLOTS".to_owned()].into_iter().chain(slots).collect();
        master.command(&words.iter().map(String::as_str).collect::<Vec<_>>())?;
    }
    for (at, node) in nodes.iter().enumerate() {
        // Without numbers of their own they would settle who is right by colliding.
        node.command(&["CLUSTER", "SET-CONFIG-EPOCH", &(at + 1).to_string()])?;
    }
    for node in &nodes[1..] {
        let (host, port) = nodes[0].address().split_once(':').unwrap_or_default();
        node.command(&["CLUSTER", "MEET", host, port])?;
    }
    for node in nodes {
        node.wait_for(|| state(node, &format!("cluster_known_nodes:{NODES}")))?;
    }
    for (replica, master) in replicas.iter().zip(masters) {
        let id = master.command(&["CLUSTER", "MYID"])?;
        let id = id.text().unwrap_or_default();
        // It may be known only by its address as yet.
        replica
            .wait_for(|| replica.command(&["CLUSTER", "REPLICATE", id]).map(drop).map_err(|error| error.to_string()))?;
    }
    for node in nodes {
        node.wait_for(|| state(node, "cluster_state:ok"))?;
        node.wait_for(|| state(node, &format!("cluster_slots_ok:{SLOTS}")))?;
        // A master takes part in a failover's vote, so every node must know who is whose replica.
        node.wait_for(|| knows_replicas(node))?;
    }
    for replica in replicas {
        replica.wait_for(|| replica.says("replication", "master_link_status:up"))?;
    }
    Ok(())
}

/// Whether CLUSTER INFO has a line.
fn state(node: &RedisServer, line: &str) -> Result<(), String> {
    let info = node.command(&["CLUSTER", "INFO"]).map_err(|error| error.to_string())?;
    let info = info.text().unwrap_or_default();
    if info.lines().any(|said| said == line) { Ok(()) } else { Err(format!("not {line} but:\n{info}")) }
}

fn knows_replicas(node: &RedisServer) -> Result<(), String> {
    let nodes = node.command(&["CLUSTER", "NODES"]).map_err(|error| error.to_string())?;
    let nodes = nodes.text().unwrap_or_default();
    let replicas = nodes.lines().filter(|line| line.split(' ').nth(2).is_some_and(|flags| flags.contains("slave")));
    let count = replicas.count();
    if count == MASTERS { Ok(()) } else { Err(format!("{count} replicas are known:\n{nodes}")) }
}

/// Host and port of the master that has the slot of `key`.
fn master_of(node: &RedisServer, key: &str) -> Result<String, ServerError> {
    let Reply::Integer(slot) = node.command(&["CLUSTER", "KEYSLOT", key])? else { return Ok(String::new()) };
    let Reply::Array(ranges) = node.command(&["CLUSTER", "SLOTS"])? else { return Ok(String::new()) };
    let address = ranges.iter().find_map(|range| {
        // First slot, last slot, the master, its replicas.
        let Reply::Array(range) = range else { return None };
        let [Reply::Integer(first), Reply::Integer(last), Reply::Array(master), ..] = &range[..] else { return None };
        let [Reply::Text(host), Reply::Integer(port), ..] = &master[..] else { return None };
        (*first..=*last).contains(&slot).then(|| format!("{host}:{port}"))
    });
    Ok(address.unwrap_or_default())
}
