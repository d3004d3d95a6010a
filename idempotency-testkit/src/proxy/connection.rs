//! One connection through a proxy.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::orders::{Flow, Orders, Shared, Way};

/// The most that is read at once, and how many of these may be on the way: a mebibyte.
const CHUNK: usize = 16 * 1024;
const ON_THE_WAY: usize = 64;

/// Serves `client` until both directions have ended, or the connection is cut.
pub(super) async fn serve(mut client: TcpStream, shared: Arc<Shared>) {
    let mut orders = shared.orders.subscribe();
    shared.connections.fetch_add(1, Relaxed);
    let _open = Open::count(&shared.open);
    // A connection is cut by what is ordered after it began, not by what was before.
    let begun = *orders.borrow_and_update();
    if begun.refuse {
        return reset(&client);
    }
    let mut server = None;
    let ended = tokio::select! {
        // First, so that nothing that is sent after the cut was ordered gets through.
        biased;
        () = until(&mut orders, |orders| orders.cuts > begun.cuts) => Err(io::ErrorKind::ConnectionReset.into()),
        ended = pass(&mut client, &mut server, &shared, begun) => ended,
    };
    // The reset of one end is passed on to the other, too.
    if ended.is_err() {
        reset(&client);
        server.as_ref().inspect(|server| reset(server));
    }
}

/// Sees to it that closing the connection resets it. Where that fails it is closed all the same.
fn reset(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}

/// Waits until the orders are so.
async fn until(orders: &mut watch::Receiver<Orders>, so: impl Fn(&Orders) -> bool) {
    // They outlive all connections, so this fails never.
    let _ = orders.wait_for(so).await;
}

async fn pass(
    client: &mut TcpStream,
    server: &mut Option<TcpStream>,
    shared: &Shared,
    begun: Orders,
) -> io::Result<()> {
    // In a black hole not even the wish to connect gets through.
    until(&mut shared.orders.subscribe(), |orders| orders.to_server.flow != Flow::Hold).await;
    let server = server.insert(TcpStream::connect(&shared.server[..]).await?);
    // Chunks go out as they came, not gathered.
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (client_read, client_write) = client.split();
    let (server_read, server_write) = server.split();
    let to_server = OneWay::new(shared, begun, |orders| &mut orders.to_server, &shared.to_server);
    let to_client = OneWay::new(shared, begun, |orders| &mut orders.to_client, &shared.to_client);
    tokio::try_join!(to_server.pass(client_read, server_write), to_client.pass(server_read, client_write))?;
    Ok(())
}

/// One direction of a connection.
struct OneWay<'a> {
    shared: &'a Shared,
    /// Its part of the orders.
    way: fn(&mut Orders) -> &mut Way,
    /// How often it had been ended when the connection began.
    closed: u64,
    passed: &'a AtomicU64,
}

/// When something is due, and what: bytes, none for the end, or the sender's reset.
type Chunk = (Instant, io::Result<Vec<u8>>);

impl<'a> OneWay<'a> {
    fn new(shared: &'a Shared, mut begun: Orders, way: fn(&mut Orders) -> &mut Way, passed: &'a AtomicU64) -> Self {
        Self { shared, way, closed: way(&mut begun).closed, passed }
    }

    async fn pass(&self, from: ReadHalf<'_>, to: WriteHalf<'_>) -> io::Result<()> {
        let (chunks, queue) = mpsc::channel(ON_THE_WAY);
        tokio::try_join!(self.read(from, chunks), self.write(to, queue))?;
        Ok(())
    }

    /// Reads to the end. Goes on where nothing is written any more, so that the sender is not held
    /// up.
    async fn read(&self, mut from: ReadHalf<'_>, chunks: mpsc::Sender<Chunk>) -> io::Result<()> {
        let mut buffer = vec![0; CHUNK];
        loop {
            let chunk = from.read(&mut buffer).await.map(|length| buffer[..length].to_vec());
            let is_last = !chunk.as_ref().is_ok_and(|bytes| !bytes.is_empty());
            let delay = match self.of(&self.shared.orders.borrow()).flow {
                Flow::Delay(delay) => delay,
                Flow::Pass | Flow::Hold => Duration::ZERO,
            };
            if let Err(mpsc::error::SendError((_, Err(reset)))) = chunks.send((Instant::now() + delay, chunk)).await {
                return Err(reset);
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// Writes what is due until the sender's end, or until the direction is ended by order.
    async fn write(&self, mut to: WriteHalf<'_>, mut queue: mpsc::Receiver<Chunk>) -> io::Result<()> {
        let (mut orders, mut flow) = (self.shared.orders.subscribe(), self.shared.orders.subscribe());
        let to_its_end = async {
            while let Some((due, chunk)) = queue.recv().await {
                tokio::time::sleep_until(due).await;
                until(&mut flow, |orders| self.of(orders).flow != Flow::Hold).await;
                let bytes = chunk?;
                let allowed = self.take(bytes.len());
                to.write_all(&bytes[..allowed]).await?;
                self.passed.fetch_add(allowed as u64, Relaxed);
                if allowed < bytes.len() {
                    self.shared.order(|orders| orders.cuts += 1);
                    return Err(io::ErrorKind::ConnectionReset.into());
                }
            }
            Ok::<_, io::Error>(())
        };
        tokio::select! {
            // First, so that nothing that is sent after the order gets through.
            biased;
            () = until(&mut orders, |orders| self.of(orders).closed > self.closed) => {}
            ended = to_its_end => ended?,
        }
        drop(queue);
        to.shutdown().await
    }

    fn of(&self, orders: &Orders) -> Way {
        *(self.way)(&mut { *orders })
    }

    /// How many of `wanted` bytes may still pass. What lacks is not asked for again.
    fn take(&self, wanted: usize) -> usize {
        let mut allowed = wanted;
        // Nobody waits for this number, so nobody is woken.
        self.shared.orders.send_if_modified(|orders| {
            let way = (self.way)(orders);
            if let Some(left) = way.left {
                allowed = usize::try_from(left).map_or(wanted, |left| left.min(wanted));
                way.left = (allowed == wanted).then_some(left - allowed as u64);
            }
            false
        });
        allowed
    }
}

/// Counts a connection for as long as it lives.
struct Open<'a>(&'a AtomicU64);

impl<'a> Open<'a> {
    fn count(open: &'a AtomicU64) -> Self {
        open.fetch_add(1, Relaxed);
        Self(open)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
