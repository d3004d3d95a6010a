//! Purging, counting and listing.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use idempotency_core::{Key, Page, Purged, Snapshot, Stats, StoreError, Timestamp, Upkeep, moves};
use redis::{Cmd, FromRedisValue, Value};

use crate::error::{Operation, damaged, nonsense};
use crate::layout;
use crate::link::{Job, Node, number};
use crate::scripts;
use crate::store::{RedisStore, Shared};

/// How many keys the server looks at in one step: it does nothing else meanwhile.
const STEP: usize = 512;

#[async_trait]
impl Upkeep for RedisStore {
    /// Removes nothing: the servers forget what has expired by themselves.
    async fn purge(&self, _limit: usize) -> Result<Purged, StoreError> {
        Ok(Purged::default())
    }

    /// Counts the records, in bounded steps over all keys of the servers (`SCAN`): some seconds for a
    /// million keys. One that a server moves meanwhile may be counted twice, as `SCAN` may give it twice.
    async fn stats(&self) -> Result<Stats, StoreError> {
        let mut stats = Stats::default();
        let mut seen = std::collections::HashSet::new();
        for node in self.shared.servers.all().await.during("stats")? {
            let mut walk = Walk::new(&self.shared, node, "stats");
            while let Some(names) = walk.next().await? {
                let names = names.into_iter().filter(|name| seen.insert(hash(name)));
                let names: Vec<_> = names.map(|name| (name, walk.node.clone())).collect();
                for (_, snapshot) in self.shared.read_all("stats", &names).await? {
                    stats.count(&snapshot);
                }
            }
        }
        Ok(stats)
    }

    /// Lists records in the order of their keys' texts. Each page looks at all keys of the servers, in
    /// bounded steps (`SCAN`), as no index is kept.
    async fn list(&self, after: Option<&Key>, limit: usize) -> Result<Page, StoreError> {
        // One more than is wanted tells whether there is another page. Some may have expired by the time
        // they are read, or be kept though they are forgotten, so what is found in excess is kept, too.
        let mut spare = limit.saturating_add(STEP);
        let mut after = after.map(|key| self.shared.name(key));
        let mut page = Page::default();
        loop {
            let (names, are_all) = self.names_after(after.as_deref(), spare).await?;
            after = names.last().map(|(name, _)| name.clone());
            for names in names.chunks(STEP) {
                for found in self.shared.read_all("list", names).await? {
                    if page.records.len() == limit {
                        page.next = page.records.last().map(|(key, _)| key.clone());
                        return Ok(page);
                    }
                    page.records.push(found);
                }
            }
            if are_all {
                return Ok(page);
            }
            // All that was looked at, and still no full page: the more at once, the fewer walks.
            spare = spare.saturating_mul(2);
        }
    }
}

impl RedisStore {
    /// The first names after `after`, in their order, and whether these are all there are.
    async fn names_after(
        &self,
        after: Option<&[u8]>,
        most: usize,
    ) -> Result<(Vec<(Vec<u8>, Arc<Node>)>, bool), StoreError> {
        let mut first: BTreeMap<Vec<u8>, Arc<Node>> = BTreeMap::new();
        let mut are_all = true;
        for node in self.shared.servers.all().await.during("list")? {
            let mut walk = Walk::new(&self.shared, node, "list");
            while let Some(names) = walk.next().await? {
                let later = names.into_iter().filter(|name| after.is_none_or(|after| &name[..] > after));
                first.extend(later.map(|name| (name, walk.node.clone())));
                while first.len() > most {
                    first.pop_last();
                    are_all = false;
                }
            }
        }
        Ok((first.into_iter().collect(), are_all))
    }
}

/// Walks over the names of all records on one server.
struct Walk<'a> {
    node: Arc<Node>,
    pattern: Vec<u8>,
    cursor: Option<u64>,
    operation: &'static str,
    shared: &'a Shared,
}

impl<'a> Walk<'a> {
    fn new(shared: &'a Shared, node: Arc<Node>, operation: &'static str) -> Self {
        let mut pattern = Vec::new();
        for byte in shared.config.prefix.bytes() {
            if matches!(byte, b'*' | b'?' | b'[' | b']' | b'\\') {
                pattern.push(b'\\');
            }
            pattern.push(byte);
        }
        pattern.push(b'*');
        Self { node, pattern, cursor: Some(0), operation, shared }
    }

    async fn next(&mut self) -> Result<Option<Vec<Vec<u8>>>, StoreError> {
        let Some(cursor) = self.cursor else { return Ok(None) };
        let mut scan = Cmd::new();
        scan.arg("SCAN").arg(cursor).arg("MATCH").arg(&self.pattern).arg("COUNT").arg(STEP).arg("TYPE").arg("string");
        let answer = self.node.call(Job::Command(scan)).await.and_then(|ended| ended.result).during(self.operation)?;
        let (next, names) = <(u64, Vec<Vec<u8>>)>::from_redis_value(answer)
            .map_err(|_| nonsense(self.operation, "SCAN by something else than a cursor and keys"))?;
        self.cursor = (next != 0).then_some(next);
        // What the store writes for itself begins with a tilde, which no record's key does by chance: it
        // is no key's text.
        let prefix = self.shared.config.prefix.len();
        let is_record = |name: &Vec<u8>| name.get(prefix..).is_some_and(|text| Key::parse(text).is_ok());
        Ok(Some(names.into_iter().filter(is_record).collect()))
    }
}

impl Shared {
    /// Reads records, those that are still there.
    async fn read_all(
        &self,
        operation: &'static str,
        names: &[(Vec<u8>, Arc<Node>)],
    ) -> Result<Vec<(Key, Snapshot)>, StoreError> {
        // All at once, so that they travel together.
        let calls = names.iter().map(|(name, node)| {
            let (name, node) = (name.clone(), node.clone());
            tokio::spawn(async move {
                let ended = node.call(Job::Move { script: &scripts::GET, name, args: Vec::new() }).await;
                ended.and_then(|ended| ended.result)
            })
        });
        let calls: Vec<_> = calls.collect();
        let mut read = Vec::new();
        for (call, (name, _)) in calls.into_iter().zip(names) {
            let Ok(key) = Key::parse(&name[self.config.prefix.len()..]) else { continue };
            let answer = call.await.map_err(|_| nonsense(operation, "nothing: the runtime is shutting down"))?;
            let Value::Array(parts) = answer.during(operation).map_err(|error| of_key(&key, error))? else { continue };
            let [now, Value::BulkString(bytes), expires, _] = &parts[..] else { continue };
            let stored = layout::decode(&Bytes::from(bytes.clone()), number(expires))
                .map_err(|garbled| of_key(&key, damaged(operation, garbled)))?;
            let snapshot = stored.read_at(Timestamp::from_micros(number(now).unwrap_or_default()));
            if moves::read(Some(&snapshot.record), snapshot.now).is_some() {
                read.push((key, snapshot));
            }
        }
        Ok(read)
    }
}

/// Names the key that something is wrong with: whoever counts or lists has not.
fn of_key(key: &Key, error: StoreError) -> StoreError {
    StoreError::new(error.kind(), error.operation()).with_message(format!("at the key {key}")).with_source(error)
}

fn hash(name: &[u8]) -> u64 {
    use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

    BuildHasherDefault::<DefaultHasher>::default().hash_one(name)
}
