//! What a store is, as data; and what a service requires of it.

use std::fmt;
use std::time::Duration;

/// What a store survives, and where its time and its fences come from, as it found them to be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Guarantees {
    /// The store's name, such as `memory` or `sled`.
    pub store: &'static str,
    /// Whether several processes may use it at once.
    pub shared: Answer,
    /// Whether what it acknowledged survives the kill of its process.
    pub survives_process_crash: Answer,
    /// Whether what it acknowledged survives a power cut.
    pub survives_machine_crash: Answer,
    /// Whether what it acknowledged survives the loss of the machine it is on.
    pub survives_failover: Answer,
    /// Whose clock judges leases and retention.
    pub clock: ClockSource,
    /// Where fences come from.
    pub fences: FenceSource,
}

impl Guarantees {
    /// A store of which nothing is known: it promises nothing.
    #[must_use]
    pub fn none(store: &'static str) -> Self {
        let untold = || Answer::CannotTell("the store does not say".into());
        Self {
            store,
            shared: untold(),
            survives_process_crash: untold(),
            survives_machine_crash: untold(),
            survives_failover: untold(),
            clock: ClockSource::Process,
            fences: FenceSource::Counter,
        }
    }
}

/// Whether a store has a property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It has it.
    Yes,
    /// It lacks it; here is why, and which setting would change it.
    No(String),
    /// It could not be found out; here is why, and what would let it.
    CannotTell(String),
}

/// Whose clock judges leases and retention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClockSource {
    /// The clock of the one process that holds the store.
    Process,
    /// The server's clock.
    Server,
}

/// Where fences come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FenceSource {
    /// A counter that is as durable as the locks.
    Counter,
    /// The store's clock, which may step back by up to `tolerates` without a fence being repeated.
    Clock {
        /// The largest step or skew that does no harm.
        tolerates: Duration,
    },
}

/// What a service requires of its store, checked when it starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use = "requirements do nothing until they are checked"]
pub struct Requirements {
    shared: bool,
    process_crash: bool,
    machine_crash: bool,
    failover: bool,
}

impl Requirements {
    /// Requires nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Requires that several processes may use the store at once.
    pub const fn shared(self) -> Self {
        Self { shared: true, ..self }
    }

    /// Requires that acknowledged records survive the kill of a process.
    pub const fn survives_process_crash(self) -> Self {
        Self { process_crash: true, ..self }
    }

    /// Requires that acknowledged records survive a power cut.
    pub const fn survives_machine_crash(self) -> Self {
        Self { machine_crash: true, ..self }
    }

    /// Requires that acknowledged records survive the loss of the store's machine.
    pub const fn survives_failover(self) -> Self {
        Self { failover: true, ..self }
    }

    /// Holds a store's guarantees against these requirements.
    ///
    /// # Errors
    /// [`TooWeak`], naming every requirement that the store misses or cannot vouch for.
    pub fn check(self, found: &Guarantees) -> Result<(), TooWeak> {
        let required = [
            (self.shared, "shared between processes", &found.shared),
            (self.process_crash, "survives a process crash", &found.survives_process_crash),
            (self.machine_crash, "survives a machine crash", &found.survives_machine_crash),
            (self.failover, "survives a failover", &found.survives_failover),
        ];
        let missing: Vec<String> = required
            .into_iter()
            .filter(|(required, ..)| *required)
            .filter_map(|(_, what, answer)| match answer {
                Answer::Yes => None,
                Answer::No(why) => Some(format!("\"{what}\" does not hold: {why}")),
                Answer::CannotTell(why) => Some(format!("cannot tell whether it {what}: {why}")),
            })
            .collect();
        if missing.is_empty() { Ok(()) } else { Err(TooWeak { store: found.store, missing }) }
    }
}

/// A store is weaker than the service requires, or cannot tell.
#[derive(Clone, PartialEq, Eq)]
pub struct TooWeak {
    store: &'static str,
    missing: Vec<String>,
}

impl fmt::Display for TooWeak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} store is too weak for this service: {}", self.store, self.missing.join("; "))
    }
}

/// As `Display`, for whoever reads it where a program's `main` returns it.
impl fmt::Debug for TooWeak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl std::error::Error for TooWeak {}
