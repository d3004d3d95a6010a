//! The checkout service: what one would copy.
//!
//! `POST /api/checkout/create-order` stands behind the layer ([`Checkout::router`]): its handler runs once a key,
//! and is told by the [`Attempt`] what to send along and what came before.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use idempotency::http::names::IDEMPOTENCY_KEY;
use idempotency::http::server::{BodyForm, IdempotencyLayer, Policy, PolicyPage};
use idempotency::{Attempt, Idempotency, Key, PurgeSchedule, Purging};
use idempotency_examples::Failure;
use idempotency_examples::app::{self, Service, Setting};
use idempotency_examples::problem::Problem;
use idempotency_examples::provider::gateway::{Answered, Gateway, GatewayError};
use idempotency_examples::provider::ledger::{Instruction, Kind};
use serde::Serialize;
use serde_json::{Value, json};

use crate::cart::{CURRENCY, Cart, VARIANTS};
use crate::shop::{By, Order, Reserved, Shop};
use crate::{page, session};

/// How long an answer is given again.
const RETENTION: Duration = Duration::from_secs(24 * 60 * 60);
/// Longer than the provider is waited for, so that a hung run does not keep its key.
const LONGEST_RUN: Duration = Duration::from_secs(60);
/// How often what is past its retention is removed from the store, which else grows for ever.
const PURGED_EVERY: Duration = Duration::from_secs(10 * 60);
const STOCK: u32 = 100;

#[derive(Debug)]
struct Checkout {
    idempotency: Idempotency,
    gateway: Gateway,
    shop: Shop,
    /// Whether the provider acts at most once a downstream key. If not, we look before we repeat.
    provider_deduplicates: bool,
    /// Why the store is weaker than a checkout should have it, if it is.
    weakness: Option<String>,
    /// What is past its retention is removed from the store for as long as this is kept.
    _purging: Purging,
}

/// What a cart came to. The layer keeps the response that is made of it, and gives it again.
#[derive(Debug, Serialize)]
#[serde(tag = "status", rename_all = "camelCase", rename_all_fields = "camelCase")]
enum Answer {
    Paid {
        order_id: String,
        transaction_id: String,
        #[serde(flatten)]
        cart: Cart,
        /// The client's own, or the one that was made for it, to ask again with.
        idempotency_key: String,
    },
    /// A decline is an answer like any other: asking again does not ask the card again.
    Declined { order_id: String, reason: String, idempotency_key: String },
}

pub(crate) async fn start(setting: Setting) -> Result<Service, Failure> {
    let stock = setting.option("stock").map_or(Ok(STOCK), str::parse);
    let stock = stock.map_err(|_| "--stock is a whole number, as in `--stock 100`")?;
    let store = idempotency::connect(&setting.store).await?;
    let idempotency = Idempotency::new(store.clone()).with_lease(setting.lease)?.with_max_run(LONGEST_RUN)?;
    // A shop for real money would demand it: `idempotency.require(…).await?`.
    let weakness = app::weakness(&idempotency).await?;
    let checkout = Arc::new(Checkout {
        idempotency: idempotency.clone(),
        gateway: Gateway::new(setting.provider.ok_or("the checkout needs a payment provider")?),
        shop: Shop::open(&setting.folder.join("shop.jsonl"), stock)?,
        provider_deduplicates: setting.provider_deduplicates,
        weakness,
        // At the start, too: a process that is replaced sooner than that would never come to it.
        _purging: PurgeSchedule::every(PURGED_EVERY)?.at_start().start(store, |_| {}),
    });
    Ok(Service { router: checkout.router()?, idempotency })
}

type App = State<Arc<Checkout>>;

impl Checkout {
    fn router(self: &Arc<Self>) -> Result<Router, Failure> {
        let policy = Policy::new()
            .with_retention(RETENTION)?
            // A retry may write its fields in another order.
            .with_body_form(BodyForm::Json)
            // The cookie is a secret between us and one browser: nobody else's key is ever its own.
            .with_scope(|head| Some(session::of(&head.headers).unwrap_or_else(|| "no session".into())))
            .with_key_from(key_of_cart);
        let create_order = "/api/checkout/create-order";
        let policies = PolicyPage::new(&self.idempotency).with_policy([&*format!("POST {create_order}")], &policy);
        let once = IdempotencyLayer::new(self.idempotency.clone()).with_policy(policy);
        Ok(Router::new()
            .route(create_order, post(create).layer(once))
            .route("/api/checkout/orders/{order}", get(order))
            .route("/api/checkout/variants", get(variants))
            .route("/orders/{order}", get(order_page))
            .route("/health", get(health))
            .with_state(self.clone())
            .merge(page::router())
            .merge(policies.into_router()))
    }

    /// Reserves, has it paid, and confirms: in a run that no other with its key is beside.
    async fn buy(&self, attempt: &Attempt, by: By, cart: Cart) -> Result<Answer, Problem> {
        // A provider that deduplicates on the downstream key is simply asked again.
        if attempt.prior().is_some()
            && !self.provider_deduplicates
            && let Some(transaction) = self.look(attempt).await?
        {
            return self.paid(by, cart, transaction).await;
        }
        if let Reserved::Paid(transaction) = self.shop.reserve(by.clone(), cart.clone()).await? {
            tracing::warn!(order = by.order, transaction, "already paid, skipping");
            return Ok(Answer::paid(by, cart, transaction));
        }
        let instruction = Instruction {
            key: attempt.downstream().into(),
            fence: attempt.fence().get(),
            kind: Kind::Charge,
            order: by.order.clone(),
            amount: cart.amount,
            currency: CURRENCY.into(),
        };
        match self.gateway.carry_out_noting(&instruction, &by.key).await {
            Ok(Answered::Done(entry)) => self.paid(by, cart, entry.id).await,
            Ok(Answered::Declined(reason)) => {
                // An attempt before this one may yet be paid, and its stock then be sold to somebody else. The look
                // bars it.
                if attempt.prior().is_some()
                    && let Some(transaction) = self.look(attempt).await?
                {
                    return self.paid(by, cart, transaction).await;
                }
                self.shop.give_back(by.clone(), reason.clone()).await?;
                Ok(Answer::Declined { order_id: by.order, reason, idempotency_key: by.key })
            }
            // This attempt did nothing; one before it may have.
            Err(error @ GatewayError::NothingDone(_)) if attempt.prior().is_none() => {
                self.shop.give_back(by, error.to_string()).await?;
                Err(error.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn paid(&self, by: By, cart: Cart, transaction: String) -> Result<Answer, Problem> {
        self.shop.paid(by.clone(), transaction.clone()).await?;
        Ok(Answer::paid(by, cart, transaction))
    }

    /// What the provider has done for this key. The fence goes along: the provider bars earlier attempts with it,
    /// which may be on their way still.
    async fn look(&self, attempt: &Attempt) -> Result<Option<String>, GatewayError> {
        let found = self.gateway.look(attempt.downstream().as_str(), attempt.fence().get()).await?;
        Ok(found.map(|entry| entry.id))
    }
}

/// The key of a request that has none: what is in the cart, in this session. Where there is no session either,
/// nothing tells two customers with the same wish apart, and there is no key.
fn key_of_cart(head: &Parts, body: &Bytes) -> Option<String> {
    if head.headers.contains_key(IDEMPOTENCY_KEY) {
        return None;
    }
    session::of(&head.headers)?;
    // A body that is no JSON has a key all the same, and is then told what is wrong with it.
    let content: Value = serde_json::from_slice(body).unwrap_or_default();
    let key = Key::from_payload("cart", &content).build().ok()?;
    key.id_parts().next()
}

/// `POST /api/checkout/create-order`
async fn create(
    State(app): App,
    attempt: Extension<Attempt>,
    body: Result<Json<Cart>, JsonRejection>,
) -> Result<Answer, Problem> {
    let Json(cart) = body?;
    cart.check()?;
    let by = By {
        // The same for every attempt, as the provider's is, and shows nothing of the key.
        order: attempt.key().downstream_for("order").into(),
        key: attempt.key().id_parts().collect(),
        fence: attempt.fence().get(),
    };
    app.buy(&attempt, by, cart).await
}

async fn order(State(app): App, Path(order): Path<String>) -> Result<Json<Order>, Problem> {
    Ok(Json(app.shop.find(&order)?))
}

async fn order_page(State(app): App, Path(order): Path<String>) -> Result<Response, Problem> {
    Ok(page::order(&order, &app.shop.find(&order)?))
}

async fn variants(State(app): App) -> Json<Value> {
    let variants = VARIANTS.map(|variant| {
        let left = app.shop.left(variant.id);
        json!({ "id": variant.id, "name": variant.name, "price": variant.price, "currency": CURRENCY, "left": left })
    });
    Json(json!(variants))
}

async fn health(State(app): App) -> Json<Value> {
    Json(json!({ "status": "ok", "warning": app.weakness }))
}

impl Answer {
    fn paid(by: By, cart: Cart, transaction_id: String) -> Self {
        Self::Paid { order_id: by.order, transaction_id, cart, idempotency_key: by.key }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let status = match self {
            Self::Paid { .. } => StatusCode::CREATED,
            Self::Declined { .. } => StatusCode::PAYMENT_REQUIRED,
        };
        (status, Json(self)).into_response()
    }
}
