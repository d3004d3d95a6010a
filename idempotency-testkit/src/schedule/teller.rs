//! Puts a run's trace together as it goes.

use std::time::Duration;

use idempotency_core::{Key, Timestamp};

use super::event::{Event, Flight};
use super::network::{Cargo, Net, Reply, Shared};
use super::referee::Violation;
use super::trace::{Errand, Moved, Standing, Step, Then, Trace};
use crate::belief::Belief;

#[derive(Debug)]
pub(super) struct Teller {
    trace: Trace,
    /// What was told of clients before the step's own text was known.
    then: Vec<(u8, Then)>,
    at: Duration,
    /// What is moved in this step.
    moved: Option<Moved>,
    /// The calls that were on their way before.
    known: Vec<Flight>,
}

impl Teller {
    pub(super) fn new(clients: usize, requests: Vec<String>) -> Self {
        let clients = u8::try_from(clients).unwrap_or(u8::MAX);
        Self {
            trace: Trace { clients, requests, ..Trace::default() },
            then: Vec::new(),
            at: Duration::ZERO,
            moved: None,
            known: Vec::new(),
        }
    }

    pub(super) fn before(&mut self, event: Event, net: &Shared, at: Duration) {
        let net = net.lock();
        self.at = at;
        let carried = event.flight().and_then(|flight| net.position(flight));
        self.moved = carried.map(|at| moved(&net.airborne[at].cargo));
        self.known = net.airborne.iter().map(|one| one.flight).collect();
    }

    pub(super) fn then(&mut self, client: u8, then: Then) {
        self.then.push((client, then));
    }

    pub(super) fn after(&mut self, event: Event, net: &Shared, now: Timestamp) {
        let net = net.lock();
        for one in net.airborne.iter().filter(|one| !one.alone && !self.known.contains(&one.flight)) {
            self.then.push((one.flight.client, Then::Sent(one.flight, moved(&one.cargo).what)));
        }
        let told = event.flight().and_then(|flight| net.referee.told(flight));
        let text = self.text(event, told);
        let moved = self.moved.take().map(|moved| Moved { answer: told.map(str::to_owned), ..moved });
        let kept = standings(&net, now);
        self.trace.steps.push(Step { event, at: self.at, text, moved, then: std::mem::take(&mut self.then), kept });
    }

    pub(super) fn finish(mut self, broken: Option<Violation>) -> Trace {
        self.trace.broken = broken;
        self.trace
    }

    fn text(&self, event: Event, told: Option<&str>) -> String {
        let cargo = self.moved.as_ref().map_or("", |moved| moved.what.as_str());
        let told = told.unwrap_or("under way");
        match event {
            Event::Begin(client) => {
                let request = self.trace.requests.get(usize::from(client) - 1);
                format!("the request comes: {}", request.map_or("", String::as_str))
            }
            Event::Carry(_) => format!("{cargo} arrives: {told}; the answer is on its way"),
            Event::Deliver(_) => format!("the answer to {cargo} comes: {told}"),
            Event::Exchange(_) => format!("{cargo}: {told}"),
            Event::Lose(_) => format!("{cargo}: no answer comes"),
            Event::Fail(_) => format!("{cargo} fails, with nothing done"),
            Event::Crash(_) => "its process dies".into(),
            Event::Drop(_) => "its caller goes away".into(),
            Event::Lapse => "everything stands still for longer than a lease".into(),
            Event::Wait => "time passes".into(),
            Event::Restart => "the store goes down and comes up again".into(),
            Event::StepBack => "the store's clock steps back".into(),
        }
    }
}

/// A call that has no answer yet.
fn moved(cargo: &Cargo) -> Moved {
    let (what, errand, key) = match cargo {
        Cargo::Store { key, call } => (call.to_string(), Errand::Store(call.method()), key),
        Cargo::Effect { key, .. } => ("the effect".into(), Errand::Effect, key),
        Cargo::Look { key, .. } => ("a look outside".into(), Errand::Look, key),
    };
    Moved { what, errand, key: key.clone(), answer: None }
}

fn standings(net: &Net, now: Timestamp) -> Vec<Standing> {
    // As the answers tell: a store that is broken may be changed by being asked.
    let standing = |(key, belief): &(Key, Belief)| {
        let record = belief.record().cloned();
        let holder = record.as_ref().and_then(|record| net.referee.owner(record.lock.owner));
        Standing { key: key.clone(), record, now, holder, effects: net.referee.effects_under(key) }
    };
    net.referee.beliefs().iter().map(standing).collect()
}

/// An answer in words.
pub(super) fn in_words(reply: &Reply) -> String {
    match reply {
        Reply::Store(Ok(answer)) => answer.to_string(),
        Reply::Store(Err(error)) => error.to_string(),
        Reply::Outside(Ok(true)) => "had".into(),
        Reply::Outside(Ok(false)) => "not had".into(),
        Reply::Outside(Err(error)) => error.to_string(),
    }
}
