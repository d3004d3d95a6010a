//! The payment service: what one would copy.
//!
//! Everything that moves money goes through [`Service::once`]. Around it there is only HTTP.

use std::net::SocketAddr;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use idempotency::{Attempt, Effect, Error, Idempotency, Key, Outcome, RequireError, Requirements};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::gateway::{Answered, Gateway, GatewayError};
use crate::ledger::{Instruction, Kind};
use crate::orders::{Opened, Order, OrderError, Orders, Step};
use crate::problem::Problem;
use crate::request::{Body, Callback, NewPayment, NewRefund, bad_body, idempotency_key};

#[derive(Debug)]
pub(crate) struct Service {
    idempotency: Idempotency,
    gateway: Gateway,
    orders: Orders,
    /// Whether the provider acts at most once a downstream key. If not, we look before we repeat.
    provider_deduplicates: bool,
    /// Why the store is weaker than a payment service should have it, if it is.
    weakness: Option<String>,
    /// Whether another process of the service finds the keys of this one.
    keys_outlive_us: bool,
}

/// What the service needs to know to start.
#[derive(Debug)]
pub(crate) struct Settings<'a> {
    pub(crate) store: &'a str,
    pub(crate) lease: Duration,
    pub(crate) provider: SocketAddr,
    pub(crate) provider_deduplicates: bool,
    pub(crate) orders: &'a FilePath,
}

/// What a request came to; kept with its key, and given again to whoever asks again.
///
/// Kept as JSON, not as bincode, the library's default. A bincode value must come back as the very
/// type it was: an optional field that next month's release adds here would make today's answers
/// unreadable, and a tagged enum like this one cannot be read from it at all. JSON reads across such
/// changes, and whoever is on call can read it too.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
enum Answer {
    Paid {
        order_id: String,
        transaction_id: String,
        amount: u64,
        currency: String,
    },
    Refunded {
        order_id: String,
        refund_id: String,
        transaction_id: String,
        amount: u64,
        currency: String,
    },
    /// A decline is an answer like any other: asking again does not ask the card again.
    Declined {
        order_id: String,
        reason: String,
    },
    Confirmed {
        order_id: String,
        transaction_id: String,
    },
}

/// Why a run has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Idempotency(#[from] Error),
    #[error(transparent)]
    Provider(#[from] GatewayError),
    #[error(transparent)]
    Order(#[from] OrderError),
}

impl Failure {
    /// Which failures surely moved no money: after those, the key is free at once.
    fn effect(&self) -> Effect {
        match self {
            Self::Provider(GatewayError::NothingDone(_) | GatewayError::Barred) => Effect::None,
            Self::Order(
                OrderError::NotFound | OrderError::NotPaid | OrderError::Taken | OrderError::TooMuch { .. },
            ) => Effect::None,
            Self::Provider(GatewayError::AnswerLost(_)) | Self::Order(OrderError::Disk(_)) | Self::Idempotency(_) => {
                Effect::Unknown
            }
        }
    }
}

impl Service {
    pub(crate) async fn start(settings: Settings<'_>) -> Result<Arc<Self>, Box<dyn std::error::Error>> {
        let store = idempotency::connect(settings.store).await?;
        let idempotency = Idempotency::new(store)
            .with_codec(idempotency::Json)
            .with_lease(settings.lease)?
            // Longer than the provider is waited for, so that a hung run does not keep its key.
            .with_max_run(Duration::from_secs(60))?;
        // A service for real money would stop here, with `?`. This one goes on, for whoever tries it
        // on `memory:`, but says so in its log and at `/health`.
        let weakness = match idempotency.require(Requirements::new().survives_process_crash()).await {
            Ok(()) => None,
            Err(RequireError::TooWeak(weakness)) => Some(weakness.to_string()),
            Err(other) => return Err(other.into()),
        };
        if let Some(weakness) = &weakness {
            tracing::warn!("{weakness}");
        }
        // Keys on a server are there when this process is not, however well the server keeps them.
        let keys_outlive_us = weakness.is_none() || idempotency.require(Requirements::new().shared()).await.is_ok();
        Ok(Arc::new(Self {
            idempotency,
            gateway: Gateway::new(settings.provider),
            orders: Orders::open(settings.orders)?,
            provider_deduplicates: settings.provider_deduplicates,
            weakness,
            keys_outlive_us,
        }))
    }

    pub(crate) fn router(self: &Arc<Self>) -> Router {
        Router::new()
            .route("/payments", post(create))
            .route("/callbacks/{provider}", post(callback))
            .route("/orders/{order}/refunds", post(refund))
            .route("/orders/{order}", get(order))
            .route("/health", get(health))
            .with_state(self.clone())
    }

    /// Waits for the runs whose clients have gone away.
    pub(crate) async fn drain(&self, limit: Duration) {
        if let Err(error) = self.idempotency.drain(limit).await {
            tracing::warn!(%error, "ended before all was done");
        }
    }

    /// Moves money once for this key.
    async fn once(self: &Arc<Self>, key: &Key, step: Step) -> Result<Outcome<Answer>, Failure> {
        let call = self.idempotency.call(key).attribute("order", &step.order).effect_of(Failure::effect);
        let (app, to_do) = (self.clone(), step.clone());
        let run = move |attempt| async move { app.carry_out(&attempt, &to_do).await };
        // Spawned, so that a client that hangs up does not leave a charge half-way.
        if self.provider_deduplicates {
            return call.spawn(run).await;
        }
        let app = self.clone();
        call.reconcile(move |attempt| async move { app.look(&attempt, &step).await }).spawn(run).await
    }

    async fn carry_out(&self, attempt: &Attempt, step: &Step) -> Result<Answer, Failure> {
        let by = Opened { key: attempt.downstream().into(), fence: attempt.fence().get() };
        if let Some(transaction) = self.orders.begin(step, by.clone()).await? {
            tracing::warn!(order = step.order, transaction, "already done, skipping");
            return Ok(Answer::done(step, transaction));
        }
        let instruction = Instruction {
            key: by.key.clone(),
            fence: by.fence,
            kind: if step.refund.is_some() { Kind::Refund } else { Kind::Charge },
            order: step.order.clone(),
            amount: step.amount,
            currency: step.currency.clone(),
        };
        match self.gateway.carry_out(&instruction).await {
            Ok(Answered::Done(entry)) => {
                self.orders.done(step, &entry.id).await?;
                Ok(Answer::done(step, entry.id))
            }
            Ok(Answered::Declined(reason)) => {
                self.orders.close(step, by).await?;
                Ok(Answer::Declined { order_id: step.order.clone(), reason })
            }
            // This attempt did nothing; one before it may have.
            Err(error @ GatewayError::NothingDone(_)) if attempt.prior().is_none() => {
                self.orders.close(step, by).await?;
                Err(error.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Asks a provider that does not deduplicate what became of an attempt before this one. The fence
    /// goes along: the provider bars the earlier attempt with it, which may be on its way still.
    async fn look(&self, attempt: &Attempt, step: &Step) -> Result<Option<Answer>, Failure> {
        let found = self.gateway.look(attempt.downstream().as_str(), attempt.fence().get()).await?;
        let Some(entry) = found else { return Ok(None) };
        self.orders.done(step, &entry.id).await?;
        Ok(Some(Answer::done(step, entry.id)))
    }
}

type App = State<Arc<Service>>;

/// `POST /payments`
async fn create(State(app): App, headers: HeaderMap, body: Body<NewPayment>) -> Result<Response, Problem> {
    let key = idempotency_key(&headers)?;
    let Json(payment) = body?;
    payment.check()?;
    // With several merchants, `.scope(merchant)` keeps their keys apart.
    let key = Key::payment("create", key).request(&payment).build()?;
    let NewPayment { order_id: order, amount, currency } = payment;
    app.once(&key, Step { order, refund: None, amount, currency }).await.map(respond).map_err(Problem::from)
}

/// `POST /orders/{order}/refunds`
///
/// The refund's own id is part of the key. Under a key of the order alone (`payment:refund:ord_42`),
/// the second of two partial refunds would be answered with the first, and never paid out.
async fn refund(State(app): App, Path(order): Path<String>, body: Body<NewRefund>) -> Result<Response, Problem> {
    let Json(refund) = body?;
    refund.check()?;
    let NewRefund { refund_id, amount } = refund;
    let key = Key::refund(&order, &refund_id).request(&amount).build()?;
    let currency = app.orders.find(&order).await?.currency;
    app.once(&key, Step { order, refund: Some(refund_id), amount, currency }).await.map(respond).map_err(Problem::from)
}

/// `POST /callbacks/{provider}`
async fn callback(State(app): App, Path(provider): Path<String>, body: Body<Callback>) -> Result<Response, Problem> {
    let Json(callback) = body?;
    callback.check()?;
    let id = callback.transaction_id;
    // Anybody can send a callback: only what the provider itself says of the transaction counts.
    let Some(charge) = app.gateway.transaction(&id).await?.filter(|entry| entry.instruction.kind == Kind::Charge)
    else {
        return Err(bad_body("the provider knows of no such charge"));
    };
    let Instruction { order, key: charged_under, .. } = charge.instruction;
    let key = Key::callback(provider, &id).request(&order).build()?;
    let orders = app.orders.clone();
    let outcome =
        app.idempotency.call(&key).attribute("order", &order).effect_of(Failure::effect).spawn(|_| async move {
            // The database's own check, for the callback that comes again when its key is forgotten.
            orders.confirm(&order, &id, &charged_under).await?;
            Ok::<_, Failure>(Answer::Confirmed { order_id: order, transaction_id: id })
        });
    outcome.await.map(respond).map_err(Problem::from)
}

async fn order(State(app): App, Path(order): Path<String>) -> Result<Json<Order>, Problem> {
    Ok(Json(app.orders.find(&order).await?))
}

async fn health(State(app): App) -> Json<Value> {
    Json(json!({
        "status": "ok",
        "store_survives_a_crash": app.weakness.is_none(),
        "keys_outlive_the_service": app.keys_outlive_us,
        "warning": app.weakness,
    }))
}

fn respond(outcome: Outcome<Answer>) -> Response {
    let replayed = outcome.is_replay();
    if let Some(origin) = outcome.origin() {
        tracing::info!(order = origin.attributes.get("order"), attempt = origin.attempt, "answered as before");
    }
    // An answer whose recording failed is told all the same: the money moved. The library logs it.
    let answer = outcome.into_inner();
    let mut response = (answer.status(), Json(answer)).into_response();
    if replayed {
        response.headers_mut().insert("idempotency-replayed", HeaderValue::from_static("true"));
    }
    response
}

impl Answer {
    fn done(step: &Step, transaction_id: String) -> Self {
        let Step { order, refund, amount, currency } = step.clone();
        match refund {
            None => Self::Paid { order_id: order, transaction_id, amount, currency },
            Some(refund_id) => Self::Refunded { order_id: order, refund_id, transaction_id, amount, currency },
        }
    }

    const fn status(&self) -> StatusCode {
        match self {
            Self::Paid { .. } | Self::Refunded { .. } => StatusCode::CREATED,
            Self::Declined { .. } => StatusCode::PAYMENT_REQUIRED,
            Self::Confirmed { .. } => StatusCode::OK,
        }
    }
}
