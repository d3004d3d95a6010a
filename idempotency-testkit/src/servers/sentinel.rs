//! Redis with Sentinel.

use std::sync::OnceLock;

use super::ServerError;
use super::foreign::Foreign;
use super::redis::{Redis, RedisServer};
use super::replicas::RedisReplicas;
use super::resp::{Reply, ask};

const VARIABLE: &str = "IDEMPOTENCY_TEST_REDIS_SENTINEL_URL";
const FORM: &str = "redis-sentinel://[user:password@]host:port[,host:port…]/master";
const PORT: u16 = 26379;

/// The name of the master in servers of our own.
const MASTER: &str = "mymaster";
const REPLICAS: usize = 2;
const SENTINELS: usize = 3;
/// How many of them must agree that the master is gone.
const QUORUM: usize = 2;
/// How long the master may be silent until it is taken for gone.
const DOWN_AFTER_MS: u32 = 1000;

/// A Redis server, two replicas, and three sentinels that promote one when the master does not
/// answer for a second.
#[derive(Debug)]
pub struct RedisSentinel {
    place: Place,
}

#[derive(Debug)]
enum Place {
    Own { sentinels: Vec<RedisServer>, servers: RedisReplicas },
    Foreign(Foreign),
}

impl RedisSentinel {
    /// Starts all six, or reaches the sentinels that `IDEMPOTENCY_TEST_REDIS_SENTINEL_URL` names.
    /// Returns when every sentinel knows the master, both replicas and the other sentinels, usually
    /// within 5 s.
    ///
    /// # Errors
    ///
    /// As [`Redis::start`](super::Redis::start); or they did not come to know each other within a
    /// minute.
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
        let servers = RedisReplicas::start(REPLICAS)?;
        let address = servers.master().address().replace(':', " ");
        let config = format!(
            "sentinel monitor {MASTER} {address} {QUORUM}\n\
             sentinel down-after-milliseconds {MASTER} {DOWN_AFTER_MS}\n\
             sentinel failover-timeout {MASTER} 10000\n"
        );
        let start = |_| Redis::new().own().with_sentinel_config(config.clone()).start();
        let sentinels = (0..SENTINELS).map(start).collect::<Result<Vec<_>, _>>()?;
        for sentinel in &sentinels {
            sentinel.wait_for(|| knows_all(sentinel))?;
        }
        Ok(Self { place: Place::Own { sentinels, servers } })
    }

    /// One for the whole test process, started at first use and ended with the process. Give each test
    /// keys of its own, and leave it running.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start), the same for all who ask.
    pub fn shared() -> Result<&'static Self, &'static ServerError> {
        static SHARED: OnceLock<Result<RedisSentinel, ServerError>> = OnceLock::new();
        SHARED.get_or_init(Self::start).as_ref()
    }

    /// `redis-sentinel://host:port,host:port,host:port/master`, or what the environment says, with
    /// its password.
    #[must_use]
    pub fn url(&self) -> String {
        match &self.place {
            Place::Own { .. } => format!("redis-sentinel://{}/{MASTER}", self.addresses().join(",")),
            Place::Foreign(foreign) => foreign.url(),
        }
    }

    /// Hosts and ports of the sentinels.
    #[must_use]
    pub fn addresses(&self) -> Vec<&str> {
        match &self.place {
            Place::Own { sentinels, .. } => sentinels.iter().map(RedisServer::address).collect(),
            Place::Foreign(foreign) => foreign.hosts().iter().map(String::as_str).collect(),
        }
    }

    /// The name that the sentinels know the master by.
    #[must_use]
    pub fn master_name(&self) -> &str {
        match &self.place {
            Place::Own { .. } => MASTER,
            Place::Foreign(foreign) => foreign.path(),
        }
    }

    /// Host and port of the master, as the first sentinel that answers knows it now.
    ///
    /// # Errors
    ///
    /// No sentinel answers, or the first one to do so knows no such master.
    pub fn master_address(&self) -> Result<String, ServerError> {
        let asked = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.master_name()];
        let mut last = None;
        for address in self.addresses() {
            match ask(address, super::redis::ANSWER, &asked) {
                Ok(Reply::Array(parts)) if parts.len() == 2 => {
                    let parts: Vec<&str> = parts.iter().filter_map(Reply::text).collect();
                    return Ok(parts.join(":"));
                }
                Ok(other) => {
                    return Err(ServerError::Refused {
                        server: format!("the sentinel at {address}"),
                        asked: asked.join(" "),
                        answer: format!("{other:?}"),
                    });
                }
                Err(error) => last = Some((address, error)),
            }
        }
        let (address, error) = last.unwrap_or(("no address", std::io::ErrorKind::NotFound.into()));
        Err(ServerError::io(format!("no sentinel answers, the last one at {address}"))(error))
    }

    /// The server that is the master now.
    ///
    /// # Errors
    ///
    /// It is foreign, or no sentinel knows the master.
    pub fn master(&self) -> Result<&RedisServer, ServerError> {
        let address = self.master_address()?;
        let found = self.servers()?.iter().find(|server| server.address() == address);
        found.ok_or_else(|| ServerError::Refused {
            server: "a sentinel".to_owned(),
            asked: "who is the master".to_owned(),
            answer: format!("{address}, which is none of ours"),
        })
    }

    /// The three servers that hold data, the first master first.
    ///
    /// # Errors
    ///
    /// They are foreign.
    pub fn servers(&self) -> Result<&[RedisServer], ServerError> {
        match &self.place {
            Place::Own { servers, .. } => Ok(servers.servers()),
            Place::Foreign(foreign) => Err(foreign.refuses("looked at")),
        }
    }

    /// The three sentinels, to be paused and killed as other servers are.
    ///
    /// # Errors
    ///
    /// They are foreign.
    pub fn sentinels(&self) -> Result<&[RedisServer], ServerError> {
        match &self.place {
            Place::Own { sentinels, .. } => Ok(sentinels),
            Place::Foreign(foreign) => Err(foreign.refuses("looked at")),
        }
    }

    fn reach(foreign: Foreign) -> Result<Self, ServerError> {
        if foreign.path().is_empty() {
            return Err(ServerError::BadUrl { variable: VARIABLE, form: FORM });
        }
        let sentinel = Self { place: Place::Foreign(foreign) };
        sentinel.master_address().map(|_| sentinel)
    }
}

/// Whether a sentinel could fail over: it needs a replica to promote and others to agree.
fn knows_all(sentinel: &RedisServer) -> Result<(), String> {
    let master = sentinel.command(&["SENTINEL", "MASTER", MASTER]).map_err(|error| error.to_string())?;
    let (replicas, sentinels) = (REPLICAS.to_string(), (SENTINELS - 1).to_string());
    for (name, wanted) in [("flags", "master"), ("num-slaves", &replicas), ("num-other-sentinels", &sentinels)] {
        if master.field(name) != Some(wanted) {
            return Err(format!("the sentinel's {name} is {:?}, not {wanted}", master.field(name)));
        }
    }
    // A replica counts once its own INFO was read: until then it would not be promoted.
    let replicas = sentinel.command(&["SENTINEL", "REPLICAS", MASTER]).map_err(|error| error.to_string())?;
    let Reply::Array(replicas) = replicas else { return Err(format!("no replicas: {replicas:?}")) };
    let is_linked =
        |replica: &Reply| replica.field("flags") == Some("slave") && replica.field("master-link-status") == Some("ok");
    if replicas.iter().all(is_linked) { Ok(()) } else { Err("a replica's link is not known".to_owned()) }
}
