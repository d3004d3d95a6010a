//! A small HTTP client for loopback: one connection a request, and errors that say whether it may have been carried out.

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long an answer is waited for unless the request says otherwise.
const LIMIT: Duration = Duration::from_secs(20);

/// A request on its way to be sent, on a connection of its own.
#[derive(Debug)]
#[must_use = "a request does nothing until `send`"]
pub struct Ask {
    to: SocketAddr,
    request: axum::http::request::Builder,
    body: Vec<u8>,
    limit: Duration,
}

/// A GET, not yet sent.
pub fn get(to: SocketAddr, path: &str) -> Ask {
    ask(Method::GET, to, path, Vec::new())
}

/// A POST with a JSON body, not yet sent.
pub fn post(to: SocketAddr, path: &str, body: &impl Serialize) -> Ask {
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
    /// Adds a header.
    pub fn header(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        Self { request: self.request.header(name, value.as_ref()), ..self }
    }

    /// Sends the request. Dropped, it hangs up.
    pub async fn send(self) -> Result<Reply, NoReply> {
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

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Reply {
    /// The body, read as JSON.
    ///
    /// # Errors
    ///
    /// If it is not JSON, or of another shape.
    pub fn json<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_slice(&self.body)
    }

    /// A header, if it is there and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// There is no answer; whether the request was carried out depends.
#[derive(Debug, thiserror::Error)]
pub enum NoReply {
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
