//! Many client processes, and what they recorded.

use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use idempotency_testkit::history::{History, Timing};

use crate::client::Orders;
use idempotency_testkit::processes::role;

/// Clients with the same orders.
#[derive(Debug)]
pub(crate) struct Crowd {
    folder: tempfile::TempDir,
    orders: Orders,
    seed: u64,
    clients: Vec<Child>,
    started: u64,
}

impl Crowd {
    pub(crate) fn start(orders: Orders, seed: u64, count: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut crowd = Self { folder, orders, seed, clients: Vec::new(), started: 0 };
        for _ in 0..count {
            let client = crowd.client();
            crowd.clients.push(client);
        }
        crowd
    }

    fn client(&mut self) -> Child {
        self.started += 1;
        let name = format!("c{}", self.started);
        let mut command = role("client");
        command.arg(self.file(&name)).arg(&name).arg((self.seed + self.started).to_string());
        command.args(self.orders.arguments()).stdin(Stdio::piped()).spawn().unwrap()
    }

    pub(crate) fn orders(&self) -> &Orders {
        &self.orders
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name).with_extension("history")
    }

    /// Kills one of them (SIGKILL), and starts another in its place.
    pub(crate) fn replace(&mut self, at: usize) {
        let another = self.client();
        let mut killed = std::mem::replace(&mut self.clients[at], another);
        killed.kill().unwrap();
        killed.wait().unwrap();
    }

    /// Waits until they have come to their end.
    pub(crate) fn wait(&mut self) {
        for client in &mut self.clients {
            // `Child::wait` would close it, and so tell the client to stop.
            let _stdin = client.stdin.take();
            assert!(client.wait().unwrap().success());
        }
    }

    /// What all of them saw. The server reads the same machine's clock.
    pub(crate) fn history(&self) -> History {
        let files = std::fs::read_dir(self.folder.path()).unwrap().map(|file| file.unwrap().path());
        let timing = Timing { resolution: Duration::from_millis(1), ..Timing::REAL };
        History::read(files.collect::<Vec<_>>()).unwrap().with_timing(timing)
    }
}
