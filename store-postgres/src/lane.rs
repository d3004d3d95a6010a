//! Calls of one kind that travel together in one statement: group commit.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use idempotency_core::{StoreError, StoreErrorKind};
use tokio::sync::oneshot;

use crate::row::Name;

/// The most calls in one statement.
const MOST: usize = 256;
/// How many statements of one kind are under way at once.
const AT_ONCE: u32 = 2;

/// A call, for one key.
pub(crate) trait Call: Send + 'static {
    /// What it is answered.
    type Answer: Send + 'static;

    /// The key that it is for.
    fn name(&self) -> &Name;
}

/// A call that waits for its statement.
type Waiting<C> = (C, oneshot::Sender<Result<<C as Call>::Answer, StoreError>>);

/// What carries calls out. All that are given have different keys, in order.
pub(crate) trait Carrier<C: Call>: Send + Sync + 'static {
    /// Carries them all out in one statement, and answers each in its place.
    fn carry(&self, calls: &[C]) -> impl Future<Output = Result<Vec<C::Answer>, StoreError>> + Send;
}

/// Calls of one kind. A call that comes while fewer than [`AT_ONCE`] statements are under way goes out at
/// once; those that come while as many are, go out together in the next one.
#[derive(Debug)]
pub(crate) struct Lane<C: Call, T> {
    carrier: Arc<T>,
    state: Mutex<State<C>>,
}

#[derive(Debug)]
struct State<C: Call> {
    waiting: Vec<Waiting<C>>,
    under_way: u32,
}

impl<C: Call, T: Carrier<C>> Lane<C, T> {
    pub(crate) fn new(carrier: Arc<T>) -> Arc<Self> {
        Arc::new(Self { carrier, state: Mutex::new(State { waiting: Vec::new(), under_way: 0 }) })
    }

    /// Makes a call. Dropped before it is answered, it is carried out all the same, or not at all.
    pub(crate) async fn call(self: &Arc<Self>, operation: &'static str, call: C) -> Result<C::Answer, StoreError> {
        let (answer, answered) = oneshot::channel();
        let goes = {
            let mut state = self.state();
            state.waiting.push((call, answer));
            let goes = state.under_way < AT_ONCE;
            state.under_way += u32::from(goes);
            goes
        };
        if goes {
            // In a task of its own: a statement whose caller goes away must come to its end.
            tokio::spawn(Driver(self.clone()).drive());
        }
        answered.await.unwrap_or_else(|_| {
            Err(StoreError::new(StoreErrorKind::InDoubt, operation).with_message("the runtime is shutting down"))
        })
    }

    /// Takes what goes out together: of calls for one key, the first.
    fn take(&self) -> Vec<Waiting<C>> {
        let mut state = self.state();
        let (mut taken, mut left, mut names) = (Vec::new(), Vec::new(), HashSet::new());
        for waiting in state.waiting.drain(..) {
            if taken.len() < MOST && names.insert(waiting.0.name().key.clone()) {
                taken.push(waiting);
            } else {
                left.push(waiting);
            }
        }
        state.waiting = left;
        if taken.is_empty() {
            state.under_way -= 1;
        }
        taken.sort_by(|(one, _), (other, _)| one.name().cmp(other.name()));
        taken
    }

    fn state(&self) -> MutexGuard<'_, State<C>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends one statement after another as long as calls wait; gives its place back if it is cut off.
struct Driver<C: Call, T: Carrier<C>>(Arc<Lane<C, T>>);

impl<C: Call, T: Carrier<C>> Driver<C, T> {
    async fn drive(self) {
        loop {
            let taken = self.0.take();
            if taken.is_empty() {
                std::mem::forget(self);
                return;
            }
            let (calls, answers): (Vec<C>, Vec<_>) = taken.into_iter().unzip();
            match self.0.carrier.carry(&calls).await {
                Ok(told) => {
                    for (answer, told) in answers.into_iter().zip(told) {
                        let _ = answer.send(Ok(told));
                    }
                }
                Err(error) if calls.len() == 1 => {
                    for answer in answers.into_iter().take(1) {
                        let _ = answer.send(Err(error));
                        break;
                    }
                }
                // Whatever went wrong with one of them is not its neighbours' fault: each by itself.
                Err(_) => {
                    for (call, answer) in calls.into_iter().zip(answers) {
                        let alone = std::slice::from_ref(&call);
                        let told = self.0.carrier.carry(alone).await.and_then(|mut told| {
                            told.pop().ok_or_else(|| StoreError::new(StoreErrorKind::Internal, "batch"))
                        });
                        let _ = answer.send(told);
                    }
                }
            }
        }
    }
}

impl<C: Call, T: Carrier<C>> Drop for Driver<C, T> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.under_way -= 1;
        if state.under_way == 0 {
            // Nobody is left to carry them out: their callers are told.
            state.waiting.clear();
        }
    }
}
