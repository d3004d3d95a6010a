//! The service: what one would copy.
//!
//! A webhook is worth something once its signature is: that is looked at first ([`verified`]). Then the layer stands
//! before the handler, which runs once a key.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use http_body_util::LengthLimitError;
use idempotency::http::server::{BodyForm, IdempotencyLayer, Policy, PolicyPage};
use idempotency::postgres::sqlx::postgres::PgPool;
use idempotency::postgres::{PostgresStore, PostgresStoreConfig};
use idempotency::{Attempt, Idempotency, Store};
use idempotency_examples::Failure;
use idempotency_examples::app::{self, Setting};
use idempotency_examples::problem::Problem;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::books::{Books, Entry, Journaled, Order, Tables};
use crate::clean_up::CleanUp;
use crate::event::{Event, FORMAT, Sent, bad_body, is_id};
use crate::settings::Settings;
use crate::signature::{self, SIGNATURE};
use crate::statistics::{CountError, Statistics};

/// The header that a sender may name its own key by; without it, the event's id is the key.
const KEY: &str = "X-Idempotency-Key";
/// The largest body, and how long it may take.
const LARGEST_BODY: usize = 1 << 20;
const LONGEST_BODY: Duration = Duration::from_secs(30);

struct Service {
    settings: Settings,
    books: Books,
    statistics: Statistics,
    clean_up: Arc<CleanUp>,
    /// Why the store is weaker than such a service should have it, if it is.
    weakness: Option<String>,
}

type App = State<Arc<Service>>;

/// What a webhook came to.
#[derive(Debug, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
enum Answer {
    Booked {
        entry: Entry,
    },
    /// Of a type that means nothing for the books. It is an answer: the provider need not send it again.
    Ignored {
        event: String,
    },
}

pub(crate) async fn start(setting: Setting) -> Result<app::Service, Failure> {
    let settings = Settings::read(&setting)?;
    let Opened { store, books, database } = open(&setting).await?;
    let idempotency = Idempotency::new(store.clone())
        .with_lease(setting.lease)?
        .with_retention(settings.ttl)?
        .with_max_run(Duration::from_secs(60))?;
    // A service for real money would demand it: `idempotency.require(…).await?`.
    let weakness = app::weakness(&idempotency).await?;
    let clean_up = CleanUp::new(idempotency.clone(), store.clone(), settings.clean_up.clone());
    tokio::spawn(clean_up.clone().run(settings.clean_up_on_start));
    let statistics = Statistics::new(store, database, settings.statistics_age);
    let service = Arc::new(Service { settings, books, statistics, clean_up, weakness });
    Ok(app::Service { router: router(service, &idempotency)?, idempotency })
}

struct Opened {
    store: Store,
    books: Books,
    /// The database that both are in, if they are in one.
    database: Option<PgPool>,
}

async fn open(setting: &Setting) -> Result<Opened, Failure> {
    if setting.store.starts_with("postgres") {
        let store = Arc::new(PostgresStore::open(PostgresStoreConfig::from_url(&setting.store)?).await?);
        let database = PgPool::connect(&setting.store).await?;
        let books = Books::Tables(Tables::open(database.clone()).await?);
        return Ok(Opened { store, books, database: Some(database) });
    }
    let books = Books::Journaled(Journaled::open(&setting.folder.join("ledger.jsonl"))?);
    Ok(Opened { store: idempotency::connect(&setting.store).await?, books, database: None })
}

fn router(service: Arc<Service>, idempotency: &Idempotency) -> Result<Router, Failure> {
    let policy = Policy::new()
        .with_enabled(service.settings.enabled)
        .with_header_names([KEY])?
        .with_key_from(event_id)
        .with_key_format(FORMAT, is_id)
        // Two sources may have the same id for two events.
        .with_scope(|head| Some(head.extensions.get::<Sent>()?.source.clone()))
        // A provider may write its fields in another order when it sends again.
        .with_body_form(BodyForm::Json)
        .with_attributes(|head, _| {
            head.extensions.get::<Sent>().map(|sent| sent.attributes.clone()).unwrap_or_default()
        });
    let page = PolicyPage::new(idempotency).with_policy(["POST /api/v1/whatsapp/webhook"], &policy);
    let once = IdempotencyLayer::new(idempotency.clone()).with_policy(policy);
    let for_admins = Router::new()
        .route("/api/v1/webhooks/statistics", get(statistics))
        .route("/api/v1/webhooks/cleanup", get(clean_up))
        .route("/api/v1/orders/{source}/{order}", get(order))
        .layer(from_fn_with_state(service.clone(), admin));
    // What is added last stands outermost: the signature first, then the key.
    let webhook = post(webhook).layer(once).layer(from_fn_with_state(service.clone(), verified));
    Ok(Router::new()
        .route("/api/v1/whatsapp/webhook", webhook)
        .route("/api/v1/whatsapp/test", get(test))
        .merge(for_admins)
        .with_state(service)
        .merge(page.into_router()))
}

/// The provider's id for the event, where the header is absent.
fn event_id(head: &Parts, _: &Bytes) -> Option<String> {
    if head.headers.contains_key(KEY) {
        return None;
    }
    Some(head.extensions.get::<Sent>()?.event.id.clone())
}

/// Lets through what a provider has signed, and not long ago. Whatever is not costs no look-up, and learns nothing of
/// keys.
async fn verified(State(app): App, request: Request, next: Next) -> Result<Response, Problem> {
    let (mut head, body) = request.into_parts();
    let body = whole(body).await?;
    let signature = head.headers.get(SIGNATURE).map(|value| value.to_str().unwrap_or_default());
    let Settings { secrets, window, .. } = &app.settings;
    let source = secrets.source_of(signature, &body, SystemTime::now(), *window)?;
    let sent = Sent::by(source, Event::read(&body)?)?;
    head.extensions.insert(sent.clone());
    let response = next.run(Request::from_parts(head, Body::from(body))).await;
    if app.statistics.count(&response) {
        tracing::info!(source, event = sent.event.id, "idempotency cache hit");
    }
    Ok(response)
}

async fn whole(body: Body) -> Result<Bytes, Problem> {
    match timeout(LONGEST_BODY, to_bytes(body, LARGEST_BODY)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(error)) => Err(match error.into_inner().is::<LengthLimitError>() {
            true => Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", "a webhook has 1 MiB at the most"),
            false => bad_body("the body did not come whole"),
        }),
        Err(_) => Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "body-too-slow", "the body did not come within 30 s")),
    }
}

/// `POST /api/v1/whatsapp/webhook`. There is no attempt where idempotency is turned off.
async fn webhook(
    State(app): App,
    Extension(sent): Extension<Sent>,
    attempt: Option<Extension<Attempt>>,
) -> Result<Json<Answer>, Problem> {
    let Sent { source, event, .. } = &sent;
    let attempt = attempt.map_or(0, |attempt| attempt.number());
    tracing::info!(source, event = event.id, kind = event.kind, attempt, "idempotency key is new");
    match Entry::of(&sent) {
        Some(entry) => {
            app.books.book(entry.clone()).await?;
            Ok(Json(Answer::Booked { entry }))
        }
        None => Ok(Json(Answer::Ignored { event: sent.event.id })),
    }
}

/// Lets through who has the token, where one is set.
async fn admin(State(app): App, request: Request, next: Next) -> Result<Response, Problem> {
    if let Some(token) = &app.settings.admin_token {
        let sent =
            request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        if !sent.is_some_and(|sent| signature::is_same(sent, token)) {
            let detail = "send Authorization: Bearer TOKEN, with the token that the service was started with";
            return Err(Problem::new(StatusCode::UNAUTHORIZED, "not-admin", detail));
        }
    }
    Ok(next.run(request).await)
}

async fn statistics(State(app): App) -> Result<Json<Value>, Problem> {
    Ok(Json(app.statistics.tell().await?))
}

async fn clean_up(State(app): App) -> Json<Value> {
    Json(app.clean_up.report())
}

async fn order(State(app): App, Path((source, order)): Path<(String, String)>) -> Result<Json<Order>, Problem> {
    let found = app.books.order(&source, &order).await?;
    found.map(Json).ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "order-not-found", "there is no such order"))
}

/// `GET /api/v1/whatsapp/test`: whether it is there, and what holds.
async fn test(State(app): App) -> Json<Value> {
    let Settings { enabled, ttl, window, secrets, .. } = &app.settings;
    Json(json!({
        "status": "ok",
        "idempotency": { "enabled": enabled, "header": KEY, "ttl_seconds": ttl.as_secs(), "key_format": FORMAT },
        "signature": { "header": SIGNATURE, "window_seconds": window.as_secs(), "sources": secrets.sources() },
        "cleanup": { "schedule": app.settings.clean_up.to_string(), "next": app.clean_up.next() },
        "store_survives_a_crash": app.weakness.is_none(),
        "warning": app.weakness,
    }))
}

impl From<CountError> for Problem {
    fn from(error: CountError) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "store-unavailable", error.to_string()).retry(Duration::from_secs(1))
    }
}
