//! A service and its payment provider, each a process of its own, in a folder of their own.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use idempotency_examples::client::{self, Ask, Reply};
use idempotency_examples::journal;
use idempotency_examples::process::Process;
use idempotency_examples::provider::ledger::Entry;
use idempotency_examples::provider::server::Seen;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

/// What is started, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Program {
    pub(crate) path: &'static str,
    /// Its options, besides those that every service has.
    pub(crate) options: &'static [&'static str],
    /// Whether it has a payment provider.
    pub(crate) provider: bool,
}

impl Program {
    /// Starts it on the store with this URL; without one, on sled in its own folder.
    pub(crate) async fn start(self, store: Option<&str>) -> Service {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("log.txt");
        let ledger = folder.path().join("ledger.jsonl");
        let mut provider = None;
        if self.provider {
            let mut args: Vec<OsString> = vec!["provider".into(), "--ledger".into(), ledger.clone().into()];
            args.extend(self.options.contains(&"--no-dedup").then(|| "--no-dedup".into()));
            provider = Some(Process::of(Path::new(self.path), args, None, &log).await.expect("a provider"));
        }
        let mut args: Vec<OsString> = vec!["--folder".into(), folder.path().into()];
        // A killed holder's keys are free again soon.
        args.extend(["--lease".into(), "1s".into()]);
        args.extend(self.options.iter().map(OsString::from));
        if let Some(provider) = &provider {
            args.extend(["--provider".into(), provider.address.to_string().into()]);
        }
        let store = store.map(str::to_owned);
        let process = Process::of(Path::new(self.path), args.clone(), store.as_deref(), &log).await.expect("a service");
        // Should it be started again, then where it was.
        args.extend(["--port".into(), process.address.port().to_string().into()]);
        Service { path: self.path, args, store, log, ledger, address: process.address, process, provider, folder }
    }

    /// What it says when it does not start.
    pub(crate) async fn refused(self) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        let mut args: Vec<OsString> = vec!["--folder".into(), folder.path().into()];
        args.extend(self.options.iter().map(OsString::from));
        let started = Process::of(Path::new(self.path), args, None, &folder.path().join("log.txt")).await;
        started.expect_err("it started")
    }
}

#[derive(Debug)]
pub(crate) struct Service {
    path: &'static str,
    args: Vec<OsString>,
    store: Option<String>,
    log: PathBuf,
    ledger: PathBuf,
    pub(crate) address: SocketAddr,
    process: Process,
    provider: Option<Process>,
    // Last: it is removed when the processes have ended.
    folder: TempDir,
}

impl Service {
    /// Ends it with SIGKILL, and starts it again on the same port, folder and store.
    pub(crate) async fn kill_and_restart(&mut self) {
        self.process.kill().await.expect("it is there");
        let args = self.args.iter().cloned();
        self.process = Process::of(Path::new(self.path), args, self.store.as_deref(), &self.log)
            .await
            .unwrap_or_else(|error| panic!("it does not start again: {error}\n{}", self.log()));
    }

    /// Has it stop where it is with the signal `STOP`, or go on with `CONT`.
    #[cfg(unix)]
    pub(crate) fn signal(&self, signal: &str) {
        let id = self.process.id().expect("it is there").to_string();
        let sent = std::process::Command::new("kill").args(["-s", signal, &id]).status().expect("kill is installed");
        assert!(sent.success(), "kill -s {signal} {id}");
    }

    /// Another process of the same program, on the same store and with the same provider, in a folder of its own.
    pub(crate) async fn beside(&self) -> Process {
        let folder = self.folder.path().join("beside");
        let mut args = self.args.clone();
        // Not its port, which is the last of them.
        args.truncate(args.len() - 2);
        args[1] = folder.into();
        let log = &self.log;
        Process::of(Path::new(self.path), args, self.store.as_deref(), log).await.expect("another process")
    }

    /// Ends its provider with SIGKILL.
    pub(crate) async fn kill_provider(&mut self) {
        self.provider.as_mut().expect("it has a provider").kill().await.expect("it is there");
    }

    pub(crate) fn get(&self, path: &str) -> Ask {
        client::get(self.address, path)
    }

    pub(crate) fn post(&self, path: &str, body: &impl Serialize) -> Ask {
        client::post(self.address, path, body)
    }

    /// The answer to a GET, as JSON.
    pub(crate) async fn look<T: DeserializeOwned>(&self, path: &str) -> T {
        let reply: Reply = self.get(path).send().await.expect("an answer");
        reply.json().unwrap_or_else(|error| panic!("GET {path}: {error}: {}", String::from_utf8_lossy(&reply.body)))
    }

    /// A journal in its folder, so far.
    pub(crate) fn journal<T: DeserializeOwned>(&self, name: &str) -> Vec<T> {
        journal::read(&self.folder.path().join(name)).expect("a journal")
    }

    /// A name that no other service, of this run or another, has on the same store.
    pub(crate) fn run(&self) -> &str {
        self.folder.path().file_name().and_then(|name| name.to_str()).expect("a folder's name").trim_start_matches('.')
    }

    /// What its provider has done.
    pub(crate) fn ledger(&self) -> Vec<Entry> {
        journal::read(&self.ledger).expect("a ledger")
    }

    pub(crate) fn provider(&self) -> SocketAddr {
        self.provider.as_ref().expect("it has a provider").address
    }

    /// Tells its provider how the next payment is to go wrong, or to let go of what it holds.
    pub(crate) async fn tell_provider(&self, what: &str) {
        let reply = client::post(self.provider(), what, &()).send().await.expect("an answer");
        assert_eq!(reply.status, 204, "{what}");
    }

    /// What its provider has under way.
    pub(crate) async fn seen_by_provider(&self) -> Seen {
        client::get(self.provider(), "/seen").send().await.expect("an answer").json().expect("JSON")
    }

    /// Waits until its provider has that under way: what never comes fails its test.
    pub(crate) async fn until_provider(&self, has: impl Fn(&Seen) -> bool + Send + Sync) -> Seen {
        let until = async {
            loop {
                let seen = self.seen_by_provider().await;
                if has(&seen) {
                    return seen;
                }
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(30), until).await.expect("its provider has it within half a minute")
    }

    /// What it and its provider have logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}
