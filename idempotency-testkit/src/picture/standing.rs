//! How a key stands, and who holds it.

use idempotency_core::{Record, State};

use crate::call::describe;
use crate::schedule::Standing;

/// How a key stands in the store, as far as a picture tells it apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stand {
    /// Nothing is kept, or it is forgotten.
    Absent,
    /// A lock with a live lease.
    InProgress,
    /// An attempt is unknown: its lease ran out, or its caller said so.
    Unknown,
    /// Free, with no effect of the attempt before.
    Released,
    /// Done.
    Completed,
}

impl Stand {
    pub(super) const ALL: [Self; 5] = [Self::Absent, Self::InProgress, Self::Unknown, Self::Released, Self::Completed];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Absent => "nothing there",
            Self::InProgress => "in progress",
            Self::Unknown => "unknown",
            Self::Released => "released",
            Self::Completed => "completed",
        }
    }
}

/// How one key stands after a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) stand: Stand,
    /// In a few words: `in progress by 1 (attempt 1)`.
    pub(super) words: String,
    /// The same where there is more room: `in progress: client 1, attempt 1`.
    pub(super) long: String,
    /// As [`describe`] has it, but for the time that is left.
    pub(super) whole: String,
    /// The client whose lock it is, and whether its lease is live.
    pub(super) lock: Option<(u8, bool)>,
}

impl Kept {
    pub(super) fn nothing() -> Self {
        let words = Stand::Absent.name().to_owned();
        Self { stand: Stand::Absent, whole: words.clone(), long: words.clone(), words, lock: None }
    }

    pub(super) fn of(standing: &Standing) -> Self {
        let Some(record) = &standing.record else { return Self::nothing() };
        let stand = stand(standing, record);
        let attempt = record.attempt;
        let lapsed = matches!(record.state, State::InProgress { .. }) && stand != Stand::InProgress;
        let name = stand.name();
        let (words, long) = match (stand, standing.holder) {
            (Stand::Absent, _) => ("forgotten".to_owned(), "forgotten".to_owned()),
            (Stand::Unknown, Some(client)) if lapsed => {
                (format!("{name}: {client}'s lease ran out"), format!("{name}: client {client}'s lease ran out"))
            }
            (Stand::Unknown, None) if lapsed => {
                (format!("{name}: its lease ran out"), format!("{name}: its lease ran out"))
            }
            (_, Some(client)) => (
                format!("{name} by {client} (attempt {attempt})"),
                format!("{name}: client {client}, attempt {attempt}"),
            ),
            (_, None) => (format!("{name} (attempt {attempt})"), format!("{name}: attempt {attempt}")),
        };
        let open = matches!(record.state, State::InProgress { .. });
        let lock = standing.holder.filter(|_| open).map(|client| (client, stand == Stand::InProgress));
        // The time left changes with every step and says nothing that the time beside it does not.
        let whole = describe(record, standing.now);
        let whole = whole.split(", ").filter(|part| !part.ends_with(" left")).collect::<Vec<_>>().join(", ");
        Self { stand, words, long, whole, lock }
    }
}

fn stand(standing: &Standing, record: &Record) -> Stand {
    let now = standing.now;
    if now >= record.forgotten_at() {
        return Stand::Absent;
    }
    match record.state {
        State::Completed { .. } => Stand::Completed,
        State::Released { .. } => Stand::Released,
        State::InProgress { lease_until, .. } if now < lease_until => Stand::InProgress,
        // A lock that was to be confirmed and never was: nothing ran under it.
        State::InProgress { .. } | State::Unknown { .. } if record.unknown_at(now).is_none() => Stand::Released,
        State::InProgress { .. } | State::Unknown { .. } => Stand::Unknown,
    }
}

/// How a client holds a key at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    /// Its lock is the one that counts, and the lease is live.
    Live,
    /// Its lock is the one that counts, and the lease ran out.
    Lapsed,
    /// It was told that it holds the key, which is another's by now, or free.
    Believed,
    /// The store gave it the key, against the contract.
    Wrongly,
}
