//! A TCP proxy that disturbs what goes through it.
//!
//! It stands between a client and a server, over real sockets, and does to their connections what a
//! network can do: [delay](Proxy::delay), [cut](Proxy::cut), [swallow](Proxy::black_hole), end
//! [one direction](Proxy::half_close), or let a request through and [lose its
//! answer](Proxy::cut_after). [`heal`](Proxy::heal) ends it all.
//!
//! ```
//! use std::io::{Read, Write};
//! use std::net::{TcpListener, TcpStream};
//!
//! use idempotency_testkit::proxy::{Direction, Proxy};
//!
//! # fn main() -> std::io::Result<()> {
//! let server = TcpListener::bind("127.0.0.1:0")?;
//! let proxy = Proxy::start(server.local_addr()?)?;
//! let mut client = TcpStream::connect(proxy.address())?;
//! let (mut served, _) = server.accept()?;
//!
//! proxy.cut_after(Direction::ToClient, 0);
//! client.write_all(b"charge")?;
//! served.read_exact(&mut [0; 6])?; // the server has the request,
//! served.write_all(b"charged")?;
//! assert!(client.read(&mut [0; 7]).is_err()); // and the client nothing.
//! # Ok(())
//! # }
//! ```
//!
//! The proxy lives in a thread of its own, on its own clock: neither a paused time nor a busy
//! runtime of the test touches it.

mod connection;
mod orders;

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use self::orders::{Flow, Shared};

/// Which of the two ways through the proxy is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// What the client sends.
    ToServer,
    /// What the server sends.
    ToClient,
    /// Both ways.
    Both,
}

/// What went through a proxy since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Connections that clients opened, those refused too.
    pub connections: u64,
    /// Connections that are open now. One that was cut is counted for some microseconds more.
    pub open: u64,
    /// Bytes passed on to the server.
    pub to_server: u64,
    /// Bytes passed on to clients.
    pub to_client: u64,
}

/// A TCP proxy in front of one server.
///
/// Orders hold from when their call returns: what is sent after that meets them, on present and on
/// new connections alike. Dropping the proxy closes all connections and waits for its thread, which
/// ends at once.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// Dropped to end the thread.
    running: Option<watch::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Starts a proxy to `server`, on a free port of 127.0.0.1. The server need not be there yet: a
    /// client whose connection cannot be passed on is cut off.
    ///
    /// # Errors
    ///
    /// `server` is no address, or no port or thread can be had.
    pub fn start(server: impl ToSocketAddrs) -> io::Result<Self> {
        let server: Vec<SocketAddr> = server.to_socket_addrs()?.collect();
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::new(server));
        let (running, stopped) = watch::channel(());
        // A runtime made here, not in the thread, would have its failure told, but could be
        // dropped inside of another runtime, which panics. So its thread tells it.
        let (tell, told) = std::sync::mpsc::channel();
        let serving = Arc::clone(&shared);
        let thread = thread::Builder::new().name("tcp-proxy".to_owned()).spawn(move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(tell.send(Err(error))),
            };
            runtime.block_on(async {
                match tokio::net::TcpListener::from_std(listener) {
                    Err(error) => drop(tell.send(Err(error))),
                    Ok(listener) => {
                        drop(tell.send(Ok(())));
                        serve(listener, serving, stopped).await;
                    }
                }
            });
        })?;
        told.recv().map_err(|_| io::Error::other("the proxy's thread ended before it began"))??;
        Ok(Self { address, shared, running: Some(running), thread: Some(thread) })
    }

    /// Where clients connect to, instead of to the server.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What went through so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.shared.counts()
    }

    /// Passes everything on in `direction`, what a black hole held back first. So it is at the
    /// start.
    pub fn pass(&self, direction: Direction) {
        self.shared.order(|orders| orders.each(direction, |way| way.flow = Flow::Pass));
    }

    /// Passes everything on in `direction` after `delay`, counted for each chunk from when it came,
    /// in order. The throughput stays what it was, up to a mebibyte on the way.
    pub fn delay(&self, direction: Direction, delay: Duration) {
        self.shared.order(|orders| orders.each(direction, |way| way.flow = Flow::Delay(delay)));
    }

    /// Passes nothing on in `direction`, and tells nobody: connections stay open, new ones are
    /// accepted, and nothing is answered. Not even the end of a connection gets through.
    ///
    /// What is sent meanwhile is held, and passed on when another order lets it, as TCP sends again
    /// what a network lost.
    pub fn black_hole(&self, direction: Direction) {
        self.shared.order(|orders| orders.each(direction, |way| way.flow = Flow::Hold));
    }

    /// Ends `direction` of all present connections, as if its sender had said that it will send no
    /// more (FIN); the other direction goes on. What is sent in `direction` after that is lost.
    pub fn half_close(&self, direction: Direction) {
        self.shared.order(|orders| orders.each(direction, |way| way.closed += 1));
    }

    /// Resets (RST) all present connections, at both of their ends. What was on the way is lost.
    /// New ones are passed on, unless [`refuse`](Self::refuse) was said.
    pub fn cut(&self) {
        self.shared.order(|orders| orders.cuts += 1);
    }

    /// Resets all present connections as soon as another byte after the next `bytes` is to be
    /// passed on in `direction`; `bytes` are counted over all connections, for each direction
    /// apart. It happens once.
    ///
    /// `cut_after(Direction::ToClient, 0)` lets a request through and loses its answer.
    pub fn cut_after(&self, direction: Direction, bytes: u64) {
        self.shared.order(|orders| orders.each(direction, |way| way.left = Some(bytes)));
    }

    /// Resets new connections as soon as they are opened, until [`heal`](Self::heal). Present ones
    /// go on.
    pub fn refuse(&self) {
        self.shared.order(|orders| orders.refuse = true);
    }

    /// Ends all orders: everything is passed on, what was held back first, and new connections are
    /// served. A connection that was cut or half closed stays so.
    pub fn heal(&self) {
        self.shared.order(|orders| {
            orders.refuse = false;
            orders.each(Direction::Both, |way| {
                way.flow = Flow::Pass;
                way.left = None;
            });
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.running = None;
        if let Some(thread) = self.thread.take() {
            // Its panic, if any, was printed.
            let _ = thread.join();
        }
    }
}

/// Accepts and serves connections until the proxy is dropped, and then drops them.
async fn serve(listener: tokio::net::TcpListener, shared: Arc<Shared>, mut stopped: watch::Receiver<()>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            _ = stopped.changed() => return,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => drop(connections.spawn(connection::serve(client, Arc::clone(&shared)))),
                // As when no file descriptor is free: it may pass.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
        }
    }
}
