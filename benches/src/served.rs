//! A service on loopback, and connections to it.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::routing::post;
use axum::{Json, Router};
use idempotency::Key;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::measure::Subject;
use crate::value::Payment;

/// The bare service, whose handler reads its request and has so much work to do.
pub(crate) fn service(work: Duration) -> Router {
    // Whoever pays reads what is to be paid; to read a body has its price (docs/benchmarks.md).
    let handler = move |_: Bytes| async move {
        let begun = Instant::now();
        while begun.elapsed() < work {
            std::hint::spin_loop();
        }
        Json(Payment::sample())
    };
    Router::new().route("/payments", post(handler))
}

/// A bare service that keeps its response by the request's key, and asks nothing: what no layer that can replay
/// does without.
pub(crate) fn keeping() -> Router {
    let kept: Arc<Mutex<HashMap<Box<[u8]>, Bytes>>> = Arc::default();
    let handler = move |headers: HeaderMap, _: Bytes| async move {
        let response = Bytes::from(serde_json::to_vec(&Payment::sample()).unwrap_or_default());
        // Copies: what comes from the request would hold on to the buffer that it was read into.
        let key = headers.get("idempotency-key").map(|key| key.as_bytes().into());
        let record = key.map(|key| (key, Bytes::copy_from_slice(&response)));
        kept.lock().unwrap_or_else(PoisonError::into_inner).extend(record);
        ([(CONTENT_TYPE, "application/json")], response)
    };
    Router::new().route("/payments", post(handler))
}

/// A service on a port of its own, and connections to it that are open.
pub(crate) struct Served {
    address: SocketAddr,
    open: Mutex<Vec<TcpStream>>,
}

impl Served {
    pub(crate) async fn start(router: Router) -> io::Result<Self> {
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
