//! The Redis store against the same client's bare calls, each side over one connection to one server.
//!
//! The server is started for it, or is the one that `IDEMPOTENCY_TEST_REDIS_URL` names.

mod memory;
mod wake;

use std::cell::OnceCell;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use idempotency::layers::NearCache;
use idempotency::{Claim, Error, Idempotency, IdempotencyStore, Key};
use idempotency_store_redis::redis::aio::MultiplexedConnection;
use idempotency_store_redis::redis::{Client, Cmd, Value};
use idempotency_store_redis::{RedisStore, RedisStoreConfig};
use idempotency_testkit::servers::{Redis, RedisServer};
use tokio::runtime::Runtime;

use crate::measure::{Fresh, Replay, Report, Sides, Subject, pairs, round};
use crate::ours::Ours;
use crate::value::{Payment, decode, encode, keys};

pub(crate) use memory::run as memory;

const PAIRS: usize = 21;
/// How long results are kept: on a server of the user's own they should go away soon.
const RETENTION: Duration = Duration::from_secs(60 * 60);
const LEASE: Duration = Duration::from_secs(10 * 60);

type Tell<'a> = &'a mut dyn FnMut(Report) -> io::Result<()>;

/// The server, reached at first use.
#[derive(Default)]
pub(crate) struct Server(OnceCell<RedisServer>);

impl Server {
    fn url(&self) -> io::Result<String> {
        if self.0.get().is_none() {
            let started = Redis::new().start().map_err(io::Error::other)?;
            let _ = self.0.set(started);
        }
        Ok(self.0.get().map(RedisServer::url).unwrap_or_default())
    }

    pub(crate) fn run(&self, runtime: &Runtime, tasks: usize, filter: &str, tell: Tell<'_>) -> io::Result<()> {
        for kind in ["fresh", "replay", "conflict", "near"] {
            let case = format!("redis/{kind}/{tasks}");
            if !case.contains(filter) || kind == "near" && tasks != 64 {
                continue;
            }
            let url = self.url()?;
            let store = runtime.block_on(open_at(&url, &unique("bench")))?;
            let raw = Arc::new(runtime.block_on(Raw::connect(&url))?);
            let runs = if tasks == 1 { 2_000 } else { 20_000 };
            let pairs = match kind {
                "fresh" => {
                    let ours = Arc::new(Ours(handle(store)?));
                    // A fresh run needs keys that no round before had.
                    let mine = |n| round(runtime, Arc::new(Fresh(ours.clone())), keys(n, runs), tasks);
                    pairs(PAIRS, mine, |n| round(runtime, Arc::new(Fresh(raw.clone())), keys(n, runs), tasks))
                }
                "conflict" => {
                    runtime.block_on(lock(&store, &keys(0, runs)))?;
                    drop(round(runtime, Arc::new(Fresh(raw.clone())), keys(0, runs), 64));
                    let ours = Arc::new(Conflict(Ours(handle(store)?)));
                    let mine = |_| round(runtime, ours.clone(), keys(0, runs), tasks);
                    pairs(PAIRS, mine, |_| round(runtime, Arc::new(Replay(raw.clone())), keys(0, runs), tasks))
                }
                _ => {
                    let ours = if kind == "near" {
                        let near = NearCache::new(store, 64 * 1024 * 1024, RETENTION).map_err(io::Error::other)?;
                        Ours(handle(near)?)
                    } else {
                        Ours(handle(store)?)
                    };
                    let ours = Arc::new(ours);
                    drop(round(runtime, Arc::new(Fresh(ours.clone())), keys(0, runs), 64));
                    drop(round(runtime, Arc::new(Fresh(raw.clone())), keys(0, runs), 64));
                    let mine = |_| round(runtime, Arc::new(Replay(ours.clone())), keys(0, runs), tasks);
                    pairs(PAIRS, mine, |_| round(runtime, Arc::new(Replay(raw.clone())), keys(0, runs), tasks))
                }
            };
            tell(Report::of(case, "execute_once", "raw", &pairs))?;
        }
        if tasks == 1 && "redis/wake".contains(filter) {
            wake::run(runtime, &self.url()?, tell)?;
        }
        Ok(())
    }
}

/// What names begin with that nobody else uses: a server of the user's own keeps those of other runs.
fn unique(what: &str) -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{what}-{}:", since.as_micros())
}

async fn open_at(url: &str, prefix: &str) -> io::Result<RedisStore> {
    let config = RedisStoreConfig::from_url(url).map_err(io::Error::other)?.with_prefix(prefix);
    RedisStore::open(config).await.map_err(io::Error::other)
}

fn handle(store: impl IdempotencyStore) -> io::Result<Idempotency> {
    Idempotency::new(store).with_retention(RETENTION).map_err(io::Error::other)
}

/// Locks keys, for attempts that never end.
async fn lock(store: &RedisStore, keys: &[Key]) -> io::Result<()> {
    for key in keys {
        let mut claim = Claim::new(key.fingerprint());
        claim.lease = LEASE;
        store.acquire_lock(key, &claim).await.map_err(io::Error::other)?;
    }
    Ok(())
}

/// The everyday call on keys that others hold.
struct Conflict(Ours);

impl Subject for Conflict {
    async fn operate(&self, key: &Key) {
        let outcome = self.0.0.execute_once(key, async { Ok::<_, Error>(Payment::sample()) }).await;
        assert!(matches!(outcome, Err(Error::InProgress { .. })), "{outcome:?}");
    }
}

/// The client as it comes: its default limit for an answer, and the newer protocol.
struct Raw {
    connection: MultiplexedConnection,
    prefix: String,
}

impl Raw {
    async fn connect(url: &str) -> io::Result<Self> {
        let client = Client::open(format!("{url}?protocol=resp3")).map_err(io::Error::other)?;
        let connection = client.get_multiplexed_async_connection().await.map_err(io::Error::other)?;
        Ok(Self { connection, prefix: unique("plain") })
    }

    fn name(&self, key: &Key) -> Vec<u8> {
        [self.prefix.as_bytes(), key.as_str().as_bytes()].concat()
    }

    async fn get(&self, key: &Key) -> Bytes {
        let mut connection = self.connection.clone();
        let found: Vec<u8> = Cmd::get(self.name(key)).query_async(&mut connection).await.expect("the server answers");
        found.into()
    }
}

impl Sides for Raw {
    async fn fresh(&self, key: &Key) {
        let mut connection = self.connection.clone();
        let name = self.name(key);
        let mut lock = Cmd::new();
        let lease = Duration::from_secs(30).as_millis() as u64;
        lock.arg("SET").arg(&name).arg(b"owner-of-16-byte").arg("NX").arg("PX").arg(lease);
        let locked: Value = lock.query_async(&mut connection).await.expect("the server answers");
        assert!(locked == Value::Okay, "a fresh key");
        let value = encode(key, &Payment::sample());
        let mut store = Cmd::new();
        store.arg("SET").arg(&name).arg(&value[..]).arg("PX").arg(RETENTION.as_millis() as u64);
        let stored: Value = store.query_async(&mut connection).await.expect("the server answers");
        assert!(stored == Value::Okay, "a stored value");
    }

    async fn replay(&self, key: &Key) {
        let found = self.get(key).await;
        assert!(decode(key, &found).amount == 1999);
    }
}
