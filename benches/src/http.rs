//! Requests over loopback through the HTTP layer against the bare service, which for replays has 20 µs of
//! work to do.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::routing::post;
use axum::{Json, Router};
use idempotency::http::server::IdempotencyLayer;
use idempotency::{Idempotency, Key};
use idempotency_store_memory::MemoryStore;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use crate::measure::{Report, Round, Subject, pairs, round};
use crate::value::{Payment, keys};

const PAIRS: usize = 11;
const WORK: Duration = Duration::from_micros(20);

type Tell<'a> = &'a mut dyn FnMut(Report) -> io::Result<()>;

pub(crate) fn run(runtime: &Runtime, tasks: usize, filter: &str, tell: Tell<'_>) -> io::Result<()> {
    for kind in ["fresh", "replay"] {
        let case = format!("http/{kind}/{tasks}");
        if !case.contains(filter) {
            continue;
        }
        let replay = kind == "replay";
        let runs = if tasks == 1 { 2_000 } else { 10_000 };
        let layer = IdempotencyLayer::new(Idempotency::new(MemoryStore::new()));
        let work = if replay { WORK } else { Duration::ZERO };
        let layered = Arc::new(runtime.block_on(Served::start(service(Duration::ZERO).layer(layer)))?);
        let bare = Arc::new(runtime.block_on(Served::start(service(work)))?);
        // A fresh request needs a key that no round before had; the connections are made beforehand.
        let of = |n| keys(if replay { 0 } else { n }, runs);
        for side in [&layered, &bare] {
            drop(round(runtime, side.clone(), keys(if replay { 0 } else { PAIRS }, runs), tasks));
        }
        let side = |side: &Arc<Served>, n| -> Round { round(runtime, side.clone(), of(n), tasks) };
        let pairs = pairs(PAIRS, |n| side(&layered, n), |n| side(&bare, n));
        tell(Report::of(case, "layer", if replay { "bare, 20 µs" } else { "bare" }, &pairs))?;
    }
    Ok(())
}

fn service(work: Duration) -> Router {
    let handler = move || async move {
        let begun = Instant::now();
        while begun.elapsed() < work {
            std::hint::spin_loop();
        }
        Json(Payment::sample())
    };
    Router::new().route("/payments", post(handler))
}

/// A service on a port of its own, and connections to it that are open.
struct Served {
    address: SocketAddr,
    open: Mutex<Vec<TcpStream>>,
}

impl Served {
    async fn start(router: Router) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        tokio::spawn(async move { axum::serve(axum::serve::ListenerExt::tap_io(listener, nodelay), router).await });
        Ok(Self { address, open: Mutex::default() })
    }

    async fn exchange(&self, key: &Key) -> io::Result<()> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut stream = match open {
            Some(stream) => stream,
            None => {
                let mut stream = TcpStream::connect(self.address).await?;
                nodelay(&mut stream);
                stream
            }
        };
        let id = key.id_parts().next().unwrap_or_default();
        let body = "{\"order\":\"ord_1\",\"amount\":1999,\"currency\":\"EUR\"}";
        let request = format!(
            "POST /payments HTTP/1.1\r\nHost: bench\r\nIdempotency-Key: {id}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = [0; 2048];
        let mut length = 0;
        loop {
            match stream.read(&mut answer[length..]).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => length += read,
            }
            // A payment is one object, and nothing comes after it.
            if answer[..length].ends_with(b"}") {
                break;
            }
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer[..length]));
        self.open.lock().unwrap_or_else(PoisonError::into_inner).push(stream);
        Ok(())
    }
}

impl Subject for Served {
    async fn operate(&self, key: &Key) {
        self.exchange(key).await.expect("a response");
    }
}

fn nodelay(stream: &mut TcpStream) {
    // Where it cannot be set, both sides are slower.
    let _ = stream.set_nodelay(true);
}
