//! Who holds which key, as a trace goes on.

use idempotency_core::Key;

use super::standing::{Hold, Kept};
use crate::call::Method;
use crate::schedule::{Errand, Event, Flight, Moved, Step, Trace};

/// Who holds which key, after the steps so far.
pub(super) struct Holdings {
    /// In the order in which they come up.
    pub(super) keys: Vec<Key>,
    /// How they stand, as the right answers tell.
    pub(super) kept: Vec<Kept>,
    /// Which clients were told that they hold which keys.
    believed: Vec<(u8, usize)>,
    /// Who was given which key at the last step, though it was not to have it.
    wrongly: Option<(u8, usize)>,
}

impl Holdings {
    pub(super) fn new(trace: &Trace) -> Self {
        let mut keys: Vec<Key> = Vec::new();
        for step in &trace.steps {
            let moved = step.moved.iter().map(|moved| &moved.key);
            for key in moved.chain(step.kept.iter().map(|standing| &standing.key)) {
                if !keys.iter().any(|known| known.as_str() == key.as_str()) {
                    keys.push(key.clone());
                }
            }
        }
        Self { kept: vec![Kept::nothing(); keys.len()], keys, believed: Vec::new(), wrongly: None }
    }

    /// Takes over a step; `broke` if it broke a rule. The keys that stand otherwise than before.
    pub(super) fn after(&mut self, step: &Step, broke: bool) -> Vec<usize> {
        let changed = self.keep(step);
        self.believe(step);
        self.wrongly = if broke { self.given_wrongly(step) } else { None };
        changed
    }

    /// A client thinks no more of its locks.
    pub(super) fn gives_up(&mut self, client: u8) {
        self.believed.retain(|(holder, _)| *holder != client);
    }

    /// How a client holds a key now, if it does.
    pub(super) fn hold(&self, client: u8, key: usize) -> Option<Hold> {
        if self.wrongly == Some((client, key)) {
            return Some(Hold::Wrongly);
        }
        match self.kept[key].lock {
            Some((holder, true)) if holder == client => Some(Hold::Live),
            Some((holder, false)) if holder == client => Some(Hold::Lapsed),
            _ => self.believed.contains(&(client, key)).then_some(Hold::Believed),
        }
    }

    /// The place of a key among [`Self::keys`].
    pub(super) fn key(&self, key: &Key) -> Option<usize> {
        self.keys.iter().position(|known| known.as_str() == key.as_str())
    }

    /// Takes over how the keys stand. Which of them changed.
    fn keep(&mut self, step: &Step) -> Vec<usize> {
        let mut changed = Vec::new();
        for standing in &step.kept {
            let Some(key) = self.key(&standing.key) else { continue };
            let kept = Kept::of(standing);
            if self.kept[key] != kept {
                self.kept[key] = kept;
                changed.push(key);
            }
        }
        changed
    }

    /// Takes over what a client has been told of its lock.
    fn believe(&mut self, step: &Step) {
        match step.event {
            Event::Crash(client) | Event::Drop(client) => self.gives_up(client),
            Event::Deliver(Flight { client, .. }) | Event::Exchange(Flight { client, .. }) => {
                let Some(Moved { errand: Errand::Store(method), key, answer: Some(answer), .. }) = &step.moved else {
                    return;
                };
                let Some(key) = self.key(key) else { return };
                match method {
                    Method::Acquire if answer.starts_with("acquired") => self.believed.push((client, key)),
                    Method::Store | Method::Release => self.believed.retain(|held| *held != (client, key)),
                    Method::Extend if answer == "lost" => self.believed.retain(|held| *held != (client, key)),
                    Method::Acquire | Method::Extend | Method::Get => {}
                }
            }
            _ => {}
        }
    }

    /// How the keys stand is what the right answers tell: a lock that a wrong one gave is in none of them.
    fn given_wrongly(&self, step: &Step) -> Option<(u8, usize)> {
        let moved = step.moved.as_ref()?;
        let arrives = matches!(step.event, Event::Carry(_) | Event::Exchange(_));
        let given = moved.answer.as_deref().is_some_and(|answer| answer.starts_with("acquired"));
        let (client, key) = (step.event.client()?, self.key(&moved.key)?);
        (arrives && given && self.kept[key].lock != Some((client, true))).then_some((client, key))
    }
}
