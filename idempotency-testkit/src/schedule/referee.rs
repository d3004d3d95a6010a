//! Holds a run to the rules, call by call.

use std::sync::Arc;

use idempotency_core::{Fence, Grant, Key, Owner, StoreError, StoreErrorKind, Timestamp};

use super::event::Flight;
use super::network::{Cargo, Reply};
use super::teller::in_words;
use crate::belief::{Belief, Window};
use crate::call::{Answer, Call};
use crate::history::{CallId, History, was_refused};
use crate::rule::{Broken, Rule};

/// How often an effect may be had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum EffectRule {
    /// Once a key; again only by an attempt that was told that the one before it is unknown. What *run
    /// again*, the default policy, promises.
    #[default]
    ToldBeforeAgain,
    /// Once a key, whatever happens: *refuse*, and *reconcile* with a look that bars.
    AtMostOnce,
}

/// A rule that a run broke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub rule: Rule,
    /// What happened, in words.
    pub what: String,
}

#[derive(Debug)]
pub(super) struct Referee {
    rule: EffectRule,
    beliefs: Vec<(Key, Belief)>,
    /// The calls that the store has begun, in that order.
    begun: Vec<Begun>,
    /// Whether a call was under way while another was, or nobody knows whether one was carried out: then
    /// their order is not known, and the answers are held against every order that there can be.
    interleaved: bool,
    grants: Vec<(u8, Key, Grant)>,
    /// The grants under which effects were sent off.
    sent_under: Vec<(Flight, Option<Grant>)>,
    effects: Vec<Effect>,
    bars: Vec<(Key, Fence)>,
    /// Whose claims they are.
    owners: Vec<(Owner, u8)>,
    /// What was answered, in words, where a trace is kept.
    told: Option<Vec<(Flight, String)>>,
    restarted: bool,
    broken: Option<Violation>,
}

/// A call that the store has begun.
#[derive(Clone, Debug)]
struct Begun {
    flight: Flight,
    key: Key,
    call: Call,
    at: Timestamp,
    /// After how many calls had begun it was answered, when, and what.
    answered: Option<(usize, Timestamp, Result<Answer, StoreErrorKind>)>,
}

/// An effect that was had.
#[derive(Clone, Debug)]
pub(super) struct Effect {
    pub(super) key: Key,
    name: Option<Arc<str>>,
    flight: Flight,
    grant: Option<Grant>,
}

impl Effect {
    fn is_same_as(&self, other: &Self) -> bool {
        (self.key.as_str(), &self.name) == (other.key.as_str(), &other.name)
    }
}

impl Referee {
    pub(super) fn new(rule: EffectRule, telling: bool) -> Self {
        Self {
            rule,
            beliefs: Vec::new(),
            begun: Vec::new(),
            interleaved: false,
            grants: Vec::new(),
            sent_under: Vec::new(),
            effects: Vec::new(),
            bars: Vec::new(),
            owners: Vec::new(),
            told: telling.then(Vec::new),
            restarted: false,
            broken: None,
        }
    }

    /// The first rule that was broken.
    pub(super) fn take_broken(&mut self) -> Option<Violation> {
        self.broken.take()
    }

    pub(super) fn breaks(&mut self, rule: Rule, what: impl FnOnce() -> String) {
        if self.broken.is_none() {
            self.broken = Some(Violation { rule, what: what() });
        }
    }

    /// The keys that the store was asked about, with what is believed of each.
    pub(super) fn beliefs(&self) -> &[(Key, Belief)] {
        &self.beliefs
    }

    pub(super) fn effects_under(&self, key: &Key) -> usize {
        self.effects.iter().filter(|effect| effect.key.as_str() == key.as_str()).count()
    }

    /// The client whose claim has this owner.
    pub(super) fn owner(&self, owner: Owner) -> Option<u8> {
        self.owners.iter().find(|(known, _)| *known == owner).map(|(_, client)| *client)
    }

    pub(super) fn claimed(&mut self, client: u8, owner: Owner) {
        if self.owner(owner).is_none() {
            self.owners.push((owner, client));
        }
    }

    /// Notes an answer in words, where a trace is kept.
    pub(super) fn tell(&mut self, flight: Flight, reply: &Reply) {
        if let Some(told) = &mut self.told {
            told.push((flight, in_words(reply)));
        }
    }

    pub(super) fn told(&self, flight: Flight) -> Option<&str> {
        self.told.iter().flatten().rev().find(|(told, _)| *told == flight).map(|(_, words)| words.as_str())
    }

    /// The store begins a call.
    pub(super) fn begun(&mut self, flight: Flight, key: &Key, call: &Call, now: Timestamp) {
        let (key, call) = (key.clone(), call.clone());
        self.interleaved |=
            self.begun.iter().any(|other| other.answered.is_none() && other.key.as_str() == key.as_str());
        self.begun.push(Begun { flight, key, call, at: now, answered: None });
    }

    /// The store has answered a call.
    pub(super) fn answered(&mut self, flight: Flight, now: Timestamp, answer: &Result<Answer, StoreError>) {
        let Some(at) = self.begun.iter().rposition(|begun| begun.flight == flight && begun.answered.is_none()) else {
            return;
        };
        let answer = match answer {
            Ok(answer) => Ok(answer.clone()),
            Err(error) => Err(error.kind()),
        };
        // It may have been carried out all the same.
        self.interleaved |= answer.as_ref().is_err_and(|kind| !was_refused(*kind));
        self.begun[at].answered = Some((self.begun.len(), now, answer));
        // The belief is what pictures show, too.
        let Begun { key, call, at: from, answered: Some((.., Ok(answer))), .. } = self.begun[at].clone() else {
            return;
        };
        let window = Window { from: from.min(now), to: now };
        let stepped = self.belief(&key).step(&call, window, &answer);
        let broken = match stepped {
            // Out of the order of the answers, it may be right in another.
            Err(broken) if !self.interleaved || self.impossible(&key).is_some() => Some(broken),
            Ok(()) if self.interleaved => self.impossible(&key),
            Ok(()) | Err(_) => None,
        };
        if let Some(broken) = broken {
            let rule = if self.restarted { Rule::AcknowledgedIsDurable } else { broken.rule };
            self.breaks(rule, || broken.to_string());
        }
    }

    /// Whether no order of a key's calls explains their answers.
    fn impossible(&self, key: &Key) -> Option<Box<Broken>> {
        let mut history = History::new();
        // What was begun after how many others had been, in the order in which it all happened.
        let mut ids: Vec<CallId> = Vec::with_capacity(self.begun.len());
        for count in 0..=self.begun.len() {
            for (begun, id) in self.begun.iter().zip(&ids) {
                if let Some((after, at, answer)) = &begun.answered
                    && *after == count
                {
                    history.answered(*id, *at, answer.clone());
                }
            }
            if let Some(begun) = self.begun.get(count) {
                ids.push(history.sent(&begun.key, begun.flight.client.to_string(), begun.call.clone(), begun.at));
            }
        }
        let verdict = history.check().err()?;
        let impossible = verdict.impossible()?;
        (impossible.key.as_str() == key.as_str()).then(|| Box::new(impossible.broken.clone()))
    }

    fn belief(&mut self, key: &Key) -> &mut Belief {
        let at = self.beliefs.iter().position(|(known, _)| known.as_str() == key.as_str()).unwrap_or_else(|| {
            self.beliefs.push((key.clone(), Belief::default()));
            self.beliefs.len() - 1
        });
        &mut self.beliefs[at].1
    }

    /// A client has been given an answer.
    pub(super) fn delivered(&mut self, flight: Flight, key: &Key, reply: &Reply) {
        if let Reply::Store(Ok(answer)) = reply
            && let Some(grant) = answer.granted()
        {
            self.grants.push((flight.client, key.clone(), grant));
        }
    }

    pub(super) fn effect_sent(&mut self, flight: Flight, key: &Key) {
        let grants = self.grants.iter().rev();
        let under = grants
            .filter(|(client, ..)| *client == flight.client)
            .find(|(_, held, _)| held.as_str() == key.as_str())
            .map(|(.., grant)| *grant);
        self.sent_under.push((flight, under));
    }

    /// The world outside is called. `None` where it refuses.
    pub(super) fn outside(&mut self, flight: Flight, cargo: &Cargo) -> Option<bool> {
        match cargo {
            Cargo::Effect { key, name, fence } => {
                let bar = self.bars.iter().find(|(barred, _)| barred.as_str() == key.as_str()).map(|(_, bar)| *bar);
                if fence.is_some_and(|fence| bar.is_some_and(|bar| fence < bar)) {
                    return None;
                }
                if let Some(fence) = fence {
                    self.bar(key, *fence);
                }
                self.had(flight, key, name.clone());
                Some(true)
            }
            Cargo::Look { key, fence } => {
                self.bar(key, *fence);
                Some(self.effects_under(key) > 0)
            }
            Cargo::Store { .. } => Some(false),
        }
    }

    fn bar(&mut self, key: &Key, fence: Fence) {
        match self.bars.iter_mut().find(|(barred, _)| barred.as_str() == key.as_str()) {
            Some((_, bar)) => *bar = fence.max(*bar),
            None => self.bars.push((key.clone(), fence)),
        }
    }

    fn had(&mut self, flight: Flight, key: &Key, name: Option<Arc<str>>) {
        let grant = self.sent_under.iter().find(|(sent, _)| *sent == flight).and_then(|(_, grant)| *grant);
        let effect = Effect { key: key.clone(), name, flight, grant };
        let before: Vec<Effect> = self.effects.iter().filter(|one| one.is_same_as(&effect)).cloned().collect();
        self.effects.push(effect.clone());
        for other in before {
            if let Some((rule, why)) = self.clash(&other, &effect) {
                let what = format!(
                    "{key} had its effect{} twice: by client {} ({}) and by client {} ({}); {why}",
                    effect.name.as_ref().map(|name| format!(" `{name}`")).unwrap_or_default(),
                    other.flight.client,
                    under(other.grant),
                    effect.flight.client,
                    under(effect.grant)
                );
                let locked = self.grants.iter().any(|(_, held, _)| held.as_str() == key.as_str());
                let hint = if locked {
                    ""
                } else {
                    ". Nothing ever locked it: is the effect recorded under the key that the service locks, and is that key the same for every copy of a request?"
                };
                let what = what + hint;
                return self.breaks(rule, || what);
            }
        }
    }

    /// How many effects there were.
    pub(super) const fn effects(&self) -> usize {
        self.effects.len()
    }

    /// A run is over: the copies of each of `requests` requests were to have their effects under the same
    /// keys. A key that is made anew each time would never be seen twice.
    pub(super) fn all_done(&mut self, requests: usize) {
        let keys_of = |client: u8| -> Vec<&str> {
            let own = self.effects.iter().filter(|effect| effect.flight.client == client);
            own.map(|effect| effect.key.as_str()).collect()
        };
        let request = |client: u8| usize::from(client - 1) % requests;
        for (at, one) in self.effects.iter().enumerate() {
            for other in &self.effects[at + 1..] {
                let (first, second) = (one.flight.client, other.flight.client);
                let copies = first != second && request(first) == request(second);
                if copies && !keys_of(first).iter().any(|key| keys_of(second).contains(key)) {
                    let what = format!(
                        "clients {first} and {second} sent the same request, and it had its effect under {} for one and under {} \
                         for the other: is the key made from the request?",
                        one.key, other.key
                    );
                    return self.breaks(Rule::OneEffect, || what);
                }
            }
        }
    }

    /// Why two effects of a key may not both be, if they may not.
    fn clash(&self, one: &Effect, other: &Effect) -> Option<(Rule, &'static str)> {
        if self.rule == EffectRule::AtMostOnce {
            return Some((Rule::OneEffect, "it was to have it at most once"));
        }
        let (Some(one), Some(other)) = (one.grant, other.grant) else {
            return Some((Rule::OneEffect, "not each of them held a lock on that key"));
        };
        if one.lock == other.lock {
            return Some((Rule::OneEffect, "both were the same attempt's"));
        }
        let later = if one.lock.fence < other.lock.fence { other } else { one };
        let untold = later.prior.is_none();
        untold.then_some((Rule::ToldBeforeAgain, "the later attempt was not told that the one before it is unknown"))
    }

    /// The store went down: what it was at may have been carried out or not.
    pub(super) fn restarted(&mut self) {
        self.restarted = true;
        self.interleaved |= self.begun.iter().any(|begun| begun.answered.is_none());
    }
}

fn under(grant: Option<Grant>) -> String {
    match grant {
        Some(grant) => format!("attempt {}, fence {}", grant.attempt, grant.lock.fence),
        None => "without a lock".into(),
    }
}
