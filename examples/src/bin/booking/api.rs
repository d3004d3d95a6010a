//! The handlers.

use std::sync::Arc;

use axum::Extension;
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use idempotency_examples::problem::Problem;
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::Instrument;

use crate::answer::{Answer, What};
use crate::books::model::{self, Entry, Event, Execution};
use crate::books::{BooksError, Refusal, Step};
use crate::jobs::{Job, Ran};
use crate::payments::Paid;
use crate::request::{
    Asked, Body, NewBooking, NewEvent, NewLock, NewPayment, Operator, bad_body, check_count, check_id, millis,
};
use crate::service::Service;
use crate::users::User;

type App = State<Arc<Service>>;

/// `POST /api/locks`: takes seats, for a while.
pub(crate) async fn lock(
    State(app): App,
    Asked { user, by, attempt }: Asked,
    body: Body<NewLock>,
) -> Result<Answer, Problem> {
    let Json(NewLock { event_id, user_id, seats, .. }) = body?;
    if user_id != user.0 {
        return Err(Problem::new(StatusCode::FORBIDDEN, "another-user", "userId is not whose token came with it"));
    }
    check_id("eventId", &event_id)?;
    check_count("seats", seats)?;
    let step = Step::Lock { id: attempt.downstream().into(), event_id, seats, lasts: millis(app.lock_for) };
    let taken = app.books.take(step, &by).await?;
    let held = &taken.reservation;
    let what = What::Lock {
        seat_lock_id: held.seat_lock_id(),
        event_id: held.event_id.clone(),
        user_id,
        seats,
        expires_at: held.expires_at,
    };
    app.answer(StatusCode::CREATED, what, held.locked_by.clone(), &taken, &by, "LOCK_RETRY").await
}

/// `POST /api/bookings`: a lock becomes a booking. Its key is the lock's id: one lock, one booking.
pub(crate) async fn book(State(app): App, Asked { by, .. }: Asked, body: Body<NewBooking>) -> Result<Answer, Problem> {
    let Json(NewBooking { seat_lock_id }) = body?;
    check_id("seatLockId", &seat_lock_id)?;
    let id = model::of_seat_lock(&seat_lock_id).ok_or_else(|| bad_id("seatLockId"))?;
    let taken = app.books.take(Step::Book { id: id.into(), lasts: millis(app.pay_within) }, &by).await?;
    let held = &taken.reservation;
    let what = What::Booking {
        booking_id: held.booking_id(),
        seat_lock_id,
        event_id: held.event_id.clone(),
        seats: held.seats,
        expires_at: held.expires_at,
    };
    let attempt_id = held.booked_by.clone().unwrap_or_default();
    app.answer(StatusCode::CREATED, what, attempt_id, &taken, &by, "BOOKING_RETRY").await
}

/// `POST /api/payments/intent`: charges for a booking, and so confirms it.
pub(crate) async fn pay(
    State(app): App,
    Asked { by, attempt, .. }: Asked,
    body: Body<NewPayment>,
) -> Result<Answer, Problem> {
    let Json(NewPayment { booking_id, amount, force, .. }) = body?;
    check_id("bookingId", &booking_id)?;
    let id = model::of_booking(&booking_id).ok_or_else(|| bad_id("bookingId"))?;
    check_count("amount", amount)?;
    match app.charge(&attempt, id, amount, force, &by).await? {
        Paid::Confirmed(taken) => {
            let payment = taken.reservation.payment.clone();
            let attempt_id = payment.as_ref().map(|payment| payment.by.attempt_id()).unwrap_or_default();
            let transaction_id = payment.and_then(|payment| payment.transaction_id);
            let what = What::Paid { booking_id, status: "succeeded", amount, transaction_id };
            app.answer(StatusCode::CREATED, what, attempt_id, &taken, &by, "PAYMENT_RETRY").await
        }
        Paid::Declined(reason) => {
            Ok(Answer::declined(What::Declined { booking_id, status: "failed", amount, reason }, by))
        }
    }
}

/// `POST /api/events`: opens an event; again, it is open.
pub(crate) async fn open_event(
    State(app): App,
    Operator(by): Operator,
    body: Body<NewEvent>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let Json(NewEvent { event_id, seats }) = body?;
    check_id("eventId", &event_id)?;
    check_count("seats", seats)?;
    let event = app.books.open_event(&event_id, seats, &by).await?;
    Ok((StatusCode::CREATED, Json(shown(&event))))
}

/// `GET /api/events/{event}`
pub(crate) async fn event(State(app): App, Path(event_id): Path<String>) -> Result<Json<Value>, Problem> {
    check_id("eventId", &event_id)?;
    Ok(Json(shown(&app.books.event(&event_id).await?)))
}

fn shown(event: &Event) -> Value {
    let Event { event_id, capacity, locked, booked } = event;
    json!({ "eventId": event_id, "capacity": capacity, "free": event.free(), "locked": locked, "booked": booked })
}

/// `GET /api/bookings/{booking}`: one's own; also by the id of its seat lock.
pub(crate) async fn booking(
    State(app): App,
    Extension(user): Extension<User>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    check_id("the id", &id)?;
    let id = model::of_booking(&id).or_else(|| model::of_seat_lock(&id)).ok_or_else(|| bad_id("the id"))?;
    let held = app.books.find(id).await?;
    if held.user_id != user.0 {
        return Err(BooksError::from(Refusal::NotFound).into());
    }
    let transaction_id = held.payment.as_ref().and_then(|payment| payment.transaction_id.as_ref());
    Ok(Json(json!({
        "bookingId": held.booked_by.is_some().then(|| held.booking_id()),
        "seatLockId": held.seat_lock_id(),
        "eventId": held.event_id,
        "seats": held.seats,
        "state": held.state,
        "expiresAt": held.expires_at,
        "transactionId": transaction_id,
    })))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OfBooking {
    booking_id: Option<String>,
}

/// `GET /api/audit?bookingId=…`
pub(crate) async fn audit(
    State(app): App,
    Operator(_): Operator,
    Query(OfBooking { booking_id }): Query<OfBooking>,
) -> Result<Json<Vec<Entry>>, Problem> {
    if let Some(id) = &booking_id {
        check_id("bookingId", id)?;
    }
    Ok(Json(app.books.trail(booking_id.as_deref()).await?))
}

/// `GET /api/jobs`: the runs of the last hour.
pub(crate) async fn jobs(State(app): App, Operator(_): Operator) -> Result<Json<Vec<Execution>>, Problem> {
    Ok(Json(app.books.executions().await?))
}

/// `POST /api/jobs/{job}`: runs a job now, unless it runs already.
pub(crate) async fn run_job(
    State(app): App,
    Operator(by): Operator,
    Path(name): Path<String>,
) -> Result<Json<Ran>, Problem> {
    let job = Job::of(&name).ok_or_else(|| {
        Problem::new(StatusCode::NOT_FOUND, "not-found", "the jobs are expire-locks, expire-bookings")
    })?;
    // In a task: a job does not stop half-way because whoever asked for it hung up.
    let run = async move { app.run_job(job, &by.correlation, None).await };
    let failed = |why: String| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "job-failed", why);
    let ran = tokio::spawn(run.in_current_span()).await.map_err(|error| failed(error.to_string()))?;
    Ok(Json(ran.map_err(|error| failed(error.to_string()))?))
}

fn bad_id(field: &str) -> Problem {
    bad_body(format!("{field} is none that was given out"))
}
