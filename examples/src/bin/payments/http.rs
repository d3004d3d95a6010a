//! Plain HTTP over loopback: a small client, and a listener with errors that help.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// How long an answer is waited for unless the request says otherwise.
const LIMIT: Duration = Duration::from_secs(20);

/// A request on its way to be sent, on a connection of its own.
#[derive(Debug)]
#[must_use = "a request does nothing until `send`"]
pub(crate) struct Ask {
    to: SocketAddr,
    request: axum::http::request::Builder,
    body: Vec<u8>,
    limit: Duration,
}

pub(crate) fn get(to: SocketAddr, path: &str) -> Ask {
    ask(Method::GET, to, path, Vec::new())
}

pub(crate) fn post(to: SocketAddr, path: &str, body: &impl Serialize) -> Ask {
    // What we send are plain structs and `json!` values; they do not fail to serialize.
    ask(Method::POST, to, path, serde_json::to_vec(body).unwrap_or_default())
}

fn ask(method: Method, to: SocketAddr, path: &str, body: Vec<u8>) -> Ask {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, to.to_string())
        .header(header::CONTENT_TYPE, "application/json");
    Ask { to, request, body, limit: LIMIT }
}

impl Ask {
    pub(crate) fn header(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        Self { request: self.request.header(name, value.as_ref()), ..self }
    }

    /// Sends the request. Dropped, it hangs up.
    pub(crate) async fn send(self) -> Result<Reply, NoReply> {
        let Self { to, request, body, limit } = self;
        let request =
            request.body(Full::new(Bytes::from(body))).map_err(|error| NoReply::NotSent(error.to_string()))?;
        let stream = match timeout(limit, TcpStream::connect(to)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(NoReply::NotSent(format!("cannot connect to {to}: {error}"))),
            Err(_) => return Err(NoReply::NotSent(format!("cannot connect to {to} within {limit:?}"))),
        };
        let exchange = async {
            stream.set_nodelay(true).map_err(|error| NoReply::Lost(error.to_string()))?;
            let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            let answer = async move {
                let (head, body) = sender.send_request(request).await?.into_parts();
                let body = body.collect().await?.to_bytes();
                Ok(Reply { status: head.status, headers: head.headers, body })
            };
            // The connection does the work of the answer; how it ends after that does not matter.
            tokio::join!(answer, connection).0
        };
        timeout(limit, exchange).await.unwrap_or_else(|_| Err(NoReply::Lost(format!("no answer within {limit:?}"))))
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn json<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_slice(&self.body)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// There is no answer; whether the request was carried out depends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoReply {
    /// It was not: it never left.
    #[error("{0}")]
    NotSent(String),
    /// Nobody knows.
    #[error("{0}")]
    Lost(String),
}

impl From<hyper::Error> for NoReply {
    fn from(error: hyper::Error) -> Self {
        Self::Lost(error.to_string())
    }
}

/// Listens on loopback; port 0 takes any that is free.
pub(crate) async fn listen(port: u16) -> Result<TcpListener, ListenError> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => ListenError::InUse { port },
        _ => ListenError::Other { port, source },
    })
}

/// A port cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    #[error("port {port} of 127.0.0.1 is in use by another process; end it, or choose another port with --port")]
    InUse { port: u16 },
    #[error("cannot listen on port {port} of 127.0.0.1: {source}; choose another port with --port")]
    Other { port: u16, source: io::Error },
}
