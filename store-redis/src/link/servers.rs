//! Which server has which key.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use redis::{ConnectionInfo, ServerError, Value};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Options;
use super::batch::{Ended, Job};
use super::channel::Way;
use super::failure::Failure;
use super::node::Node;
use super::sentinel::{Sentinels, at};
use super::slots::{Range, ranges, slot};

/// How often a call is sent on from one server of a cluster to another.
const REDIRECTIONS: u32 = 8;
/// How long to wait before a cluster is asked again that is busy with itself.
const PAUSE: Duration = Duration::from_millis(50);

/// Where the records are.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// On one server.
    Server(ConnectionInfo),
    /// On the master that sentinels name.
    Sentinel(Sentinels),
    /// On the servers of a cluster: how to reach them, and where some of them are.
    Cluster(ConnectionInfo, Vec<(String, u16)>),
}

/// The servers.
#[derive(Debug)]
pub(crate) struct Servers {
    options: Options,
    layout: Layout,
}

#[derive(Debug)]
enum Layout {
    One(Arc<Node>),
    Many(Box<Cluster>),
}

#[derive(Debug)]
struct Cluster {
    /// How all of them are reached, but for the address.
    like: ConnectionInfo,
    /// The servers named at the start.
    seeds: Vec<Address>,
    map: RwLock<Map>,
    is_stale: AtomicBool,
    looking: tokio::sync::Mutex<()>,
}

type Address = (String, u16);

#[derive(Debug, Default)]
struct Map {
    /// First slot, last slot, and who has them.
    ranges: Vec<(u16, u16, Address)>,
    nodes: HashMap<Address, Arc<Node>>,
}

impl Servers {
    pub(crate) fn new(place: Place, options: Options) -> Self {
        let layout = match place {
            Place::Server(server) => Layout::One(Node::new(server.addr().to_string(), Way::Direct(server), options)),
            Place::Sentinel(sentinels) => {
                let name = format!("the master {}", sentinels.name);
                Layout::One(Node::new(name, Way::Master(sentinels), options))
            }
            Place::Cluster(like, seeds) => Layout::Many(Box::new(Cluster {
                like,
                seeds,
                map: RwLock::default(),
                is_stale: AtomicBool::new(true),
                looking: tokio::sync::Mutex::new(()),
            })),
        };
        Self { options, layout }
    }

    /// The server that has a key, as far as is known.
    pub(crate) async fn node(&self, key: &[u8]) -> Result<Arc<Node>, Failure> {
        self.node_by(key, Instant::now() + self.options.limit).await
    }

    async fn node_by(&self, key: &[u8], deadline: Instant) -> Result<Arc<Node>, Failure> {
        match &self.layout {
            Layout::One(node) => Ok(node.clone()),
            Layout::Many(cluster) => {
                if cluster.is_stale.load(Ordering::Acquire) {
                    // Whoever comes while others look waits for them, and no longer than for a call.
                    let looked = tokio::time::timeout_at(deadline, cluster.look_anew(self.options));
                    Box::pin(looked).await.unwrap_or_else(|_| {
                        Err(Failure::Unreached {
                            place: "the cluster".into(),
                            source: None,
                            why: "none of its servers says within the time limit who has which slots",
                        })
                    })?;
                }
                let slot = slot(key);
                cluster.master_of(slot).ok_or_else(|| Failure::Unreached {
                    place: "the cluster".into(),
                    source: None,
                    why: "none of its servers has the key's slot",
                })
            }
        }
    }

    /// All servers that have keys.
    pub(crate) async fn all(&self) -> Result<Vec<Arc<Node>>, Failure> {
        match &self.layout {
            Layout::One(node) => Ok(vec![node.clone()]),
            Layout::Many(cluster) => {
                let _one_at_a_time = cluster.looking.lock().await;
                cluster.look(self.options).await?;
                let map = cluster.map.read().unwrap_or_else(PoisonError::into_inner);
                let mut addresses: Vec<&Address> = map.ranges.iter().map(|(.., address)| address).collect();
                addresses.sort();
                addresses.dedup();
                Ok(addresses.into_iter().filter_map(|address| map.nodes.get(address).cloned()).collect())
            }
        }
    }

    /// Makes a call at the server that has the key, and at another where that one says so.
    pub(crate) async fn call(&self, key: &[u8], job: Job) -> Result<(Ended, Arc<Node>), Failure> {
        match &self.layout {
            Layout::One(node) => Ok((node.call(job).await?, node.clone())),
            // Boxed, as one server's calls need not carry it about.
            Layout::Many(cluster) => Box::pin(self.call_in(cluster, key, job)).await,
        }
    }

    async fn call_in(&self, cluster: &Cluster, key: &[u8], job: Job) -> Result<(Ended, Arc<Node>), Failure> {
        let deadline = Instant::now() + self.options.limit;
        let mut job = job;
        let mut told = None;
        let mut tries = 0;
        loop {
            let node = match told.take() {
                Some(node) => node,
                None => self.node_by(key, deadline).await?,
            };
            let Ok(ended) = tokio::time::timeout_at(deadline, node.call(job)).await else {
                cluster.is_stale.store(true, Ordering::Release);
                return Err(Failure::late(node.place()));
            };
            let mut ended = ended?;
            tries += 1;
            let goes_on = tries < REDIRECTIONS && Instant::now() < deadline;
            match &ended.result {
                Err(Failure::Refused { error, .. }) if goes_on && error.code() == "MOVED" => {
                    cluster.is_stale.store(true, Ordering::Release);
                    told = redirection(error).map(|address| cluster.node_at(address, &node, self.options));
                }
                Err(Failure::Refused { error, .. }) if error.code() == "ASK" => {
                    if let (Some(address), Some(job)) = (redirection(error), &ended.job) {
                        let other = cluster.node_at(address, &node, self.options);
                        let asked = tokio::time::timeout_at(deadline, other.ask(job)).await;
                        let asked = asked.unwrap_or_else(|_| Err(Failure::late(other.place())));
                        return Ok((asked?, other));
                    }
                    return Ok((ended, node));
                }
                Err(Failure::Refused { error, .. })
                    if goes_on && matches!(error.code(), "CLUSTERDOWN" | "TRYAGAIN" | "MASTERDOWN") =>
                {
                    cluster.is_stale.store(true, Ordering::Release);
                    tokio::time::sleep(PAUSE).await;
                }
                Err(Failure::Unreached { .. } | Failure::NoAnswer { .. }) => {
                    cluster.is_stale.store(true, Ordering::Release);
                    return Ok((ended, node));
                }
                _ => return Ok((ended, node)),
            }
            match ended.job.take() {
                Some(again) => job = *again,
                None => return Ok((ended, node)),
            }
        }
    }
}

/// Whom a server of a cluster names instead of itself: `MOVED 3999 127.0.0.1:6381`.
fn redirection(error: &ServerError) -> Option<Address> {
    let (host, port) = error.details()?.split(' ').nth(1)?.rsplit_once(':')?;
    Some((host.into(), port.parse().ok()?))
}

impl Cluster {
    fn master_of(&self, slot: u16) -> Option<Arc<Node>> {
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        let (.., address) = map.ranges.iter().find(|(first, last, _)| (*first..=*last).contains(&slot))?;
        map.nodes.get(address).cloned()
    }

    /// The server at an address, reached as the others are. A host that was left out is `asked`'s own.
    fn node_at(&self, address: Address, asked: &Node, options: Options) -> Arc<Node> {
        let address = if address.0.is_empty() { (host_of(asked.place()).into(), address.1) } else { address };
        self.known(address, options)
    }

    fn known(&self, address: Address, options: Options) -> Arc<Node> {
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(node) = map.nodes.get(&address) {
            return node.clone();
        }
        let way = Way::Direct(self.like.clone().set_addr(at(self.like.addr(), &address.0, address.1)));
        let node = Node::new(format!("{}:{}", address.0, address.1), way, options);
        map.nodes.insert(address, node.clone());
        node
    }

    /// Finds out who has which slots, unless somebody did so while this waited.
    async fn look_anew(&self, options: Options) -> Result<(), Failure> {
        let _one_at_a_time = self.looking.lock().await;
        if self.is_stale.load(Ordering::Acquire) { self.look(options).await } else { Ok(()) }
    }

    /// Asks all servers who has which slots, and takes the first answer.
    async fn look(&self, options: Options) -> Result<(), Failure> {
        let known: Vec<Address> = {
            let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
            let mut known: Vec<Address> = map.nodes.keys().cloned().chain(self.seeds.iter().cloned()).collect();
            known.sort();
            known.dedup();
            known
        };
        let mut asked = JoinSet::new();
        for address in known {
            let node = self.known(address, options);
            asked.spawn(async move {
                let mut command = redis::cmd("CLUSTER");
                command.arg("SLOTS");
                let answer = node.call(Job::Command(command)).await.and_then(|ended| ended.result);
                (node, answer)
            });
        }
        let mut failed =
            Failure::Unreached { place: "the cluster".into(), source: None, why: "no server of it is named" };
        while let Some(answer) = asked.join_next().await {
            let Ok((node, answer)) = answer else { continue };
            match answer {
                Ok(answer) => match self.take_in(&node, answer, options) {
                    Ok(()) => return Ok(()),
                    Err(failure) => failed = failure,
                },
                Err(failure) => failed = failure,
            }
        }
        Err(failed)
    }

    fn take_in(&self, asked: &Node, answer: Value, options: Options) -> Result<(), Failure> {
        let told = ranges(answer).map_err(|error| Failure::no_answer(asked.place(), error))?;
        if told.is_empty() {
            return Err(Failure::Unreached { place: asked.place().into(), source: None, why: "it serves no slots" });
        }
        let mut new = Vec::with_capacity(told.len());
        for Range { first, last, host, port } in told {
            let address = (host.unwrap_or_else(|| host_of(asked.place()).into()), port);
            self.known(address.clone(), options);
            new.push((first, last, address));
        }
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        map.nodes.retain(|address, _| new.iter().any(|(.., serves)| serves == address) || self.seeds.contains(address));
        map.ranges = new;
        self.is_stale.store(false, Ordering::Release);
        Ok(())
    }
}

fn host_of(place: &str) -> &str {
    place.rsplit_once(':').map_or(place, |(host, _)| host)
}
