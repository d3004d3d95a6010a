//! What the books hold: events, reservations, the audit trail, and the runs of jobs. Times are milliseconds since
//! 1970, by the books' own clock.

use serde::{Deserialize, Serialize};

/// An event with seats. Each is free, locked or booked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Event {
    pub(crate) event_id: String,
    pub(crate) capacity: u64,
    /// Seats of locks that are not confirmed yet.
    pub(crate) locked: u64,
    /// Seats of bookings, paid or to be paid.
    pub(crate) booked: u64,
}

impl Event {
    pub(crate) const fn free(&self) -> u64 {
        self.capacity - self.locked - self.booked
    }
}

/// How far a reservation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum State {
    /// Seats are held for a while.
    Locked,
    /// Nobody booked them in time.
    LockExpired,
    /// Booked, and to be paid for in time.
    PaymentPending,
    /// A payment is under way: its outcome, and nothing else, decides.
    Paying,
    Confirmed,
    /// Nobody paid in time.
    BookingExpired,
}

impl State {
    const ALL: [(Self, &str); 6] = [
        (Self::Locked, "LOCKED"),
        (Self::LockExpired, "LOCK_EXPIRED"),
        (Self::PaymentPending, "PAYMENT_PENDING"),
        (Self::Paying, "PAYING"),
        (Self::Confirmed, "CONFIRMED"),
        (Self::BookingExpired, "BOOKING_EXPIRED"),
    ];

    pub(crate) fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(state, _)| *state == self).map_or("", |(_, name)| name)
    }

    pub(super) fn of(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == name).map(|(state, _)| *state)
    }
}

/// A seat lock, and the booking it becomes. It is one row, so that no lock has two bookings.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Reservation {
    /// The downstream key of the request that locked the seats: the same for each of its attempts.
    pub(crate) id: String,
    pub(crate) event_id: String,
    pub(crate) user_id: String,
    pub(crate) seats: u64,
    pub(crate) state: State,
    /// When the lock, or the booking that is not paid, may be taken back.
    pub(crate) expires_at: u64,
    /// The attempt that locked the seats.
    pub(crate) locked_by: String,
    /// The attempt that booked them.
    pub(crate) booked_by: Option<String>,
    pub(crate) payment: Option<Payment>,
}

impl Reservation {
    pub(crate) fn seat_lock_id(&self) -> String {
        format!("{LOCK}{}", self.id)
    }

    pub(crate) fn booking_id(&self) -> String {
        format!("{BOOKING}{}", self.id)
    }
}

const LOCK: &str = "lock_";
const BOOKING: &str = "booking_";

/// A reservation's id, of its seat lock's.
pub(crate) fn of_seat_lock(id: &str) -> Option<&str> {
    id.strip_prefix(LOCK)
}

/// A reservation's id, of its booking's.
pub(crate) fn of_booking(id: &str) -> Option<&str> {
    id.strip_prefix(BOOKING)
}

/// A payment that is under way, or was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Payment {
    pub(crate) by: Opened,
    /// In minor units.
    pub(crate) amount: u64,
    /// The provider's transaction, once it is known.
    pub(crate) transaction_id: Option<String>,
}

/// Who moves the money: under which downstream key, in which attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Opened {
    pub(crate) key: String,
    pub(crate) fence: u64,
}

impl Opened {
    /// Names the attempt, for people and for the audit trail.
    pub(crate) fn attempt_id(&self) -> String {
        format!("{}-{}", self.key, self.fence)
    }
}

/// A line of the audit trail.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Entry {
    pub(crate) at: u64,
    pub(crate) event_id: Option<String>,
    pub(crate) seat_lock_id: Option<String>,
    pub(crate) booking_id: Option<String>,
    /// Who did it: a user, or a job.
    pub(crate) actor: String,
    pub(crate) from_state: String,
    pub(crate) to_state: String,
    pub(crate) correlation_id: String,
    pub(crate) action: String,
    pub(crate) metadata: Metadata,
}

/// What tells an original from a retry, and one payment from another.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Metadata {
    pub(crate) is_retry: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) original_attempt_id: Option<String>,
    /// By which the original is found in the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) original_correlation_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) attempt_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) amount: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) transaction_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) seats: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}

/// A run of a job.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Execution {
    /// The job and the run's fence, which grows from run to run.
    pub(crate) execution_id: String,
    pub(crate) job_type: String,
    pub(crate) status: Status,
    pub(crate) started_at: u64,
    pub(crate) completed_at: Option<u64>,
    pub(crate) results: Results,
    pub(crate) correlation_id: String,
}

/// How a run of a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    Running,
    Completed,
    Failed,
}

impl Status {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }

    pub(super) fn of(name: &str) -> Option<Self> {
        [Self::Running, Self::Completed, Self::Failed].into_iter().find(|status| status.as_str() == name)
    }
}

/// What a run of a job has done so far.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) processed: u64,
    pub(crate) errors: u64,
    pub(crate) details: String,
}
