//! Sorts a trace into lanes and lines.

use super::holdings::Holdings;
use super::scene::{Across, Broken, Coming, Drawn, End, Fate, Going, Had, Lane, Life, Line, Mark, Scene, Stretch};
use super::words::{Words, on_one_line, time};
use crate::rule::Rule;
use crate::schedule::{Errand, Event, Flight, Moved, Step, Then, Trace};

pub(super) fn staged(trace: &Trace) -> Scene {
    let mut staging = Staging::new(trace);
    let steps = (0..trace.steps.len()).map(|at| staging.step(at)).collect();
    Scene {
        lanes: staging.lanes,
        keys: staging.holdings.keys.iter().map(|key| on_one_line(key.as_str())).collect(),
        steps,
        broken: Broken::of(trace),
    }
}

/// A call that was sent.
struct Sent {
    flight: Flight,
    /// Where its sending is drawn, if it is.
    drawn_at: Option<(usize, usize)>,
    /// Whether it has arrived.
    carried: bool,
    /// Whether its client has given it up, or is gone.
    abandoned: bool,
}

struct Staging<'a> {
    trace: &'a Trace,
    lanes: Vec<Lane>,
    lives: Vec<Life>,
    holdings: Holdings,
    effects: Vec<usize>,
    sent: Vec<Sent>,
}

impl<'a> Staging<'a> {
    fn new(trace: &'a Trace) -> Self {
        // Clients that never came would be empty lanes.
        let mut clients: Vec<u8> = trace.steps.iter().filter_map(|step| step.event.client()).collect();
        clients.sort_unstable();
        clients.dedup();
        let request = |client: u8| {
            let request = usize::from(client).checked_sub(1).and_then(|at| trace.requests.get(at));
            request.map_or_else(String::new, |request| on_one_line(request))
        };
        let lanes: Vec<Lane> = clients.into_iter().map(|client| Lane { client, request: request(client) }).collect();
        let holdings = Holdings::new(trace);
        Self {
            trace,
            lives: vec![Life::NotYet; lanes.len()],
            lanes,
            effects: vec![0; holdings.keys.len()],
            holdings,
            sent: Vec::new(),
        }
    }

    fn step(&mut self, at: usize) -> Drawn {
        let trace = self.trace;
        let step = &trace.steps[at];
        let broke = at + 1 == trace.steps.len() && trace.broken.is_some();
        let changed = self.holdings.after(step, broke);
        let mut lines = Vec::new();
        for mark in self.marks(at, step) {
            self.line(&mut lines, Some(mark));
        }
        for (client, then) in &step.then {
            let Some(lane) = self.lane(*client) else { continue };
            match then {
                Then::Sent(flight, what) => {
                    let soon = trace.steps.get(at + 1).and_then(|next| next.event.flight()) == Some(*flight);
                    let drawn_at = (!soon).then_some((at, lines.len()));
                    self.sent.push(Sent { flight: *flight, drawn_at, carried: false, abandoned: false });
                    if !soon {
                        self.line(&mut lines, Some(Mark::Sends { lane, what: Words::call(what) }));
                    }
                }
                Then::Ended(result) => {
                    self.holdings.gives_up(*client);
                    self.lives[lane] = self.afterwards(*client, at);
                    let result = result.as_ref().map(|value| on_one_line(value)).map_err(|error| on_one_line(error));
                    self.line(&mut lines, Some(Mark::Ends { lane, result }));
                }
            }
        }
        if lines.is_empty() {
            self.line(&mut lines, None);
        }
        // What went on of a request that nobody waits for ends here, if it is over.
        for lane in 0..self.lanes.len() {
            if self.lives[lane] == Life::Afterglow {
                self.lives[lane] = self.afterwards(self.lanes[lane].client, at);
            }
        }
        Drawn { number: at + 1, at: step.at, lines, kept: self.holdings.kept.clone(), changed, words: in_words(step) }
    }

    fn marks(&mut self, at: usize, step: &Step) -> Vec<Mark> {
        let lane = step.event.client().and_then(|client| self.lane(client));
        let across = |kind| vec![Mark::Across(kind, self.across(at, step))];
        let Some(lane) = lane else {
            return match step.event {
                Event::Lapse => across(Across::Lapse),
                Event::Restart => across(Across::Restart),
                Event::StepBack => across(Across::StepBack),
                _ => across(Across::Wait),
            };
        };
        match step.event {
            Event::Begin(_) => {
                self.lives[lane] = Life::Running;
                vec![Mark::Begins { lane }]
            }
            Event::Crash(client) => {
                self.abandon(client);
                self.lives[lane] = Life::Over;
                vec![Mark::Crashes { lane }]
            }
            Event::Drop(client) => {
                self.abandon(client);
                self.lives[lane] = self.afterwards(client, at);
                vec![Mark::Dropped { lane }]
            }
            event => match (event.flight(), &step.moved) {
                (Some(flight), Some(moved)) => self.flown(at, lane, flight, moved),
                _ => Vec::new(),
            },
        }
    }

    /// A call goes on its way, or its answer.
    fn flown(&mut self, at: usize, lane: usize, flight: Flight, moved: &Moved) -> Vec<Mark> {
        let event = self.trace.steps[at].event;
        let (known, carried) = match self.sent.iter().position(|sent| sent.flight == flight) {
            Some(known) => (Some(known), self.sent[known].carried),
            None => (None, false),
        };
        let going = |staging: &mut Self, fate| {
            let effect = staging.had(at, moved).filter(|_| fate == Fate::Arrives);
            let sent = known.map(|known| &mut staging.sent[known]);
            let abandoned = sent.as_ref().is_some_and(|sent| sent.abandoned);
            let sent_at = sent.and_then(|sent| {
                sent.carried |= fate == Fate::Arrives;
                sent.drawn_at
            });
            let late = abandoned && !staging.is_answered_after(at, flight);
            let what = if carried { format!("{} goes on", moved.what) } else { moved.what.clone() };
            let key = staging.holdings.key(&moved.key);
            Mark::Goes(Going {
                lane,
                to: end(moved.errand),
                what: Words::call(&what),
                key,
                fate,
                onward: carried,
                late,
                effect,
                sent_at,
            })
        };
        let coming = |told: &str, fate| Mark::Comes { lane, from: end(moved.errand), what: Words::answer(told), fate };
        let last = at + 1 == self.trace.steps.len();
        let told_so = if last && Broken::is_an_answer(self.trace) { Coming::Wrong } else { Coming::Told };
        let told = moved.answer.as_deref().unwrap_or("under way");
        match event {
            Event::Carry(_) => vec![going(self, Fate::Arrives)],
            Event::Deliver(_) => vec![coming(told, told_so)],
            Event::Exchange(_) => vec![going(self, Fate::Arrives), coming(told, told_so)],
            Event::Lose(_) => {
                let mark = if carried { coming(told, Coming::Lost) } else { going(self, Fate::Lost) };
                if let Some(known) = known {
                    self.sent[known].abandoned = true;
                    // From here it may arrive late.
                    self.sent[known].drawn_at = Some((at, 0));
                }
                vec![mark]
            }
            _ => vec![going(self, Fate::Fails)],
        }
    }

    /// The effect that a call has at this step.
    fn had(&mut self, at: usize, moved: &Moved) -> Option<Had> {
        if moved.errand != Errand::Effect || moved.answer.as_deref() != Some("had") {
            return None;
        }
        let key = self.holdings.key(&moved.key)?;
        self.effects[key] += 1;
        let broken = self.trace.broken.as_ref().map(|broken| broken.rule);
        let forbidden =
            at + 1 == self.trace.steps.len() && matches!(broken, Some(Rule::OneEffect | Rule::ToldBeforeAgain));
        Some(Had { count: self.effects[key], forbidden })
    }

    fn across(&self, at: usize, step: &Step) -> String {
        let next = self.trace.steps.get(at + 1);
        let went_by = next.and_then(|next| next.at.checked_sub(step.at)).filter(|gap| !gap.is_zero());
        match went_by {
            Some(gap) => format!("{} (+{})", on_one_line(&step.text), time(gap)),
            None => on_one_line(&step.text),
        }
    }

    fn line(&self, lines: &mut Vec<Line>, mark: Option<Mark>) {
        let stretch = |lane: usize| {
            let client = self.lanes[lane].client;
            let holds = (0..self.holdings.keys.len()).filter_map(|key| Some((key, self.holdings.hold(client, key)?)));
            Stretch { life: self.lives[lane], holds: holds.collect() }
        };
        lines.push(Line { mark, stretches: (0..self.lanes.len()).map(stretch).collect() });
    }

    /// What is left of a client's lane when nobody waits for its request any more.
    fn afterwards(&self, client: u8, at: usize) -> Life {
        let later = &self.trace.steps[at + 1..];
        let own = later.iter().filter_map(|step| step.event.flight()).filter(|flight| flight.client == client);
        // What was sent before and merely arrives late is no life of its own.
        let late = |flight: &Flight| {
            self.sent.iter().any(|sent| sent.flight == *flight && sent.abandoned)
                && !self.is_answered_after(at, *flight)
        };
        if own.filter(|flight| !late(flight)).count() == 0 { Life::Over } else { Life::Afterglow }
    }

    fn is_answered_after(&self, at: usize, flight: Flight) -> bool {
        let from = &self.trace.steps[at..];
        from.iter().any(|step| [Event::Deliver(flight), Event::Exchange(flight)].contains(&step.event))
    }

    fn abandon(&mut self, client: u8) {
        self.sent.iter_mut().filter(|sent| sent.flight.client == client).for_each(|sent| sent.abandoned = true);
    }

    fn lane(&self, client: u8) -> Option<usize> {
        self.lanes.iter().position(|lane| lane.client == client)
    }
}

const fn end(errand: Errand) -> End {
    match errand {
        Errand::Store(_) => End::Store,
        Errand::Effect | Errand::Look => End::Outside,
    }
}

/// A step in one line of words.
fn in_words(step: &Step) -> String {
    let mut words = format!("{}: {}", step.event, on_one_line(&step.text));
    for (client, then) in &step.then {
        words += &match then {
            Then::Sent(_, what) => format!("; {client} sends {}", on_one_line(what)),
            Then::Ended(Ok(value)) => format!("; {client} ends with Ok({})", on_one_line(value)),
            Then::Ended(Err(error)) => format!("; {client} ends with Err({})", on_one_line(error)),
        };
    }
    words
}
