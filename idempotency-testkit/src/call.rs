//! A store's methods as values: what was asked, and what was answered.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use idempotency_core::moves::{self, Move};
use idempotency_core::{
    Acquired, Claim, Completion, Effect, Fence, Held, IdempotencyStore, Key, Lock, Record, Snapshot, StoreError,
    Timestamp,
};

/// A method of [`IdempotencyStore`] that asks the store something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// [`IdempotencyStore::get`]
    Get,
    /// [`IdempotencyStore::acquire_lock`]
    Acquire,
    /// [`IdempotencyStore::extend_lock`]
    Extend,
    /// [`IdempotencyStore::store_result`]
    Store,
    /// [`IdempotencyStore::release_lock`]
    Release,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Get, Self::Acquire, Self::Extend, Self::Store, Self::Release];

    /// The method's name in the trait, as [`StoreError::operation`] has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Acquire => "acquire_lock",
            Self::Extend => "extend_lock",
            Self::Store => "store_result",
            Self::Release => "release_lock",
        }
    }
}

/// One call of a method, with its arguments but for the key.
#[derive(Clone, Debug)]
pub enum Call {
    /// [`IdempotencyStore::get`]
    Get,
    /// [`IdempotencyStore::acquire_lock`]
    Acquire(Box<Claim>),
    /// [`IdempotencyStore::extend_lock`]
    Extend(Lock, Duration),
    /// [`IdempotencyStore::store_result`]
    Store(Lock, Completion, Duration),
    /// [`IdempotencyStore::release_lock`]
    Release(Lock, Effect),
}

/// What a call was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// By [`IdempotencyStore::get`].
    Found(Option<Box<Snapshot>>),
    /// By [`IdempotencyStore::acquire_lock`].
    Acquired(Acquired),
    /// By the methods that need a lock.
    Held(Held),
}

impl Call {
    /// The method called.
    #[must_use]
    pub const fn method(&self) -> Method {
        match self {
            Self::Get => Method::Get,
            Self::Acquire(_) => Method::Acquire,
            Self::Extend(..) => Method::Extend,
            Self::Store(..) => Method::Store,
            Self::Release(..) => Method::Release,
        }
    }

    /// Calls a store.
    ///
    /// # Errors
    /// The store's own.
    pub async fn send<S: IdempotencyStore + ?Sized>(&self, key: &Key, store: &S) -> Result<Answer, StoreError> {
        match self {
            Self::Get => store.get(key).await.map(|found| Answer::Found(found.map(Box::new))),
            Self::Acquire(claim) => store.acquire_lock(key, claim).await.map(Answer::Acquired),
            Self::Extend(lock, lease) => store.extend_lock(key, lock, *lease).await.map(Answer::Held),
            Self::Store(lock, result, retention) => {
                store.store_result(key, lock, result, *retention).await.map(Answer::Held)
            }
            Self::Release(lock, effect) => store.release_lock(key, lock, *effect).await.map(Answer::Held),
        }
    }

    /// What the [`moves`] make of it, given what is kept under the key, expired or not.
    #[must_use]
    pub fn by_the_moves(&self, kept: Option<&Record>, now: Timestamp, next_fence: Fence) -> Move<Answer> {
        match self {
            Self::Get => {
                let found = moves::read(kept, now).map(|record| Box::new(Snapshot { record: record.clone(), now }));
                Move { answer: Answer::Found(found), write: None }
            }
            Self::Acquire(claim) => wrapped(moves::acquire(kept, claim, now, next_fence), Answer::Acquired),
            Self::Extend(lock, lease) => wrapped(moves::extend(kept, *lock, *lease, now), Answer::Held),
            Self::Store(lock, result, retention) => {
                wrapped(moves::store(kept, *lock, result, *retention, now), Answer::Held)
            }
            Self::Release(lock, effect) => wrapped(moves::release(kept, *lock, *effect, now), Answer::Held),
        }
    }
}

fn wrapped<A>(made: Move<A>, wrap: impl FnOnce(A) -> Answer) -> Move<Answer> {
    Move { answer: wrap(made.answer), write: made.write }
}

impl Answer {
    /// The lock that it grants, if it does.
    #[must_use]
    pub const fn granted(&self) -> Option<idempotency_core::Grant> {
        match self {
            Self::Acquired(Acquired::Acquired(grant)) => Some(*grant),
            Self::Found(_) | Self::Acquired(_) | Self::Held(_) => None,
        }
    }
}

/// In words, for people: `acquire_lock`, `release_lock (effect unknown)`.
impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.method().name())?;
        match self {
            Self::Get | Self::Acquire(_) | Self::Extend(..) => Ok(()),
            Self::Store(_, result, _) => write!(f, " ({})", completion(result)),
            Self::Release(_, Effect::None) => f.write_str(" (no effect)"),
            Self::Release(_, Effect::Unknown) => f.write_str(" (effect unknown)"),
            Self::Release(_, Effect::Settled) => f.write_str(" (settled)"),
        }
    }
}

/// In words, for people.
impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Found(None) => f.write_str("nothing there"),
            Self::Found(Some(found)) => f.write_str(&describe(&found.record, found.now)),
            Self::Held(Held::Held) => f.write_str("held"),
            Self::Held(Held::Lost) => f.write_str("lost"),
            Self::Acquired(acquired) => match acquired {
                Acquired::Acquired(grant) => {
                    write!(f, "acquired: attempt {}, fence {}", grant.attempt, grant.lock.fence)?;
                    grant
                        .prior
                        .iter()
                        .try_for_each(|prior| write!(f, ", told that attempt {} is unknown", prior.attempt))
                }
                Acquired::InProgress { attempt, remaining } => {
                    write!(f, "in progress: attempt {attempt}, {remaining:?} left")
                }
                Acquired::Completed(found) => write!(f, "{}", describe(&found.record, found.now)),
                Acquired::Mismatch => f.write_str("mismatch"),
                Acquired::Unknown { prior, on_unknown } => {
                    write!(f, "unknown: attempt {}, policy {on_unknown:?}", prior.attempt)
                }
                Acquired::Ended => f.write_str("ended: this owner's attempt is over"),
            },
        }
    }
}

/// How a record stands at `now`, in words.
#[must_use]
pub fn describe(record: &Record, now: Timestamp) -> String {
    use idempotency_core::State;

    let attempt = record.attempt;
    if now >= record.forgotten_at() {
        return format!("forgotten (was attempt {attempt})");
    }
    match (&record.state, record.unknown_at(now)) {
        (State::Completed { result, .. }, _) => format!("completed by attempt {attempt}: {}", completion(result)),
        (State::Released { .. }, _) => format!("released by attempt {attempt}"),
        (State::InProgress { lease_until, .. }, _) if now < *lease_until => {
            format!("in progress: attempt {attempt}, {:?} left", now.until(*lease_until))
        }
        (_, Some(unknown)) => format!("unknown: attempt {}, {}", unknown.attempt, ended(unknown.ended)),
        (State::InProgress { .. } | State::Unknown { .. }, None) => format!("free: attempt {attempt} never ran"),
    }
}

const fn ended(ended: idempotency_core::Ended) -> &'static str {
    match ended {
        idempotency_core::Ended::Lapsed => "its lease ran out",
        idempotency_core::Ended::Told => "its caller said so",
    }
}

fn completion(result: &Completion) -> String {
    match result {
        // A few digits of a digest, so that two values of one length are told apart, and none is shown.
        Completion::Value(bytes) => {
            let mut hasher = DefaultHasher::new();
            bytes.hash(&mut hasher);
            format!("a value of {} bytes, #{:04x}", bytes.len(), hasher.finish() & 0xffff)
        }
        Completion::Omitted(why) => format!("no value, as {why}"),
    }
}
