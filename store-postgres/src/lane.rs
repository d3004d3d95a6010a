//! Calls of one kind that travel together in one statement: group commit.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use idempotency_core::{StoreError, StoreErrorKind};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::row::Name;

/// The most calls in one statement.
const MOST: usize = 256;
/// And the most bytes of values, but for a call that has more by itself: what is over its limit is not done
/// at all, and the server takes no statement of a gigabyte.
const MOST_BYTES: usize = 8 * 1024 * 1024;
/// How many statements of one kind are under way at once: while few wait, and where this many do. A
/// statement waits for the disk; whoever waits for it to end before he goes out, waits for the disk twice.
const AT_ONCE: u32 = 1;
const AT_MOST: u32 = 2;
const MANY: usize = 32;

/// A call, for one key.
pub(crate) trait Call: Send + Sync + 'static {
    /// What it is answered.
    type Answer: Send + 'static;

    /// The key that it is for.
    fn name(&self) -> &Name;

    /// How large the value is that it carries.
    fn bytes(&self) -> usize {
        0
    }
}

/// Why a statement failed.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) error: StoreError,
    /// Nothing was done, and each of its calls may fare better by itself.
    pub(crate) alone: bool,
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self { error, alone: false }
    }
}

type Answer<C> = Result<<C as Call>::Answer, StoreError>;

/// A call that waits for its statement.
type Waiting<C> = (C, oneshot::Sender<Answer<C>>);

/// What carries calls out. All that are given have different keys, in order.
pub(crate) trait Carrier<C: Call>: Send + Sync + 'static {
    /// Carries them all out in one statement, and answers each in its place.
    fn carry(&self, calls: &[C]) -> impl Future<Output = Result<Vec<C::Answer>, Refused>> + Send;
}

/// Calls of one kind. A call that comes while fewer than [`AT_ONCE`] statements are under way goes out at
/// once, sent by its own caller; those that come while as many are, go out together in the next one.
pub(crate) struct Lane<C: Call, T> {
    carrier: Arc<T>,
    limit: Duration,
    state: Mutex<State<C>>,
}

struct State<C: Call> {
    waiting: Vec<Waiting<C>>,
    under_way: u32,
}

impl<C: Call, T> fmt::Debug for Lane<C, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        let (waiting, under_way) = (state.waiting.len(), state.under_way);
        f.debug_struct("Lane").field("waiting", &waiting).field("under_way", &under_way).finish_non_exhaustive()
    }
}

impl<C: Call, T> Lane<C, T> {
    fn state(&self) -> MutexGuard<'_, State<C>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C: Call, T: Carrier<C>> Lane<C, T> {
    /// Waiting and being carried out take no longer than `limit` together.
    pub(crate) fn new(carrier: Arc<T>, limit: Duration) -> Arc<Self> {
        Arc::new(Self { carrier, limit, state: Mutex::new(State { waiting: Vec::new(), under_way: 0 }) })
    }

    /// Makes a call. Dropped before it is answered, it is carried out all the same, or not at all.
    pub(crate) async fn call(self: &Arc<Self>, operation: &'static str, call: C) -> Answer<C> {
        match self.begin(call) {
            Begun::Alone(call, place) => {
                let answer = alone(&*self.carrier, operation, &call).await;
                drop(place);
                answer
            }
            Begun::Waits(answered) => match timeout(self.limit, answered).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => Err(in_doubt(operation, "the runtime is shutting down".into())),
                Err(_) => Err(in_doubt(operation, format!("Postgres: no answer within {:?}", self.limit))),
            },
        }
    }

    fn begin(self: &Arc<Self>, call: C) -> Begun<C, T> {
        let mut state = self.state();
        if state.under_way < AT_ONCE {
            state.under_way += 1;
            return Begun::Alone(call, Place(self.clone()));
        }
        let (answer, answered) = oneshot::channel();
        state.waiting.push((call, answer));
        if state.waiting.len() >= MANY && state.under_way < AT_MOST {
            state.under_way += 1;
            drop(state);
            tokio::spawn(Driver { lane: self.clone(), has_left: false }.drive());
        }
        Begun::Waits(answered)
    }

    /// Takes what goes out together: of calls for one key, the first. Those that nobody waits for any more
    /// do not go out.
    fn take(&self) -> Vec<Waiting<C>> {
        let mut state = self.state();
        let waiting = std::mem::take(&mut state.waiting);
        let (mut taken, mut names) = (Vec::with_capacity(waiting.len().min(MOST)), HashSet::new());
        let mut bytes = 0;
        for (call, answer) in waiting {
            if answer.is_closed() {
                continue;
            }
            let with_it = call.bytes().saturating_add(bytes);
            let has_room = taken.len() < MOST && (taken.is_empty() || with_it <= MOST_BYTES);
            if has_room && names.insert(call.name().key.clone()) {
                bytes = with_it;
                taken.push((call, answer));
            } else {
                state.waiting.push((call, answer));
            }
        }
        drop(state);
        taken.sort_by(|(one, _), (other, _)| one.name().cmp(other.name()));
        taken
    }

    async fn carry_together(self: &Arc<Self>, taken: Vec<Waiting<C>>) {
        let (calls, answers): (Vec<C>, Vec<_>) = taken.into_iter().unzip();
        match self.carrier.carry(&calls).await {
            Ok(told) => {
                for (answer, told) in answers.into_iter().zip(told) {
                    let _ = answer.send(Ok(told));
                }
            }
            // Whatever went wrong with one of them is not its neighbours' fault.
            Err(Refused { alone: true, .. }) if calls.len() > 1 => {
                for (call, answer) in calls.into_iter().zip(answers) {
                    let carrier = self.carrier.clone();
                    tokio::spawn(async move {
                        let _ = answer.send(alone(&*carrier, "batch", &call).await);
                    });
                }
            }
            Err(Refused { error, .. }) => {
                for answer in answers {
                    let same = StoreError::new(error.kind(), error.operation()).with_message(error.to_string());
                    let _ = answer.send(Err(same));
                }
            }
        }
    }
}

/// How a call goes out.
enum Begun<C: Call, T: Carrier<C>> {
    Alone(C, Place<C, T>),
    Waits(oneshot::Receiver<Answer<C>>),
}

fn in_doubt(operation: &'static str, message: String) -> StoreError {
    StoreError::new(StoreErrorKind::InDoubt, operation).with_message(message)
}

async fn alone<C: Call>(carrier: &impl Carrier<C>, operation: &'static str, call: &C) -> Answer<C> {
    let mut told = carrier.carry(std::slice::from_ref(call)).await.map_err(|refused| refused.error)?;
    told.pop().ok_or_else(|| StoreError::new(StoreErrorKind::Internal, operation))
}

/// The place of a statement that is under way. Whoever leaves it has those go on that wait.
struct Place<C: Call, T: Carrier<C>>(Arc<Lane<C, T>>);

impl<C: Call, T: Carrier<C>> Drop for Place<C, T> {
    fn drop(&mut self) {
        let lane = &self.0;
        let runtime = Handle::try_current();
        {
            let mut state = lane.state();
            let (false, Ok(_)) = (state.waiting.is_empty(), &runtime) else {
                state.leave();
                return;
            };
        }
        if let Ok(runtime) = runtime {
            runtime.spawn(Driver { lane: lane.clone(), has_left: false }.drive());
        }
    }
}

impl<C: Call> State<C> {
    /// One statement fewer. Where nobody is left to carry out those that wait, their callers are told.
    fn leave(&mut self) {
        self.under_way -= 1;
        if self.under_way == 0 {
            self.waiting.clear();
        }
    }
}

/// Sends one statement after another as long as calls wait. In a task of its own: a statement with the
/// calls of others must not end with one of their callers.
struct Driver<C: Call, T: Carrier<C>> {
    lane: Arc<Lane<C, T>>,
    has_left: bool,
}

impl<C: Call, T: Carrier<C>> Driver<C, T> {
    async fn drive(mut self) {
        while !self.leaves() {
            let taken = self.lane.take();
            if !taken.is_empty() {
                self.lane.carry_together(taken).await;
            }
        }
    }

    /// Leaves where nobody waits, or where others suffice: one step, so that nobody comes in between.
    fn leaves(&mut self) -> bool {
        let mut state = self.lane.state();
        if state.waiting.is_empty() || (state.under_way > AT_ONCE && state.waiting.len() < MANY) {
            state.leave();
            self.has_left = true;
        }
        self.has_left
    }
}

impl<C: Call, T: Carrier<C>> Drop for Driver<C, T> {
    fn drop(&mut self) {
        // Cut off, by a panic or the end of the runtime.
        if !self.has_left {
            self.lane.state().leave();
        }
    }
}
