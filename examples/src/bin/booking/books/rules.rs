//! The rules: what a step makes of a reservation and its event's seats. One pure function, for every database.

use super::model::{Entry, Event, Metadata, Opened, Payment, Reservation, State};
use super::{By, Refusal, Step};

/// Takes a step. `event` and the reservation given back are as they are to be written, with the line of the audit
/// trail; without one, nothing changed: the step was taken before, or there is none to take any more.
pub(super) fn take(
    step: &Step,
    by: &By,
    event: &mut Event,
    held: Option<Reservation>,
    now: u64,
) -> Result<(Reservation, Option<Entry>), Refusal> {
    let from = held.as_ref().map(|held| held.state);
    let mut metadata = Metadata { attempt_id: by.attempt.clone(), ..Metadata::default() };
    let (reservation, action) = match (step, held) {
        (Step::Lock { .. }, Some(held)) => (held, None),
        (Step::Lock { id, seats, lasts, .. }, None) => {
            if *seats > event.free() {
                return Err(Refusal::TooFewSeats { free: event.free() });
            }
            event.locked += seats;
            metadata.seats = Some(*seats);
            let reservation = Reservation {
                id: id.clone(),
                event_id: event.event_id.clone(),
                user_id: by.actor.clone(),
                seats: *seats,
                state: State::Locked,
                expires_at: now + lasts,
                locked_by: by.attempt.clone().unwrap_or_default(),
                booked_by: None,
                payment: None,
            };
            (reservation, Some("LOCK_CREATED"))
        }
        (_, None) => return Err(Refusal::NotFound),
        (Step::Book { lasts, .. }, Some(held)) => book(held, by, event, now, now + lasts)?,
        (Step::BeginPayment { payment, .. }, Some(held)) => begin_payment(held, by, payment, now, &mut metadata)?,
        (Step::Paid { paid, transaction, .. }, Some(held)) => confirm(held, paid, transaction, &mut metadata)?,
        (Step::NotPaid { paid, action, reason, .. }, Some(mut held)) => match &held.payment {
            Some(payment) if held.state == State::Paying && payment.by == *paid => {
                metadata.reason = Some(reason.clone());
                held.state = State::PaymentPending;
                held.payment = None;
                (held, Some(*action))
            }
            // A later attempt is at it by now.
            Some(_) | None => (held, None),
        },
        (Step::Expire { abandoned, .. }, Some(held)) => expire(held, event, abandoned.as_ref(), now),
    };
    let entry = action.map(|action| Entry {
        at: now,
        event_id: Some(reservation.event_id.clone()),
        seat_lock_id: Some(reservation.seat_lock_id()),
        booking_id: reservation.booked_by.is_some().then(|| reservation.booking_id()),
        actor: by.actor.clone(),
        from_state: from.map_or("NONE", State::as_str).into(),
        to_state: reservation.state.as_str().into(),
        correlation_id: by.correlation.clone(),
        action: action.into(),
        metadata,
    });
    Ok((reservation, entry))
}

type Taken = (Reservation, Option<&'static str>);

/// The booking takes the lock over, with its seats.
fn book(mut held: Reservation, by: &By, event: &mut Event, now: u64, expires_at: u64) -> Result<Taken, Refusal> {
    if held.user_id != by.actor {
        return Err(Refusal::NotFound);
    }
    match held.state {
        // It may be over and not yet taken back: the job comes when it comes.
        State::Locked if now >= held.expires_at => Err(Refusal::LockExpired),
        State::LockExpired => Err(Refusal::LockExpired),
        State::Locked => {
            event.locked -= held.seats;
            event.booked += held.seats;
            held.state = State::PaymentPending;
            held.expires_at = expires_at;
            held.booked_by = by.attempt.clone();
            Ok((held, Some("BOOKING_CREATED")))
        }
        State::PaymentPending | State::Paying | State::Confirmed | State::BookingExpired => Ok((held, None)),
    }
}

/// From here on the booking is not taken back before it is known what became of the payment.
fn begin_payment(
    mut held: Reservation,
    by: &By,
    payment: &Payment,
    now: u64,
    metadata: &mut Metadata,
) -> Result<Taken, Refusal> {
    if held.user_id != by.actor {
        return Err(Refusal::NotFound);
    }
    let is_same = held.payment.as_ref().is_some_and(|known| known.by.key == payment.by.key);
    match held.state {
        State::Locked | State::LockExpired => return Err(Refusal::NotFound),
        State::Confirmed if is_same => return Ok((held, None)),
        State::Confirmed => return Err(Refusal::AlreadyPaid),
        State::Paying if !is_same => return Err(Refusal::BeingPaid),
        State::BookingExpired => return Err(Refusal::BookingExpired),
        State::PaymentPending | State::Paying if now >= held.expires_at => return Err(Refusal::BookingExpired),
        State::Paying if held.payment.as_ref().is_some_and(|known| known.by.fence > payment.by.fence) => {
            return Err(Refusal::BeingPaid);
        }
        State::PaymentPending | State::Paying => {}
    }
    metadata.amount = Some(payment.amount);
    held.state = State::Paying;
    held.payment = Some(payment.clone());
    Ok((held, Some("PAYMENT_STARTED")))
}

fn confirm(mut held: Reservation, paid: &Opened, transaction: &str, metadata: &mut Metadata) -> Result<Taken, Refusal> {
    match (&mut held.payment, held.state) {
        (Some(payment), State::Paying) if payment.by.key == paid.key => {
            // As the provider has it: an earlier attempt may have made the charge.
            payment.by = paid.clone();
            payment.transaction_id = Some(transaction.into());
            metadata.attempt_id = Some(paid.attempt_id());
            metadata.amount = Some(payment.amount);
            metadata.transaction_id = payment.transaction_id.clone();
            held.state = State::Confirmed;
            Ok((held, Some("PAYMENT_SUCCEEDED")))
        }
        (Some(payment), State::Confirmed) if payment.transaction_id.as_deref() == Some(transaction) => Ok((held, None)),
        _ => Err(Refusal::PaidInVain { transaction: transaction.into() }),
    }
}

/// Gives seats back once: only from a state in which they are held, and only what is over.
fn expire(mut held: Reservation, event: &mut Event, abandoned: Option<&Opened>, now: u64) -> Taken {
    if now < held.expires_at {
        return (held, None);
    }
    let action = match (held.state, &held.payment) {
        (State::Locked, _) => {
            event.locked -= held.seats;
            held.state = State::LockExpired;
            "LOCK_EXPIRED"
        }
        (State::PaymentPending, _) => {
            event.booked -= held.seats;
            held.state = State::BookingExpired;
            "BOOKING_EXPIRED"
        }
        // The provider was asked, did nothing, and does nothing for that attempt any more.
        (State::Paying, Some(payment)) if Some(&payment.by) == abandoned => {
            event.booked -= held.seats;
            held.state = State::BookingExpired;
            "BOOKING_EXPIRED"
        }
        (State::Paying | State::LockExpired | State::Confirmed | State::BookingExpired, _) => return (held, None),
    };
    (held, Some(action))
}
