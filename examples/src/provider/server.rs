//! The provider as it answers, and misbehaves.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tower::ServiceExt;

use super::ledger::{Entry, Instruction, Ledger, Verdict};

/// Nothing is held for longer, whatever was asked.
const LONGEST_HOLD: Duration = Duration::from_secs(30);

/// What `POST /next/{fault}` knows.
const FAULTS: &str = "slow?ms=2000, fail, charge-then-drop, hold or charge-then-hold; for a look, hold-look\n";

/// How a charge or refund is to go wrong.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// Takes its time, then does it.
    Slow(Duration),
    /// Does nothing, and says so.
    Fail,
    /// Does it, and closes the connection without an answer.
    ChargeThenDrop,
    /// Does nothing until `POST /release`, then does it.
    Hold,
    /// Does it, and does not answer until `POST /release`.
    ChargeThenHold,
}

/// What the provider has seen.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Seen {
    /// Instructions that have begun and not ended.
    pub in_flight: usize,
    /// Those of them, and looks, that wait for `POST /release`.
    pub held: usize,
    /// Instructions answered with what had been done before.
    pub deduplicated: usize,
    /// Instructions refused because a later attempt had come before them.
    pub barred: usize,
}

#[derive(Debug)]
struct Provider {
    ledger: Mutex<Ledger>,
    faults: Mutex<VecDeque<Fault>>,
    /// How many of the next looks wait for `POST /release`.
    looks_to_hold: AtomicUsize,
    in_flight: AtomicUsize,
    held: AtomicUsize,
    deduplicated: AtomicUsize,
    barred: AtomicUsize,
    /// Counts the releases.
    released: watch::Sender<u64>,
}

/// What the provider answers.
pub fn router(ledger: Ledger) -> Router {
    let provider = Arc::new(Provider {
        ledger: Mutex::new(ledger),
        faults: Mutex::default(),
        looks_to_hold: AtomicUsize::new(0),
        in_flight: AtomicUsize::new(0),
        held: AtomicUsize::new(0),
        deduplicated: AtomicUsize::new(0),
        barred: AtomicUsize::new(0),
        released: watch::Sender::new(0),
    });
    Router::new()
        .route("/transactions", post(carry_out).get(look))
        .route("/transactions/{id}", get(transaction))
        .route("/next/{fault}", post(next))
        .route("/release", post(release))
        .route("/seen", get(seen))
        .with_state(provider)
}

/// An instruction, and what is noted with it.
#[derive(Debug, Deserialize)]
struct Asked {
    #[serde(flatten)]
    instruction: Instruction,
    reference: Option<String>,
    /// Whether it is to be declined, as with a test card.
    #[serde(default)]
    decline: bool,
}

/// `POST /transactions`: a charge or a refund.
async fn carry_out(State(provider): State<Arc<Provider>>, Json(asked): Json<Asked>) -> Response {
    // In a task: a provider does not stop half-way because its caller hung up.
    let work = tokio::spawn(async move {
        provider.in_flight.fetch_add(1, Ordering::SeqCst);
        let answer = provider.work(asked).await;
        provider.in_flight.fetch_sub(1, Ordering::SeqCst);
        answer
    });
    work.await.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

impl Provider {
    async fn work(self: &Arc<Self>, Asked { instruction, reference, decline }: Asked) -> Response {
        let fault = lock(&self.faults).pop_front();
        match fault {
            Some(Fault::Slow(time)) => sleep(time).await,
            Some(Fault::Hold) => self.hold().await,
            Some(Fault::Fail) => {
                return (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"error": "nothing was done"}))).into_response();
            }
            Some(Fault::ChargeThenDrop | Fault::ChargeThenHold) | None => {}
        }
        let verdict = if decline {
            Ok(Verdict::Declined("as was asked for"))
        } else {
            self.on_ledger(move |ledger| ledger.carry_out(instruction, reference)).await
        };
        match fault {
            Some(Fault::ChargeThenDrop) => return hang_up(),
            Some(Fault::ChargeThenHold) => self.hold().await,
            Some(Fault::Slow(_) | Fault::Fail | Fault::Hold) | None => {}
        }
        match verdict {
            Ok(Verdict::Made(entry)) => (StatusCode::CREATED, Json(entry)).into_response(),
            Ok(Verdict::Deduplicated(entry)) => {
                self.deduplicated.fetch_add(1, Ordering::SeqCst);
                Json(entry).into_response()
            }
            Ok(Verdict::Declined(why)) => {
                (StatusCode::PAYMENT_REQUIRED, Json(json!({"declined": why}))).into_response()
            }
            Ok(Verdict::Barred) => {
                self.barred.fetch_add(1, Ordering::SeqCst);
                barred()
            }
            Err(error) => broken(&error),
        }
    }

    async fn hold(&self) {
        let mut released = self.released.subscribe();
        self.held.fetch_add(1, Ordering::SeqCst);
        let _ = timeout(LONGEST_HOLD, released.changed()).await;
        self.held.fetch_sub(1, Ordering::SeqCst);
    }

    /// The ledger waits for the disk, which must not hold up the runtime.
    async fn on_ledger<T: Send + 'static>(
        self: &Arc<Self>,
        act: impl FnOnce(&mut Ledger) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let provider = self.clone();
        tokio::task::spawn_blocking(move || act(&mut lock(&provider.ledger))).await.map_err(io::Error::other)?
    }
}

#[derive(Debug, Deserialize)]
struct Look {
    key: Option<String>,
    fence: Option<u64>,
    reference: Option<String>,
}

/// `GET /transactions?key=…&fence=…`: what was done under a key. With a fence, nothing is done any
/// more for attempts with a smaller one: without that, "nothing was done" could turn false a moment
/// after it was said. `GET /transactions?reference=…`: what was done with that reference.
async fn look(State(provider): State<Arc<Provider>>, Query(Look { key, fence, reference }): Query<Look>) -> Response {
    let key = match (key, reference) {
        (Some(key), None) => key,
        (None, Some(reference)) => return Json(lock(&provider.ledger).with_reference(&reference)).into_response(),
        _ => return (StatusCode::BAD_REQUEST, "a key, or a reference\n").into_response(),
    };
    if provider.looks_to_hold.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |looks| looks.checked_sub(1)).is_ok() {
        provider.hold().await;
    }
    match provider.on_ledger(move |ledger| ledger.look(&key, fence)).await {
        Ok(Some(entries)) => Json(entries).into_response(),
        Ok(None) => barred(),
        Err(error) => broken(&error),
    }
}

async fn transaction(State(provider): State<Arc<Provider>>, Path(id): Path<String>) -> Result<Json<Entry>, StatusCode> {
    lock(&provider.ledger).transaction(&id).cloned().map(Json).ok_or(StatusCode::NOT_FOUND)
}

#[derive(Debug, Deserialize)]
struct For {
    ms: Option<u64>,
}

/// `POST /next/{fault}`: how the next charge or refund is to go wrong; told again, the one after it.
async fn next(
    State(provider): State<Arc<Provider>>,
    Path(fault): Path<String>,
    Query(For { ms }): Query<For>,
) -> Result<StatusCode, (StatusCode, &'static str)> {
    let fault = match fault.as_str() {
        "slow" => Fault::Slow(Duration::from_millis(ms.unwrap_or(2_000))),
        "fail" => Fault::Fail,
        "charge-then-drop" => Fault::ChargeThenDrop,
        "hold" => Fault::Hold,
        "charge-then-hold" => Fault::ChargeThenHold,
        "hold-look" => {
            provider.looks_to_hold.fetch_add(1, Ordering::SeqCst);
            return Ok(StatusCode::NO_CONTENT);
        }
        _ => return Err((StatusCode::NOT_FOUND, FAULTS)),
    };
    lock(&provider.faults).push_back(fault);
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /release`: lets go of all that is held, and forgets what was still to go wrong.
async fn release(State(provider): State<Arc<Provider>>) -> StatusCode {
    lock(&provider.faults).clear();
    provider.looks_to_hold.store(0, Ordering::SeqCst);
    provider.released.send_modify(|releases| *releases += 1);
    StatusCode::NO_CONTENT
}

async fn seen(State(provider): State<Arc<Provider>>) -> Json<Seen> {
    let now = |count: &AtomicUsize| count.load(Ordering::SeqCst);
    Json(Seen {
        in_flight: now(&provider.in_flight),
        held: now(&provider.held),
        deduplicated: now(&provider.deduplicated),
        barred: now(&provider.barred),
    })
}

fn barred() -> Response {
    (StatusCode::CONFLICT, Json(json!({"error": "a later attempt was here before"}))).into_response()
}

fn broken(error: &io::Error) -> Response {
    tracing::error!(%error, "the ledger cannot be written");
    // Whether the line is on disk is not known, and so nothing is said.
    hang_up()
}

/// Marks an answer that is never given.
#[derive(Clone, Copy, Debug)]
struct HangUp;

fn hang_up() -> Response {
    let mut response = Response::default();
    response.extensions_mut().insert(HangUp);
    response
}

/// Serves until it is dropped. By hand rather than `axum::serve`, which has no way not to answer.
pub async fn serve(listener: TcpListener, router: Router) -> io::Result<Infallible> {
    loop {
        let (stream, _): (_, SocketAddr) = listener.accept().await?;
        let router = router.clone();
        let answer = service_fn(move |request| {
            let router = router.clone();
            async move {
                let response = match router.oneshot(request).await {
                    Ok(response) => response,
                    Err(never) => match never {},
                };
                // An error makes hyper close the connection there and then.
                if response.extensions().get::<HangUp>().is_some() { Err("hang up") } else { Ok(response) }
            }
        });
        tokio::spawn(async move {
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
