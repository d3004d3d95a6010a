//! The gateway: what one would copy.
//!
//! The layers of [`router`], from the outside in: a correlation id, authentication, the audit of what did not run, the
//! idempotency layer, and the handler, which pays and notes that it did.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use idempotency::http::server::{BodyForm, IdempotencyLayer, Missing, Origin, Policy, PolicyPage};
use idempotency::{Attempt, Idempotency, InvalidDuration, PurgeSchedule, Purging, TimeOfDay};
use idempotency_examples::Failure;
use idempotency_examples::app::{self, Service, Setting};
use idempotency_examples::audit::{Audit, Entry};
use idempotency_examples::correlation::{self, CorrelationId};
use idempotency_examples::problem::Problem;
use idempotency_examples::provider::gateway::{Answered, Gateway as Provider};
use idempotency_examples::provider::ledger::{Instruction, Kind};
use tracing::Instrument;

use crate::health;
use crate::payment::{Answer, Body, NewPayment};
use crate::tenants::{Tenant, Tenants};

/// How long an answer is given again.
const RETENTION: Duration = Duration::from_secs(24 * 60 * 60);
const PAYMENTS: &str = "/api/v1/payments";
const ACTION: &str = "payment.create";

pub(crate) type App = Arc<Gateway>;

/// What the handlers share.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) idempotency: Idempotency,
    pub(crate) provider: Provider,
    /// Whether the provider acts at most once a downstream key. If not, we look before we repeat.
    provider_deduplicates: bool,
    tenants: Tenants,
    audit: Audit,
    pub(crate) on_store_down: OnStoreDown,
    /// Why the store is weaker than a gateway should have it, if it is.
    pub(crate) weakness: Option<String>,
    _cleaning: Purging,
}

/// What becomes of payments while the store of keys is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnStoreDown {
    /// They are refused, and the client comes again.
    Closed,
    /// They are made without protection: a retry may pay twice.
    Open,
}

/// Opens all that the gateway needs.
pub(crate) async fn start(setting: Setting) -> Result<Service, Failure> {
    let on_store_down = match setting.option("on-store-down") {
        None | Some("closed") => OnStoreDown::Closed,
        Some("open") => OnStoreDown::Open,
        Some(other) => return Err(format!("--on-store-down is `open` or `closed`, not `{other}`").into()),
    };
    let nightly: TimeOfDay = setting.option("cleanup-at").unwrap_or("03:00").parse()?;
    let tenants = Tenants::open(setting.option("tenants").map(Path::new))?;
    let provider = setting.provider.ok_or("the gateway needs a payment provider")?;
    let store = idempotency::connect(&setting.store).await?;
    let idempotency = Idempotency::new(store.clone())
        .with_lease(setting.lease)?
        // Longer than the provider is waited for, so that a hung run does not keep its key.
        .with_max_run(Duration::from_secs(60))?
        // A payer who waits is told soon that the store does not answer.
        .with_store_limit(Duration::from_secs(2))?;
    // A gateway for real money would demand it: `idempotency.require(…).await?`.
    let weakness = app::weakness(&idempotency).await?;
    let cleaning = PurgeSchedule::at(nightly).start(store, |round| match round.error {
        None => tracing::info!(removed = round.removed, took = ?round.took, "expired keys are removed"),
        Some(error) => tracing::warn!(%error, removed = round.removed, "expired keys are not all removed"),
    });
    let gateway = Arc::new(Gateway {
        idempotency: idempotency.clone(),
        provider: Provider::new(provider),
        provider_deduplicates: setting.provider_deduplicates,
        tenants,
        audit: Audit::open(&setting.folder.join("audit.jsonl"))?,
        on_store_down,
        weakness,
        _cleaning: cleaning,
    });
    Ok(Service { router: router(&gateway)?, idempotency })
}

fn router(app: &App) -> Result<Router, InvalidDuration> {
    let policy = Policy::new()
        // Recommended, not required.
        .with_missing(Missing::Passed)
        // One tenant's keys are never another's, whatever their text.
        .with_scope(|request| Some(request.extensions.get::<Tenant>()?.0.to_string()))
        // A JSON body counts by its content: a retry may write its fields in another order.
        .with_body_form(BodyForm::Json)
        .with_retention(RETENTION)?
        .with_context(correlation::context);
    let policy = if app.on_store_down == OnStoreDown::Open { policy.with_fail_open() } else { policy };
    let page = PolicyPage::new(&app.idempotency).with_policy(["POST /api/v1/payments"], &policy);
    let once = IdempotencyLayer::new(app.idempotency.clone()).with_policy(policy);
    Ok(Router::new()
        .route(PAYMENTS, post(create).layer(once))
        // The last is the outermost.
        .route_layer(from_fn_with_state(app.clone(), note_answers))
        .route_layer(from_fn_with_state(app.clone(), authenticate))
        .route("/health", get(health::health))
        .route("/ready", get(health::ready))
        .route("/openapi.json", get(openapi))
        .with_state(app.clone())
        .merge(page.into_router())
        .layer(from_fn(correlation::correlate)))
}

/// Lets in whoever has a tenant's API key. Before the idempotency layer: a replay is shown to its own tenant alone.
async fn authenticate(State(app): State<App>, mut request: Request, next: Next) -> Response {
    match app.tenants.of(request.headers()) {
        Ok(tenant) => {
            request.extensions_mut().insert(tenant);
            next.run(request).await
        }
        Err(problem) => {
            let mut response = problem.into_response();
            if response.status() == StatusCode::UNAUTHORIZED {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("ApiKey"));
            }
            response
        }
    }
}

/// Notes the answers for which no handler ran: replays, and what the layer refused. A handler notes its own run.
async fn note_answers(
    State(app): State<App>,
    Extension(tenant): Extension<Tenant>,
    Extension(correlation): Extension<CorrelationId>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let response = next.run(request).await;
    let status = response.status().as_u16();
    let origin = response.extensions().get::<Origin>();
    let entry = origin.and_then(|origin| Entry::answered(&*tenant.0, ACTION, origin, status));
    if let Some(entry) = entry {
        app.note(entry.correlated(&correlation)).await?;
    }
    Ok(response)
}

/// `POST /api/v1/payments`
async fn create(
    State(app): State<App>,
    Extension(tenant): Extension<Tenant>,
    Extension(correlation): Extension<CorrelationId>,
    attempt: Option<Extension<Attempt>>,
    body: Body<NewPayment>,
) -> Result<Response, Problem> {
    let attempt = attempt.map(|Extension(attempt)| attempt);
    let has_key = attempt.is_some();
    let run = async move { app.pay_and_note(&tenant, &correlation, attempt.as_ref(), body).await };
    if has_key {
        return run.await;
    }
    // Without a key, nothing but this keeps a client that hangs up from leaving its payment half-way.
    tokio::spawn(run.in_current_span()).await.unwrap_or_else(|error| {
        tracing::error!(%error, "a payment without a key ended early");
        Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "nobody knows whether it was paid").unknown())
    })
}

/// `GET /openapi.json`
async fn openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], include_str!("openapi.json"))
}

impl Gateway {
    /// Pays, and has what came of it on disk before it is answered: whatever is recorded, is in the audit log.
    async fn pay_and_note(
        &self,
        tenant: &Tenant,
        correlation: &CorrelationId,
        attempt: Option<&Attempt>,
        body: Body<NewPayment>,
    ) -> Result<Response, Problem> {
        let answered = match body {
            Ok(Json(payment)) => self.pay(tenant, correlation, attempt, payment).await,
            Err(rejection) => Err(rejection.into()),
        };
        let payment_id = answered.as_ref().ok().and_then(Answer::payment_id).map(str::to_owned);
        let response = answered.into_response();
        let entry = Entry::ran(&*tenant.0, ACTION, attempt, response.status().as_u16()).correlated(correlation);
        let entry = payment_id.into_iter().fold(entry, |entry, id| entry.with("payment_id", id));
        self.note(entry).await?;
        Ok(response)
    }

    async fn pay(
        &self,
        tenant: &Tenant,
        correlation: &CorrelationId,
        attempt: Option<&Attempt>,
        payment: NewPayment,
    ) -> Result<Answer, Problem> {
        payment.check()?;
        let (key, fence) = match attempt {
            Some(attempt) => (attempt.downstream().into(), attempt.fence().get()),
            // Without a key every request is a payment of its own, for the provider too.
            None => (format!("{:032x}", rand::random::<u128>()), 0),
        };
        // A provider that deduplicates on the downstream key is simply asked again. Another is asked first what it did:
        // that look bars the attempt before, which may be on its way still.
        let prior = attempt.is_some_and(|attempt| attempt.prior().is_some());
        if prior
            && !self.provider_deduplicates
            && let Some(made) = self.provider.look(&key, fence).await?
        {
            return Ok(payment.paid(made.id));
        }
        let instruction = Instruction {
            key,
            fence,
            kind: Kind::Charge,
            order: format!("{}/{}", tenant.0, payment.payer),
            amount: payment.amount,
            currency: payment.currency.clone(),
        };
        // Were we killed now, and never asked again, the provider's charge would be in no log of ours.
        self.note(Entry::begins(&*tenant.0, ACTION, &instruction.key, attempt).correlated(correlation)).await?;
        match self.provider.carry_out(&instruction).await? {
            Answered::Done(made) => Ok(payment.paid(made.id)),
            Answered::Declined(reason) => {
                // An attempt before this one may yet be paid, and its payer have been told the contrary. The look bars
                // it.
                if prior && let Some(made) = self.provider.look(&instruction.key, fence).await? {
                    return Ok(payment.paid(made.id));
                }
                Ok(payment.declined(reason))
            }
        }
    }

    async fn note(&self, entry: Entry) -> Result<(), Problem> {
        self.audit.append(entry).await.map_err(|error| {
            let detail = format!("the audit log cannot be written: {error}; ask again with the same key");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "audit", detail).unknown()
        })
    }
}
