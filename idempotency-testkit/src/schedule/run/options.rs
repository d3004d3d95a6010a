//! What can happen next.

use std::hash::{DefaultHasher, Hash, Hasher};

use idempotency_core::Key;

use super::super::bounds::Bounds;
use super::super::event::{Event, Flight};
use super::super::network::{Cargo, Net, Stage};
use super::super::source::Touch;
use super::client::Client;
use super::{Run, number};

impl Run<'_> {
    /// What can happen next; first, what does if nothing goes wrong.
    pub(super) fn enabled(&self, quiet: bool) -> Vec<Event> {
        let net = self.net.lock();
        let left = if quiet { Bounds::NONE } else { self.left };
        let mut flights: Vec<(Flight, bool)> = net
            .airborne
            .iter()
            .filter(|one| !one.is_late() && !matches!(one.stage, Stage::Delivered(_) | Stage::Moving))
            .map(|one| (one.flight, matches!(one.stage, Stage::Answered(_))))
            .collect();
        flights.truncate(32);
        let next = self.clients.iter().position(|client| !client.begun).filter(|next| *next < self.last_from);
        let running = self.clients.iter().any(Client::is_running);
        let mut enabled = Vec::with_capacity(16);
        let onward = |(flight, answered): (Flight, bool)| match answered {
            true => Event::Deliver(flight),
            false if self.plan.exchanges => Event::Exchange(flight),
            false => Event::Carry(flight),
        };
        match (flights.first(), next) {
            (Some(first), _) => enabled.push(onward(*first)),
            (None, Some(next)) => {
                enabled.push(Event::Begin(number(next)));
                // Nothing is on its way: time may pass before the next one comes, and nobody is held up.
                if running && !quiet {
                    enabled.push(Event::Wait);
                }
            }
            (None, None) if running => enabled.push(Event::Wait),
            (None, None) => return self.afterwards(&net, left),
        }
        if quiet || self.clients[self.last_from..].iter().any(|last| last.begun) {
            return enabled;
        }
        enabled.extend(flights.iter().skip(1).copied().map(onward));
        if let (Some(next), false) = (next, flights.is_empty()) {
            enabled.push(Event::Begin(number(next)));
        }
        for (flight, answered) in &flights {
            let Some(at) = net.position(*flight) else { continue };
            let one = &net.airborne[at];
            let is_store = matches!(one.cargo, Cargo::Store { .. });
            let sent = matches!(one.stage, Stage::Sent);
            if self.plan.exchanges && !answered {
                enabled.push(Event::Carry(*flight));
            }
            if left.losses > 0 && !one.alone && (sent || *answered) {
                enabled.push(Event::Lose(*flight));
            }
            if left.failures > 0 && !one.alone && sent && is_store {
                enabled.push(Event::Fail(*flight));
            }
        }
        if left.late > 0 {
            enabled.extend(net.airborne.iter().filter(|one| one.is_late()).map(|one| Event::Carry(one.flight)));
        }
        let running = || self.clients.iter().enumerate().filter(|(_, client)| client.is_running());
        if left.crashes > 0 {
            enabled.extend(running().map(|(at, _)| Event::Crash(number(at))));
        }
        if left.drops > 0 {
            enabled.extend(running().map(|(at, _)| Event::Drop(number(at))));
        }
        let begun = self.clients.iter().any(|client| client.begun);
        if begun && left.lapses > 0 {
            enabled.push(Event::Lapse);
        }
        if left.waits > 0 && !flights.is_empty() && running().next().is_some() {
            enabled.push(Event::Wait);
        }
        if begun && left.restarts > 0 && self.restart.is_some() {
            enabled.push(Event::Restart);
        }
        if begun && left.clock_steps > 0 {
            enabled.push(Event::StepBack);
        }
        enabled
    }

    /// When all are done, a lease goes by and then one more comes for each request. Until then, what was
    /// given up may still arrive.
    fn afterwards(&self, net: &Net, left: Bounds) -> Vec<Event> {
        let Some(next) = self.clients.iter().position(|client| !client.begun) else { return Vec::new() };
        let alone = net.airborne.iter().find(|one| one.alone && matches!(one.stage, Stage::Making(..)));
        let mut enabled = match alone {
            Some(one) => return vec![Event::Carry(one.flight)],
            None if next == self.last_from && self.steps.last() != Some(&Event::Lapse) => vec![Event::Lapse],
            None => vec![Event::Begin(number(next))],
        };
        if next == self.last_from && left.late > 0 {
            enabled.extend(net.airborne.iter().filter(|one| one.is_late()).map(|one| Event::Carry(one.flight)));
        }
        enabled
    }

    /// What a step reads or changes beside its client.
    pub(super) fn touches(&self, event: Event) -> Touch {
        match event {
            Event::Carry(flight) | Event::Exchange(flight) => {
                let net = self.net.lock();
                let Some(at) = net.position(flight) else { return Touch::Nothing };
                // Late ones share what is left of them, whatever they touch.
                if net.airborne[at].is_late() {
                    return Touch::Everything;
                }
                match &net.airborne[at].cargo {
                    Cargo::Store { key, .. } => Touch::Store(hash(key)),
                    Cargo::Effect { key, .. } | Cargo::Look { key, .. } => Touch::Outside(hash(key)),
                }
            }
            Event::Lapse | Event::Wait | Event::Restart | Event::StepBack => Touch::Everything,
            // Once the last ones come, what is late comes no more.
            Event::Begin(client) if usize::from(client) > self.last_from => Touch::Everything,
            Event::Begin(_)
            | Event::Deliver(_)
            | Event::Lose(_)
            | Event::Fail(_)
            | Event::Crash(_)
            | Event::Drop(_) => Touch::Nothing,
        }
    }

    pub(super) fn is_late(&self, flight: Flight) -> bool {
        let net = self.net.lock();
        net.position(flight).is_some_and(|at| net.airborne[at].is_late())
    }
}

fn hash(key: &Key) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.as_str().hash(&mut hasher);
    hasher.finish()
}
