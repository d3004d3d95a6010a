//! The middleware for clients over real sockets, mostly against a service with the layer for servers.

#[cfg(feature = "server")]
mod answers;
mod keys;
mod limits;
#[cfg(feature = "server")]
mod lost;
#[cfg(feature = "server")]
mod sdks;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use idempotency_http::client::reqwest_middleware::{ClientBuilder, ClientWithMiddleware, Error};
use idempotency_http::client::{ClientError, GaveUp, IdempotencyMiddleware, Retry};

use crate::support::serve;
use crate::support::wire::LONG;

/// What a server was asked and answered, as it saw it.
#[derive(Clone, Debug, Default)]
pub(super) struct Log(Arc<Mutex<Vec<Asked>>>);

#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// Each line of the key's header.
    pub(super) keys: Vec<String>,
    pub(super) at: Instant,
    /// `None` as long as there is none.
    pub(super) status: Option<u16>,
}

impl Log {
    /// Serves the router, and writes down what comes.
    pub(super) async fn serve(router: Router, header: &'static str) -> (SocketAddr, Self) {
        let log = Self::default();
        let written = log.clone();
        let write = move |request: Request, next: Next| {
            let written = written.clone();
            async move {
                let lines = request.headers().get_all(header);
                let keys = lines.iter().map(|line| line.to_str().unwrap().to_owned()).collect();
                let number = written.add(Asked { keys, at: Instant::now(), status: None });
                let response = next.run(request).await;
                written.0.lock().unwrap()[number].status = Some(response.status().as_u16());
                response
            }
        };
        (serve(router.layer(from_fn(write))).await, log)
    }

    fn add(&self, asked: Asked) -> usize {
        let mut log = self.0.lock().unwrap();
        log.push(asked);
        log.len() - 1
    }

    pub(super) fn all(&self) -> Vec<Asked> {
        self.0.lock().unwrap().clone()
    }

    pub(super) fn statuses(&self) -> Vec<Option<u16>> {
        self.all().iter().map(|asked| asked.status).collect()
    }

    /// The one key that all requests had, of which there were so many.
    #[track_caller]
    pub(super) fn one_key_of(&self, requests: usize) -> String {
        let all = self.all();
        assert_eq!(all.len(), requests, "{all:?}");
        let [key] = &all[0].keys[..] else { panic!("not one key: {all:?}") };
        assert!(all.iter().all(|asked| asked.keys == [key.as_str()]), "another key: {all:?}");
        key.clone()
    }
}

/// A client with the middleware, that pauses shortly.
pub(super) fn client(
    retry: Retry,
    change: impl FnOnce(IdempotencyMiddleware) -> IdempotencyMiddleware,
) -> ClientWithMiddleware {
    let once = change(IdempotencyMiddleware::new().with_retry(retry));
    ClientBuilder::new(reqwest::Client::builder().no_proxy().build().unwrap()).with(once).build()
}

pub(super) fn quick() -> Retry {
    Retry::new().with_pauses(Duration::from_millis(10), Duration::from_millis(50))
}

#[track_caller]
pub(super) fn told(error: Error) -> ClientError {
    ClientError::take(error).unwrap_or_else(|error| panic!("not the middleware's: {error:?}"))
}

#[track_caller]
pub(super) fn gave_up(error: Error) -> GaveUp {
    match told(error) {
        ClientError::GaveUp(gave_up) => *gave_up,
        other => panic!("{other:?}"),
    }
}

/// Waits until it is so.
pub(super) async fn until(so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < LONG, "it never came");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
