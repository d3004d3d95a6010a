//! The payment service: what one would copy.
//!
//! The routes that move money stand behind the layer ([`Service::router`]): their handlers run once a key, and
//! are told by the [`Attempt`] what to send along and what came before.

use std::net::SocketAddr;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use idempotency::http::names::IDEMPOTENCY_KEY;
use idempotency::http::server::{BodyForm, IdempotencyLayer, Policy, PolicyPage, json_field};
use idempotency::{Attempt, Idempotency, Purging, Requirements};
use idempotency_examples::Failure;
use idempotency_examples::app;
use serde::Serialize;
use serde_json::{Value, json};

use crate::orders::{Charge, Opened, Order, Orders, Step};
use crate::request::{Body, Callback, NewPayment, NewRefund, bad_body};
use crate::store;
use idempotency_examples::problem::Problem;
use idempotency_examples::provider::gateway::{Answered, Gateway, GatewayError};
use idempotency_examples::provider::ledger::{Instruction, Kind};

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
    /// What is past its retention is removed from the store for as long as this is kept.
    _purging: Purging,
}

/// What the service needs to know to start.
#[derive(Debug)]
pub(crate) struct Settings<'a> {
    pub(crate) store: &'a str,
    pub(crate) lease: Duration,
    pub(crate) provider: SocketAddr,
    pub(crate) provider_deduplicates: bool,
    /// The journal of the orders, where they are not in the store's Postgres.
    pub(crate) orders: &'a FilePath,
}

/// What a request came to. The layer keeps the response that is made of it, so it may change from one release
/// to the next.
#[derive(Debug, Serialize)]
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

impl Service {
    pub(crate) async fn start(settings: Settings<'_>) -> Result<Arc<Self>, Failure> {
        let (idempotency, orders, purging) = store::open(&settings).await?;
        // A service for real money would demand it: `idempotency.require(…).await?`.
        let weakness = app::weakness(&idempotency).await?;
        // Keys on a server are there when this process is not, however well the server keeps them.
        let keys_outlive_us = weakness.is_none() || idempotency.require(Requirements::new().shared()).await.is_ok();
        Ok(Arc::new(Self {
            idempotency,
            gateway: Gateway::new(settings.provider),
            orders,
            provider_deduplicates: settings.provider_deduplicates,
            weakness,
            keys_outlive_us,
            _purging: purging,
        }))
    }

    pub(crate) fn router(self: &Arc<Self>) -> Router {
        // A JSON body counts by its content: a retry may write its fields in another order.
        let by_header = Policy::new().with_body_form(BodyForm::Json);
        // With several merchants, `.with_scope(merchant)` keeps their keys apart.
        let by_order = by_header.clone().with_key_from(unless_sent(path_and("/order_id")));
        let by_refund = by_header.clone().with_key_from(path_and("/refund_id"));
        let by_transaction = by_header.with_key_from(path_and("/transaction_id"));
        let policies = PolicyPage::new(&self.idempotency)
            .with_policy(["POST /payments"], &by_order)
            .with_policy(["POST /orders/{order}/refunds"], &by_refund)
            .with_policy(["POST /callbacks/{provider}"], &by_transaction);
        let once = |policy| IdempotencyLayer::new(self.idempotency.clone()).with_policy(policy);
        Router::new()
            .route("/payments", post(create).layer(once(by_order)))
            .route("/orders/{order}/refunds", post(refund).layer(once(by_refund)))
            .route("/callbacks/{provider}", post(callback).layer(once(by_transaction)))
            .route("/orders/{order}", get(order))
            .route("/health", get(health))
            .with_state(self.clone())
            .merge(policies.into_router())
    }

    pub(crate) const fn idempotency(&self) -> &Idempotency {
        &self.idempotency
    }

    /// Moves money, in a run that no other with its key is beside.
    async fn carry_out(&self, attempt: &Attempt, step: &Step) -> Result<Answer, Problem> {
        // A provider that deduplicates on the downstream key is simply asked again.
        if attempt.prior().is_some()
            && !self.provider_deduplicates
            && let Some(answer) = self.look(attempt, step).await?
        {
            return Ok(answer);
        }
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
                // An attempt before this one may yet be paid, when another key has paid the order. The look bars it.
                if attempt.prior().is_some()
                    && let Some(answer) = self.look(attempt, step).await?
                {
                    return Ok(answer);
                }
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
    async fn look(&self, attempt: &Attempt, step: &Step) -> Result<Option<Answer>, Problem> {
        let found = self.gateway.look(attempt.downstream().as_str(), attempt.fence().get()).await?;
        let Some(entry) = found else { return Ok(None) };
        self.orders.done(step, &entry.id).await?;
        Ok(Some(Answer::done(step, entry.id)))
    }
}

type App = State<Arc<Service>>;
type Run = Extension<Attempt>;

/// The path, which names the order or the provider, and an id from the body: the key of a request that has one
/// without its client's doing.
///
/// Under a key of the order alone, the second of two partial refunds would be answered with the first, and
/// never paid out.
fn path_and(id: &'static str) -> impl Fn(&Parts, &Bytes) -> Option<String> + Send + Sync + 'static {
    let field = json_field(id);
    move |head, body| Some(format!("{}/{}", head.uri.path(), field(head, body)?))
}

/// A client that sends a key of its own has that one: it may try an order again that was declined.
fn unless_sent<F>(key: F) -> impl Fn(&Parts, &Bytes) -> Option<String> + Send + Sync + 'static
where
    F: Fn(&Parts, &Bytes) -> Option<String> + Send + Sync + 'static,
{
    move |head, body| if head.headers.contains_key(IDEMPOTENCY_KEY) { None } else { key(head, body) }
}

/// `POST /payments`
async fn create(State(app): App, attempt: Run, body: Body<NewPayment>) -> Result<Answer, Problem> {
    let Json(payment) = body?;
    payment.check()?;
    let NewPayment { order_id: order, amount, currency } = payment;
    app.carry_out(&attempt, &Step { order, refund: None, amount, currency }).await
}

/// `POST /orders/{order}/refunds`
async fn refund(
    State(app): App,
    Path(order): Path<String>,
    attempt: Run,
    body: Body<NewRefund>,
) -> Result<Answer, Problem> {
    let Json(refund) = body?;
    refund.check()?;
    let NewRefund { refund_id, amount } = refund;
    let currency = app.orders.find(&order).await?.currency;
    app.carry_out(&attempt, &Step { order, refund: Some(refund_id), amount, currency }).await
}

/// `POST /callbacks/{provider}`
async fn callback(State(app): App, body: Body<Callback>) -> Result<Answer, Problem> {
    let Json(callback) = body?;
    callback.check()?;
    let id = callback.transaction_id;
    // Anybody can send a callback: only what the provider itself says of the transaction counts.
    let Some(charge) = app.gateway.transaction(&id).await?.filter(|entry| entry.instruction.kind == Kind::Charge)
    else {
        return Err(bad_body("the provider knows of no such charge"));
    };
    let Instruction { order, key, .. } = charge.instruction;
    // The database's own check, for the callback that comes again when its key is forgotten.
    app.orders.confirm(Charge { order: order.clone(), transaction: id.clone(), key }).await?;
    Ok(Answer::Confirmed { order_id: order, transaction_id: id })
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

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        (self.status(), Json(self)).into_response()
    }
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
