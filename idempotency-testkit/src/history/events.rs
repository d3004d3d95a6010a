//! Calls as they were seen from outside.

use std::collections::HashMap;
use std::sync::Arc;

use idempotency_core::{Key, StoreErrorKind, Timestamp};

use super::check::{self, Checked};
use super::timing::Timing;
use super::verdict::Verdict;
use crate::belief::Window;
use crate::call::{Answer, Call};

/// A history of calls, in the order in which they were sent and answered.
///
/// Put it together by hand, from a simulation or a test; have a `Recorder` do so; or read what many
/// processes wrote.
#[derive(Clone, Debug)]
pub struct History {
    pub(super) calls: Vec<Recorded>,
    pub(super) keys: Vec<Key>,
    numbers: HashMap<Arc<str>, usize>,
    events: usize,
    timing: Timing,
    step_limit: usize,
}

/// One call of a [`History`], for telling of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(usize);

/// One call, as its caller saw it.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Under which key; an index into what [`History::keys`] gives.
    pub key: usize,
    /// Who called.
    pub client: Arc<str>,
    /// What.
    pub call: Call,
    /// The number of the event of sending it, among all sendings and answers from 0.
    pub sent: usize,
    /// When it was sent, on the recorder's clock.
    pub sent_at: Timestamp,
    /// The number of the event of its answer, and when that came; `None` where none did.
    pub answered: Option<(usize, Timestamp)>,
    /// The answer, or the kind of error that came in its place.
    pub answer: Option<Result<Answer, StoreErrorKind>>,
    /// When it was carried out, on the store's clock, where that is known better than by its sending
    /// and its answer.
    pub carried_out: Option<Window>,
}

impl Default for History {
    fn default() -> Self {
        Self::new()
    }
}

impl History {
    /// How many steps a key's search makes before it gives up, unless told otherwise.
    pub const STEP_LIMIT: usize = 2_000_000;

    /// An empty history whose recorder reads the store's own clock, as in a simulation.
    #[must_use]
    pub fn new() -> Self {
        Self {
            calls: Vec::new(),
            keys: Vec::new(),
            numbers: HashMap::new(),
            events: 0,
            timing: Timing::EXACT,
            step_limit: Self::STEP_LIMIT,
        }
    }

    /// Says how the recorder's clock and the store's stand to each other.
    #[must_use]
    pub fn with_timing(self, timing: Timing) -> Self {
        Self { timing, ..self }
    }

    /// Gives up on a key after so many steps; one is an answer held against what may be kept.
    #[must_use]
    pub fn with_step_limit(self, step_limit: usize) -> Self {
        Self { step_limit, ..self }
    }

    /// A call is sent. All that was answered before, in the order of calls to this history, happened
    /// before it.
    pub fn sent(&mut self, key: &Key, client: impl Into<Arc<str>>, call: Call, at: Timestamp) -> CallId {
        let key = match self.numbers.get(key.as_str()) {
            Some(number) => *number,
            None => {
                self.numbers.insert(key.to_shared_str(), self.keys.len());
                self.keys.push(key.clone());
                self.keys.len() - 1
            }
        };
        self.calls.push(Recorded {
            key,
            client: client.into(),
            call,
            sent: self.events,
            sent_at: at,
            answered: None,
            answer: None,
            carried_out: None,
        });
        self.events += 1;
        CallId(self.calls.len() - 1)
    }

    /// A call is answered, or failed.
    ///
    /// # Panics
    /// For a call of another history, and one that was answered already.
    pub fn answered(&mut self, call: CallId, at: Timestamp, answer: Result<Answer, StoreErrorKind>) {
        let recorded = &mut self.calls[call.0];
        assert!(recorded.answered.is_none(), "a call is answered once");
        recorded.answered = Some((self.events, at));
        recorded.answer = Some(answer);
        self.events += 1;
    }

    /// A call will have no answer: its caller went away, or does not listen. So it is for every call
    /// that is not told as answered; this says it to the reader.
    pub fn unanswered(&mut self, _call: CallId) {}

    /// It is known when a call was carried out on the store's clock, if it was: in a simulation, that
    /// may be long before its answer.
    ///
    /// # Panics
    /// For a call of another history.
    pub fn carried_out(&mut self, call: CallId, within: Window) {
        self.calls[call.0].carried_out = Some(within);
    }

    /// The calls, in the order of their sending.
    #[must_use]
    pub fn calls(&self) -> &[Recorded] {
        &self.calls
    }

    /// The keys, in the order of their first calls.
    #[must_use]
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// Forgets all calls, so that the next history takes no new memory.
    pub fn clear(&mut self) {
        self.calls.clear();
        self.keys.clear();
        self.numbers.clear();
        self.events = 0;
    }

    /// Looks for an order of the calls that explains every answer.
    ///
    /// By the search of Wing and Gong (*Testing and verifying concurrent objects*, 1993) with the
    /// memory of Lowe (*Testing for linearizability*, 2017) for each key; a call that changes nothing
    /// is placed as soon as its answer is right, what an unanswered call may have done is looked at
    /// only where nothing else goes on, and nothing is gone on with that a later answer rules out.
    ///
    /// # Errors
    /// [`Verdict::Impossible`] where no order explains the answers, with the first key and the first
    /// answer of which that is so; [`Verdict::GaveUp`] where none was found within the limit of
    /// steps, which is neither a pass nor a failure.
    pub fn check(&self) -> Result<Checked, Verdict> {
        check::check(self, &self.timing, self.step_limit)
    }
}
