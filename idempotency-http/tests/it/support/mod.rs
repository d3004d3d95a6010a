//! What the tests share: a service on a socket, and a client that sends any bytes.

#[cfg(feature = "server")]
pub(crate) mod app;
pub(crate) mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use idempotency::Idempotency;
use idempotency_store_memory::MemoryStore;
use idempotency_testkit::faults::Faults;
use tokio::net::TcpListener;

/// Serves a router on a port of its own, over HTTP/1.1 and HTTP/2.
pub(crate) async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// A handle on a memory store.
pub(crate) fn memory() -> Idempotency {
    Idempotency::new(MemoryStore::new())
}

/// A handle on a memory store that fails as it is told.
pub(crate) fn faulty() -> (Arc<Faults<MemoryStore>>, Idempotency) {
    let faults = Arc::new(Faults::new(MemoryStore::new()));
    (faults.clone(), Idempotency::new(faults))
}

/// Counts runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runs(Arc<AtomicU64>);

impl Runs {
    /// Counts one, and gives its number, from 1.
    pub(crate) fn one(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}
