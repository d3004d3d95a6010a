//! The calls on their way between the clients, the store and the world outside.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use idempotency_core::{Clock, Fence, IdempotencyStore, Key, StoreError, StoreErrorKind};

use super::clock::SimClock;
use super::effects::EffectError;
use super::event::Flight;
use super::quiet::caught;
use super::referee::Referee;
use super::signal::Signal;
use crate::call::{Answer, Call};
use crate::rule::Rule;

/// The network of one run, shared by its clients.
#[derive(Clone, Debug)]
pub(super) struct Shared(Arc<Mutex<Net>>);

/// What is called.
#[derive(Clone, Debug)]
pub(super) enum Cargo {
    /// The store.
    Store { key: Key, call: Call },
    /// The world outside, to have an effect; one of several of this key where it has a name.
    Effect { key: Key, name: Option<Arc<str>>, fence: Option<Fence> },
    /// The world outside, to look.
    Look { key: Key, fence: Fence },
}

/// What is answered.
#[derive(Debug)]
pub(super) enum Reply {
    Store(Result<Answer, StoreError>),
    Outside(Result<bool, EffectError>),
}

type Making = Pin<Box<dyn Future<Output = Result<Answer, StoreError>> + Send>>;

pub(super) enum Stage {
    /// On its way to the store.
    Sent,
    /// The store is at it, and has come to an await point.
    Making(Making, Arc<Signal>),
    /// Its answer is on its way back.
    Answered(Reply),
    /// Its client has yet to take the answer.
    Delivered(Reply),
    /// Between two stages.
    Moving,
}

/// One call on its way.
pub(super) struct Airborne {
    pub(super) flight: Flight,
    pub(super) cargo: Cargo,
    pub(super) stage: Stage,
    /// Whether nobody waits for the answer any more.
    pub(super) alone: bool,
    pub(super) waker: Option<Waker>,
}

pub(super) struct Net {
    pub(super) store: Arc<dyn IdempotencyStore>,
    pub(super) clock: SimClock,
    pub(super) airborne: Vec<Airborne>,
    pub(super) referee: Referee,
    /// How many calls each client has made.
    numbers: Vec<u16>,
    /// Whose process is dead.
    dead: Vec<bool>,
    /// How often something happened that ends a wait.
    pub(super) happened: u64,
    /// Who waits for that.
    pub(super) waiting: Option<Waker>,
    pub(super) longest_lease: Duration,
}

impl fmt::Debug for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Net").field("calls", &self.numbers).finish_non_exhaustive()
    }
}

impl Reply {
    pub(super) fn store(self) -> Result<Answer, StoreError> {
        match self {
            Self::Store(answer) => answer,
            Self::Outside(_) => Err(StoreError::new(StoreErrorKind::Internal, "schedule")),
        }
    }

    pub(super) fn effect(self) -> Result<bool, EffectError> {
        match self {
            Self::Outside(answer) => answer,
            Self::Store(_) => Err(EffectError::NoAnswer),
        }
    }
}

impl Airborne {
    pub(super) const fn is_late(&self) -> bool {
        self.alone && matches!(self.stage, Stage::Sent)
    }
}

impl Shared {
    pub(super) fn new(store: Arc<dyn IdempotencyStore>, clock: SimClock, referee: Referee) -> Self {
        Self(Arc::new(Mutex::new(Net {
            store,
            clock,
            airborne: Vec::new(),
            referee,
            numbers: Vec::new(),
            dead: Vec::new(),
            happened: 0,
            waiting: None,
            longest_lease: Duration::ZERO,
        })))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Net> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings a call to the store or the world outside, up to its answer or its next await point.
    pub(super) fn carry(&self, flight: Flight) {
        let mut net = self.lock();
        let Some(at) = net.position(flight) else { return };
        let stage = std::mem::replace(&mut net.airborne[at].stage, Stage::Moving);
        let cargo = net.airborne[at].cargo.clone();
        let Cargo::Store { key, call } = cargo else {
            let reply = net.referee.outside(flight, &cargo);
            return net.answered(flight, Reply::Outside(Ok(reply.unwrap_or(false))).or_stale(reply));
        };
        let (mut making, signal): (Making, _) = match stage {
            Stage::Making(making, signal) => (making, signal),
            Stage::Sent | Stage::Answered(_) | Stage::Delivered(_) | Stage::Moving => {
                let now = net.clock.now();
                net.referee.begun(flight, &key, &call, now);
                let (store, key, call) = (net.store.clone(), key.clone(), call.clone());
                (Box::pin(async move { call.send(&key, &*store).await }), Signal::woken())
            }
        };
        drop(net);
        signal.wait();
        let waker = Waker::from(signal.clone());
        let polled = caught(|| making.as_mut().poll(&mut Context::from_waker(&waker)));
        let mut net = self.lock();
        let polled = polled.unwrap_or_else(|panic| {
            net.referee.breaks(Rule::NoPanic, || format!("the store panicked: {panic}"));
            Poll::Ready(Err(StoreError::new(StoreErrorKind::Internal, "schedule").with_message("it panicked")))
        });
        match polled {
            Poll::Ready(answer) => {
                let now = net.clock.now();
                net.referee.answered(flight, now, &answer);
                net.answered(flight, Reply::Store(answer));
            }
            Poll::Pending => {
                if let Some(at) = net.position(flight) {
                    net.airborne[at].stage = Stage::Making(making, signal);
                }
            }
        }
    }
}

impl Reply {
    /// A refusal, where the world outside gave no answer but that.
    fn or_stale(self, answer: Option<bool>) -> Self {
        if answer.is_none() { Self::Outside(Err(EffectError::Stale)) } else { self }
    }
}

impl Net {
    /// Where a call is that the schedule can move: of one that was given up, the half that is late, and
    /// not the client's, which may have yet to take its answer.
    pub(super) fn position(&self, flight: Flight) -> Option<usize> {
        let is_it = |one: &Airborne| one.flight == flight && !matches!(one.stage, Stage::Delivered(_));
        self.airborne.iter().position(is_it)
    }

    fn answered(&mut self, flight: Flight, reply: Reply) {
        self.referee.tell(flight, &reply);
        let Some(at) = self.position(flight) else { return };
        if self.airborne[at].alone {
            self.airborne.remove(at);
        } else {
            self.airborne[at].stage = Stage::Answered(reply);
        }
    }

    /// Gives a client the answer to a call.
    pub(super) fn deliver(&mut self, flight: Flight) {
        let Some(at) = self.position(flight) else { return };
        let Stage::Answered(reply) = std::mem::replace(&mut self.airborne[at].stage, Stage::Moving) else { return };
        if let Cargo::Store { key, .. } = &self.airborne[at].cargo {
            self.referee.delivered(flight, key, &reply);
        }
        self.hand_over(at, reply);
    }

    /// Tells a client that there is no answer; a call that was not made yet may be made late.
    pub(super) fn lose(&mut self, flight: Flight) {
        let Some(at) = self.position(flight) else { return };
        let was_sent = matches!(self.airborne[at].stage, Stage::Sent);
        let reply = self.airborne[at].cargo.failed(StoreErrorKind::InDoubt);
        if was_sent {
            // The client's half goes on as a call that has been answered, the other as a late one.
            let late = Airborne {
                flight: self.airborne[at].flight,
                cargo: self.airborne[at].cargo.clone(),
                stage: Stage::Sent,
                alone: true,
                waker: None,
            };
            self.airborne.push(late);
        }
        self.hand_over(at, reply);
    }

    /// Tells a client that a call failed with nothing done.
    pub(super) fn fail(&mut self, flight: Flight) {
        let Some(at) = self.position(flight) else { return };
        let reply = self.airborne[at].cargo.failed(StoreErrorKind::Unavailable);
        self.hand_over(at, reply);
    }

    fn hand_over(&mut self, at: usize, reply: Reply) {
        let one = &mut self.airborne[at];
        one.stage = Stage::Delivered(reply);
        if let Some(waker) = one.waker.take() {
            waker.wake();
        }
    }

    /// A client's process dies: what it had sent may still arrive, and no answer reaches it.
    pub(super) fn crash(&mut self, client: u8) {
        let index = usize::from(client);
        if self.dead.len() <= index {
            self.dead.resize(index + 1, false);
        }
        self.dead[index] = true;
        for one in self.airborne.iter_mut().filter(|one| one.flight.client == client) {
            one.alone = true;
        }
        self.airborne.retain(|one| !one.alone || matches!(one.stage, Stage::Sent | Stage::Making(..)));
    }

    /// The store goes down: the calls it is at are lost.
    pub(super) fn restart(&mut self) {
        let lost: Vec<Flight> =
            self.airborne.iter().filter(|one| matches!(one.stage, Stage::Making(..))).map(|one| one.flight).collect();
        for flight in lost {
            let Some(at) = self.position(flight) else { continue };
            if self.airborne[at].alone {
                self.airborne.remove(at);
            } else {
                let reply = self.airborne[at].cargo.failed(StoreErrorKind::InDoubt);
                self.hand_over(at, reply);
            }
        }
        self.referee.restarted();
    }

    pub(super) fn is_dead(&self, client: u8) -> bool {
        self.dead.get(usize::from(client)).copied().unwrap_or(false)
    }
}

impl Cargo {
    fn failed(&self, kind: StoreErrorKind) -> Reply {
        match self {
            Self::Store { call, .. } => {
                Reply::Store(Err(StoreError::new(kind, call.method().name()).with_message("by the schedule")))
            }
            Self::Effect { .. } | Self::Look { .. } => Reply::Outside(Err(EffectError::NoAnswer)),
        }
    }
}

impl Net {
    pub(super) fn next_flight(&mut self, client: u8) -> Flight {
        let index = usize::from(client);
        if self.numbers.len() <= index {
            self.numbers.resize(index + 1, 0);
        }
        let number = self.numbers[index];
        self.numbers[index] = number.saturating_add(1);
        Flight { client, number }
    }
}
