//! The service: what stands before what.
//!
//! Each request has a correlation id, and a user who was verified. The routes that change something stand behind
//! the layer, and run once a key of that user's; outside of it, a retry that was answered again gets its line in
//! the audit trail.

use std::sync::Arc;
use std::time::Duration;

use axum::http::request::Parts;
use axum::routing::{get, post};
use axum::{Router, middleware};
use idempotency::http::server::{BodyForm, IdempotencyLayer, Policy, PolicyPage, json_field};
use idempotency::{Idempotency, IdempotencyStore, InvalidDuration, LONGEST, PurgeSchedule, Purging, SHORTEST};
use idempotency_examples::Failure;
use idempotency_examples::app::{self, Setting};
use idempotency_examples::correlation::{self, correlate};
use idempotency_examples::provider::gateway::Gateway;

use crate::books::{Books, Journaled, Tables};
use crate::users::{self, Tokens, User};
use crate::{answer, api, jobs};

/// How long an answer is given again.
const RETENTION: Duration = Duration::from_secs(24 * 60 * 60);
/// How often what is past that is removed from the store.
const PURGED_EVERY: Duration = Duration::from_secs(10 * 60);

#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) idempotency: Idempotency,
    pub(crate) books: Books,
    pub(crate) gateway: Gateway,
    pub(crate) lock_for: Duration,
    pub(crate) pay_within: Duration,
    /// What is past its retention is removed from the store for as long as this is kept.
    _purging: Purging,
}

/// Starts the service, and the schedule of its jobs.
pub(crate) async fn start(setting: Setting) -> Result<app::Service, Failure> {
    let (idempotency, books, purging) = open(&setting).await?;
    // A service for real money would demand it: `idempotency.require(…).await?`.
    app::weakness(&idempotency).await?;
    let time = |name, unless_given| match setting.option(name) {
        None => Ok(unless_given),
        Some(text) => match humantime::parse_duration(text) {
            Ok(time) if (SHORTEST..=LONGEST).contains(&time) => Ok(time),
            Ok(_) => Err(format!("--{name} {text}: it must be {SHORTEST:?} to 100 years")),
            Err(error) => Err(format!("--{name} {text}: {error}; write it as 10m or 30s")),
        },
    };
    let service = Arc::new(Service {
        idempotency: idempotency.clone(),
        books,
        gateway: Gateway::new(setting.provider.ok_or("it needs a payment provider")?),
        lock_for: time("lock-for", Duration::from_secs(10 * 60))?,
        pay_within: time("pay-within", Duration::from_secs(15 * 60))?,
        _purging: purging,
    });
    if setting.option("jobs-every") != Some("never") {
        let every = time("jobs-every", Duration::from_secs(60))?;
        tokio::spawn(jobs::on_schedule(service.clone(), every));
    }
    let tokens = Tokens::read(setting.option("tokens").unwrap_or(users::TO_TRY))?;
    Ok(app::Service { router: router(&service, tokens)?, idempotency })
}

fn router(service: &Arc<Service>, tokens: Tokens) -> Result<Router, InvalidDuration> {
    // A JSON body counts by its content: a retry may write its fields in another order.
    let of_user = Policy::new()
        .with_scope(|request: &Parts| request.extensions.get::<User>().map(|user| user.0.clone()))
        .with_body_form(BodyForm::Json)
        // A retry's line of the audit trail names the original's correlation id, too.
        .with_context(correlation::context)
        .with_retention(RETENTION)?;
    let by_field =
        |field, retry| of_user.clone().with_key_from(json_field(field)).with_replay(answer::mark_retry(retry));
    let lock = by_field("/idempotencyKey", "LOCK_RETRY");
    let book = by_field("/seatLockId", "BOOKING_RETRY");
    let pay = by_field("/idempotencyKey", "PAYMENT_RETRY");
    let policies = PolicyPage::new(&service.idempotency)
        .with_policy(["POST /api/locks"], &lock)
        .with_policy(["POST /api/bookings"], &book)
        .with_policy(["POST /api/payments/intent"], &pay);
    let once = |policy| IdempotencyLayer::new(service.idempotency.clone()).with_policy(policy);
    Ok(Router::new()
        .route("/api/locks", post(api::lock).layer(once(lock)))
        .route("/api/bookings", post(api::book).layer(once(book)))
        .route("/api/payments/intent", post(api::pay).layer(once(pay)))
        .layer(middleware::from_fn_with_state(service.clone(), answer::audit_retries))
        .route("/api/events", post(api::open_event))
        .route("/api/events/{event}", get(api::event))
        .route("/api/bookings/{booking}", get(api::booking))
        .route("/api/audit", get(api::audit))
        .route("/api/jobs", get(api::jobs))
        .route("/api/jobs/{job}", post(api::run_job))
        .layer(middleware::from_fn_with_state(tokens, users::authenticate))
        .with_state(service.clone())
        .route("/health", get(async || "ok"))
        .merge(policies.into_router())
        .layer(middleware::from_fn(correlate)))
}

/// Opens the store of keys, and the books: in the same Postgres, or in a journal.
async fn open(setting: &Setting) -> Result<(Idempotency, Books, Purging), Failure> {
    let store = idempotency::connect(&setting.store).await?;
    let books = if setting.store.starts_with("postgres") {
        Books::Tables(Tables::open(&setting.store).await?)
    } else {
        Books::Journaled(Journaled::open(&setting.folder.join("books.jsonl"))?)
    };
    let idempotency = handle(store.clone(), setting.lease)?;
    // At the start, too: a process that is replaced sooner than that would never come to it.
    let purging = PurgeSchedule::every(PURGED_EVERY)?.at_start().start(store, |_| {});
    Ok((idempotency, books, purging))
}

fn handle(store: impl IdempotencyStore, lease: Duration) -> Result<Idempotency, InvalidDuration> {
    Idempotency::new(store)
        .with_lease(lease)?
        // Longer than the provider is waited for, so that a hung run does not keep its key.
        .with_max_run(Duration::from_secs(60))
}
