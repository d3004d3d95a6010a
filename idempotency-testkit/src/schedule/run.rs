//! One run, from the first step to the last.

// A run and all that it drives live on one thread.
#![allow(clippy::future_not_send)]

mod client;
mod options;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use idempotency_core::{Clock, LONGEST, defaults};
use tokio::runtime::Builder;
use tokio::time::{advance, sleep};

use super::bounds::Bounds;
use super::clock::SimClock;
use super::event::{Event, Flight};
use super::network::{Shared, Stage};
use super::plan::{Handling, Plan, Simulated};
use super::quiet::caught;
use super::referee::{Referee, Violation};
use super::source::Source;
use super::teller::Teller;
use super::trace::{Then, Trace};
use super::world::World;
use crate::rule::Rule;
use client::Client;

/// What came of a run.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) steps: Vec<Event>,
    pub(super) violation: Option<Violation>,
    pub(super) trace: Option<Trace>,
    /// How many effects there were.
    pub(super) effects: usize,
}

/// More steps than any request of a service that ends; a run has as many for each of its clients.
const MOST_STEPS: usize = 600;

/// More polls than anything needs that gets on, before time can go on.
const MOST_POLLS: u32 = 100_000;

pub(super) struct Run<'a> {
    plan: &'a Plan,
    left: Bounds,
    net: Shared,
    clock: SimClock,
    restart: Option<Arc<dyn Fn() + Send + Sync>>,
    clients: Vec<Client>,
    /// The clients that come last, when all others are done and nothing goes wrong any more.
    last_from: usize,
    waker: Arc<Mutex<Option<Waker>>>,
    teller: Option<Teller>,
    steps: Vec<Event>,
    /// The time for which the schedule itself held everything up: no request is blamed for it.
    held_up: Duration,
}

/// Runs one schedule: `handle` makes a request's future, for the client given. The last `last` clients
/// come when all is quiet again.
pub(super) fn run(
    plan: &Plan,
    clients: usize,
    last: usize,
    handle: &dyn Fn(World, usize) -> Handling,
    source: &mut dyn Source,
    tell: Option<Vec<String>>,
) -> Ended {
    assert!(
        tokio::runtime::Handle::try_current().is_err(),
        "a schedule has a runtime of its own, whose time it rules: call it in a plain #[test], not in a #[tokio::test]"
    );
    // Delays with jitter are drawn from this generator, which is the thread's own.
    fastrand::seed(7);
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.unwrap_or_else(|error| panic!("no runtime could be made: {error}"));
    runtime.block_on(async {
        let clock = SimClock::new();
        let Simulated { store, restart } = (plan.make_store)(clock.clone());
        let net = Shared::new(store, clock.clone(), Referee::new(plan.rule, tell.is_some()));
        let waker = Arc::new(Mutex::new(None));
        let mut run = Run {
            plan,
            left: plan.bounds,
            net,
            clock,
            restart,
            clients: (0..clients).map(|_| Client::new(&waker)).collect(),
            last_from: clients - last,
            waker: waker.clone(),
            teller: tell.map(|requests| Teller::new(clients, requests)),
            steps: Vec::new(),
            held_up: Duration::ZERO,
        };
        let violation = run.carry_out(handle, source).await;
        let trace = run.teller.take().map(|teller| teller.finish(violation.clone()));
        // What still runs is dropped with its processes: its calls go nowhere.
        for client in 1..=run.clients.len() {
            run.net.lock().crash(u8::try_from(client).unwrap_or(u8::MAX));
        }
        for client in run.clients.drain(..) {
            // No process would have dropped it.
            let _panic = caught(|| drop(client));
        }
        let effects = run.net.lock().referee.effects();
        Ended { steps: std::mem::take(&mut run.steps), violation, trace, effects }
    })
}

impl Run<'_> {
    async fn carry_out(
        &mut self,
        handle: &dyn Fn(World, usize) -> Handling,
        source: &mut dyn Source,
    ) -> Option<Violation> {
        loop {
            let enabled = self.enabled(source.is_done());
            if enabled.is_empty() {
                let mut net = self.net.lock();
                net.referee.all_done(self.clients.len() - self.last_from);
                return net.referee.take_broken();
            }
            let chosen = source.choose(&enabled, &|event| self.touches(event))?;
            let event = enabled[chosen];
            if chosen > 0 {
                let late = event.flight().is_some_and(|flight| self.is_late(flight));
                // Where nothing is on its way, nobody is held up: it costs nothing.
                let idle = matches!(enabled[..], [Event::Begin(_), Event::Wait, ..]) && event == Event::Wait;
                if !idle {
                    self.left.take(event, late);
                }
            }
            self.steps.push(event);
            if let Some(teller) = &mut self.teller {
                teller.before(event, &self.net, self.clock.elapsed());
            }
            self.happen(event, handle).await;
            if let Some(teller) = &mut self.teller {
                teller.after(event, &self.net, self.clock.now());
            }
            self.all_in_time();
            self.all_in_steps(event);
            let mut net = self.net.lock();
            if let Some(violation) = net.referee.take_broken() {
                return Some(violation);
            }
        }
    }

    async fn happen(&mut self, event: Event, handle: &dyn Fn(World, usize) -> Handling) {
        match event {
            Event::Begin(client) => {
                let at = usize::from(client) - 1;
                match caught(|| handle(World::new(self.net.clone(), client), at)) {
                    Ok(handling) => self.clients[at].handling = Some(handling),
                    Err(panic) => self.panicked(client, &panic),
                }
                self.clients[at].begun = true;
                self.clients[at].began = self.counted();
            }
            Event::Carry(flight) => self.net.carry(flight),
            Event::Deliver(flight) => self.net.lock().deliver(flight),
            Event::Exchange(flight) => {
                self.net.carry(flight);
                while self.is_making(flight) {
                    self.settle().await;
                    self.net.carry(flight);
                }
                self.net.lock().deliver(flight);
            }
            Event::Lose(flight) => self.net.lock().lose(flight),
            Event::Fail(flight) => self.net.lock().fail(flight),
            Event::Crash(client) => {
                // What runs is left as it is, as by a kill: not even dropped.
                self.clients[usize::from(client) - 1].crashed = true;
                self.net.lock().crash(client);
            }
            Event::Drop(client) => {
                let handling = self.clients[usize::from(client) - 1].handling.take();
                if let Err(panic) = caught(|| drop(handling)) {
                    self.panicked(client, &panic);
                }
            }
            Event::Lapse => {
                let lapse = self.lease() + Duration::from_millis(1);
                self.held_up += lapse;
                advance(lapse).await;
            }
            Event::Wait => return self.wait().await,
            Event::Restart => {
                if let Some(restart) = &self.restart {
                    restart();
                }
                self.net.lock().restart();
            }
            Event::StepBack => self.clock.step_back(self.lease() * 2),
        }
        self.settle().await;
    }

    fn panicked(&self, client: u8, panic: &str) {
        let what = || format!("the request of client {client} panicked: {panic}");
        self.net.lock().referee.breaks(Rule::NoPanic, what);
    }

    fn lease(&self) -> Duration {
        let longest = self.net.lock().longest_lease;
        if longest.is_zero() { defaults::LEASE } else { longest.min(LONGEST) }
    }

    fn is_making(&self, flight: Flight) -> bool {
        let net = self.net.lock();
        net.position(flight).is_some_and(|at| matches!(net.airborne[at].stage, Stage::Making(..)))
    }

    /// Lets everybody go on until nobody can. Takes a millisecond of the run's time.
    async fn settle(&mut self) {
        // Woken only when nothing else can be, as the runtime then lets time pass.
        let mut tick = pin!(sleep(Duration::from_millis(1)));
        poll_fn(|cx| {
            self.poll_clients(cx);
            tick.as_mut().poll(cx)
        })
        .await;
    }

    /// Lets time pass until something happens: at the longest, so long that a request ought to have
    /// ended, or for a lease where calls are held up.
    async fn wait(&mut self) {
        let (before, held_up) = {
            let net = self.net.lock();
            (net.happened, net.airborne.iter().any(|one| !one.is_late()))
        };
        let began = self.clock.elapsed();
        // A moment more than a request may take, so that one that does nothing is found out.
        let longest = if held_up { self.lease() } else { self.plan.within.saturating_add(Duration::from_millis(1)) };
        let mut longest = pin!(sleep(longest));
        poll_fn(|cx| {
            let ended = self.poll_clients(cx);
            let mut net = self.net.lock();
            if ended || net.happened != before {
                return Poll::Ready(());
            }
            net.waiting = Some(cx.waker().clone());
            drop(net);
            longest.as_mut().poll(cx)
        })
        .await;
        if held_up {
            self.held_up += self.clock.elapsed() - began;
        }
        self.settle().await;
    }

    /// The time that counts: less that for which the schedule held everything up.
    fn counted(&self) -> Duration {
        self.clock.elapsed().saturating_sub(self.held_up)
    }

    /// Sees to it that no request takes longer than it may.
    fn all_in_time(&self) {
        let (now, within) = (self.counted(), self.plan.within);
        let late = |client: &Client| client.is_running() && now.saturating_sub(client.began) > within;
        if let Some(at) = self.clients.iter().position(late) {
            self.net.lock().referee.breaks(Rule::RequestsEnd, || {
                format!("the request of client {} did not end within {within:?}, and nothing kept it", number(at))
            });
        }
    }

    /// Sees to it that no request takes more steps than any that ends.
    fn all_in_steps(&mut self, event: Event) {
        let client = event.client().and_then(|client| self.clients.get_mut(usize::from(client) - 1));
        let own = client.map_or(0, |client| {
            client.steps += 1;
            client.steps
        });
        if own > MOST_STEPS || self.steps.len() > MOST_STEPS * self.clients.len() {
            let whose = event.client().map_or_else(|| "a client".into(), |client| format!("client {client}"));
            self.net.lock().referee.breaks(Rule::RequestsEnd, || {
                format!("the request of {whose} goes on and on: more than {MOST_STEPS} steps")
            });
        }
    }

    /// Polls whoever was woken. Whether somebody's request ended.
    fn poll_clients(&mut self, cx: &mut Context<'_>) -> bool {
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
        let (mut ended, now) = (false, self.clock.elapsed());
        for (at, client) in self.clients.iter_mut().enumerate() {
            if client.crashed || !client.begun {
                continue;
            }
            while let Some(handling) = &mut client.handling {
                if !client.flag.woken.swap(false, Ordering::AcqRel) {
                    break;
                }
                let polls = if client.polled.0 == now { client.polled.1 } else { 0 };
                client.polled = (now, polls + 1);
                if polls == MOST_POLLS {
                    // It would go on for ever, and time would stand still.
                    client.crashed = true;
                    ended = true;
                    let what = || format!("the request of client {} wakes itself again and again", number(at));
                    self.net.lock().referee.breaks(Rule::RequestsEnd, what);
                    break;
                }
                let waker = Waker::from(client.flag.clone());
                let outcome = match caught(|| handling.as_mut().poll(&mut Context::from_waker(&waker))) {
                    Ok(Poll::Pending) => continue,
                    Ok(Poll::Ready(outcome)) => outcome,
                    Err(panic) => {
                        let what = format!("the request of client {} panicked: {panic}", number(at));
                        self.net.lock().referee.breaks(Rule::NoPanic, || what);
                        Err(format!("panicked: {panic}"))
                    }
                };
                let handling = client.handling.take();
                // After a panic, another one tells nothing new.
                let _panic = caught(|| drop(handling));
                ended = true;
                if let Some(teller) = &mut self.teller {
                    teller.then(number(at), Then::Ended(outcome));
                }
            }
        }
        ended
    }
}

fn number(at: usize) -> u8 {
    u8::try_from(at + 1).unwrap_or(u8::MAX)
}
