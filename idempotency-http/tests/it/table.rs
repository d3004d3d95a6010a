//! The table of requests and answers, over each store.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use idempotency::{Idempotency, IdempotencyStore};
use idempotency_store_memory::MemoryStore;
use idempotency_store_postgres::{PostgresStore, PostgresStoreConfig};
use idempotency_testkit::servers::{Postgres, Redis};

use crate::support::wire::{Ask, Reply};
use crate::support::{Runs, app, serve};

const TABLE: &str = include_str!("table.txt");

/// One line.
struct Row<'a> {
    line: usize,
    group: usize,
    columns: [&'a str; 4],
}

fn rows() -> Vec<Row<'static>> {
    let (mut rows, mut group) = (Vec::new(), 0);
    for (at, line) in TABLE.lines().enumerate() {
        if line.is_empty() {
            group += 1;
        } else if !line.starts_with('#') {
            let columns: Vec<&str> = line.split('|').map(|column| column.trim_matches(' ')).collect();
            let columns = columns.try_into().unwrap_or_else(|_| panic!("line {}: not four columns", at + 1));
            rows.push(Row { line: at + 1, group, columns });
        }
    }
    rows
}

/// What a text of the table stands for.
fn meant(text: &str, key: &str) -> Vec<u8> {
    let mut rest = text.replace("{k}", key);
    let mut bytes = Vec::new();
    while let Some(c) = rest.chars().next() {
        let at = c.len_utf8();
        let (eaten, meant): (usize, Vec<u8>) = match &rest.as_bytes()[at..] {
            [b'x', high, low, ..] if c == '\\' => {
                let digits = [*high, *low];
                (4, vec![u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()])
            }
            [b'\\', ..] if c == '\\' => (2, vec![b'\\']),
            [repeated, b'*', ..] if c == '{' => {
                let end = rest.find('}').unwrap();
                (end + 1, vec![*repeated; rest[3..end].parse().unwrap()])
            }
            _ => (at, rest.as_bytes()[..at].to_vec()),
        };
        bytes.extend_from_slice(&meant);
        rest.drain(..eaten);
    }
    bytes
}

impl Row<'_> {
    fn ask(&self) -> Ask {
        let [line, headers, body, _] = self.columns;
        let key = format!("g{}", self.group);
        let (method, path) = line.split_once(' ').unwrap();
        let mut ask = Ask::new(method, path).body(meant(body, &key));
        for header in headers.split(" ; ").filter(|header| !header.is_empty()) {
            let (name, value) = header.split_once(':').unwrap();
            let name = if name == "K" { "Idempotency-Key" } else { name };
            ask = ask.header(name, meant(value.trim_start(), &key));
        }
        ask
    }

    /// Holds an answer to the row; `runs` are the group's runs so far.
    fn check(&self, reply: &Reply, runs: &mut BTreeMap<String, u64>) {
        let expected = self.columns[3];
        let (status, rest) = expected.split_once(' ').unwrap_or((expected, ""));
        assert_eq!(reply.status.to_string(), status, "{reply:?}");
        let (words, text) = match rest.split_once('~') {
            Some((words, text)) => (words, Some(text)),
            None => (rest, None),
        };
        if let Some(text) = text {
            assert!(reply.text().contains(text), "no {text}: {}", reply.text());
        }
        for word in words.split_whitespace() {
            if let Some(problem) = word.strip_prefix('!') {
                reply.assert_problem(reply.status, problem);
            } else if word.starts_with('#') {
                match runs.get(word) {
                    Some(run) => assert_eq!(reply.run(), *run, "another run than {word}"),
                    None => {
                        assert!(!runs.values().any(|run| *run == reply.run()), "{word} should be a new run: {runs:?}");
                        runs.insert(word.to_owned(), reply.run());
                    }
                }
            } else if let Some(absent) = word.strip_prefix('-') {
                assert_eq!(reply.header(absent), None, "{absent}");
            } else if let Some(most) = word.strip_prefix("left=") {
                let (left, most): (u64, u64) =
                    (reply.header("idempotency-remaining").unwrap().parse().unwrap(), most.parse().unwrap());
                assert!(left <= most && left + 60 > most, "{left}");
            } else if let Some((name, value)) = word.split_once('=') {
                assert_eq!(reply.header(name), Some(value), "{name}");
            } else if word == "prior" {
                assert_eq!(reply.header("idempotency-prior"), Some("unknown"));
            } else if word == "none" {
                assert_eq!(reply.said(), None);
            } else {
                assert_eq!(reply.said(), Some(word));
                assert_eq!(reply.is_replay(), word == "replayed", "{reply:?}");
            }
        }
    }
}

async fn hold_to_the_table(store: impl IdempotencyStore) {
    let counted = Runs::default();
    let to: SocketAddr = serve(app::router(&Idempotency::new(store), &counted)).await;
    let rows = rows();
    assert!(rows.len() >= 150, "{} rows", rows.len());
    let mut runs = BTreeMap::new();
    let (mut group, mut failed) = (0, Vec::new());
    for row in &rows {
        if row.group != group {
            runs.clear();
            group = row.group;
        }
        let reply = row.ask().send(to).await;
        let held = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| row.check(&reply, &mut runs)));
        if held.is_err() {
            failed.push(format!("line {}: {}", row.line, row.columns.join(" | ")));
        }
    }
    assert!(failed.is_empty(), "{} of {} rows:\n{}", failed.len(), rows.len(), failed.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_memory() {
    hold_to_the_table(MemoryStore::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sled() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sled:{}", folder.path().join("keys").display());
    hold_to_the_table(idempotency::connect(&url).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_redis() {
    let server = tokio::task::spawn_blocking(|| Redis::new().start().unwrap()).await.unwrap();
    hold_to_the_table(idempotency::connect(&server.url()).await.unwrap()).await;
    tokio::task::spawn_blocking(|| drop(server)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres() {
    let (server, url) = tokio::task::spawn_blocking(|| {
        let server = Postgres::new().start().unwrap();
        let url = server.fresh_database().unwrap();
        (server, url)
    })
    .await
    .unwrap();
    let config = PostgresStoreConfig::from_url(&url).unwrap();
    hold_to_the_table(PostgresStore::open(config).await.unwrap()).await;
    tokio::task::spawn_blocking(|| drop(server)).await.unwrap();
}
