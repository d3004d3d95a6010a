//! Makes a schedule that breaks a rule as short as it can be.

use std::cell::Cell;

use proptest::strategy::ValueTree;

use super::event::Event;
use super::run::Ended;
use crate::rule::Rule;

/// How many steps its runs may take, all in all: some ten thousand runs, fewer of long ones.
const MOST_STEPS: usize = 300_000;

/// A run that breaks a rule.
pub(super) struct Broken<R> {
    pub(super) requests: R,
    pub(super) ended: Ended,
}

/// Leaves out of a schedule whatever the same rule is broken without: single steps, and pairs, as a call
/// and its answer; the requests shrink as their strategy has it. `run` takes the steps it is given as
/// far as they can be taken.
pub(super) fn shortest<T: ValueTree>(
    requests: &mut T,
    ended: Ended,
    run: impl Fn(&T::Value, &[Event]) -> Ended,
) -> Broken<T::Value> {
    let rule = rule(&ended);
    let mut best = Broken { requests: requests.current(), ended };
    let left = Cell::new(MOST_STEPS);
    let mut breaks = |requests: &T::Value, steps: &[Event]| {
        let ended = (left.get() > 0).then(|| run(requests, steps))?;
        left.set(left.get().saturating_sub(ended.steps.len() + 1));
        (self::rule(&ended) == rule).then_some(ended)
    };
    let is_over = || left.get() == 0;
    shorten(&mut best, &mut breaks, is_over);
    let mut simpler = requests.simplify();
    while simpler {
        let candidate = requests.current();
        let most = best.ended.steps.len();
        let found = breaks(&candidate, &best.ended.steps).filter(|ended| ended.steps.len() <= most);
        simpler = match found {
            Some(ended) => {
                best = Broken { requests: candidate, ended };
                requests.simplify()
            }
            None => requests.complicate(),
        };
    }
    shorten(&mut best, &mut breaks, is_over);
    best
}

fn rule(ended: &Ended) -> Option<Rule> {
    ended.violation.as_ref().map(|violation| violation.rule)
}

fn shorten<R>(
    best: &mut Broken<R>,
    breaks: &mut impl FnMut(&R, &[Event]) -> Option<Ended>,
    is_over: impl Fn() -> bool,
) {
    loop {
        let cheaper = candidates(&best.ended.steps)
            .take_while(|_| !is_over())
            .find_map(|candidate| breaks(&best.requests, &candidate).filter(|ended| cost(ended) < cost(&best.ended)));
        match cheaper {
            Some(ended) => best.ended = ended,
            None => return,
        }
    }
}

/// Fewer steps, and fewer of them in which something goes wrong or is taken apart.
fn cost(ended: &Ended) -> (usize, usize) {
    let plain = |event: &&Event| matches!(event, Event::Begin(_) | Event::Exchange(_) | Event::Deliver(_));
    (ended.steps.len(), ended.steps.len() - ended.steps.iter().filter(plain).count())
}

/// One after the other, as those of a long schedule do not fit into memory.
fn candidates(steps: &[Event]) -> impl Iterator<Item = Vec<Event>> {
    let without = move |left_out: [usize; 2]| {
        let kept = steps.iter().enumerate().filter(|(at, _)| !left_out.contains(at));
        kept.map(|(_, step)| *step).collect::<Vec<_>>()
    };
    let one = (0..steps.len()).map(move |at| without([at, at]));
    let two =
        (0..steps.len()).flat_map(move |first| (first + 1..steps.len()).map(move |second| without([first, second])));
    let joined = (0..steps.len()).filter_map(move |at| match steps[at] {
        Event::Carry(flight) => {
            let mut joined = steps.to_vec();
            joined[at] = Event::Exchange(flight);
            Some(joined)
        }
        _ => None,
    });
    let clients = steps.iter().filter_map(|step| match step {
        Event::Begin(client) => Some(*client),
        _ => None,
    });
    // Whoever is not needed at all goes, and those after it move up.
    let fewer = clients.map(move |gone| {
        let stay = steps.iter().filter(|step| step.client() != Some(gone));
        stay.map(|step| step.of_others(|client| if client > gone { client - 1 } else { client })).collect()
    });
    fewer.chain(one).chain(two).chain(joined)
}
