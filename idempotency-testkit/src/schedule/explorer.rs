//! All schedules, one after the other.

use super::event::Event;
use super::source::{Source, Touch};

type Step = (Event, Touch);

/// Goes through all schedules, depth first, and leaves out those that differ from one that was run only
/// in the order of two steps that do not touch each other.
///
/// These are *sleep sets* (Godefroid, *Partial-Order Methods for the Verification of Concurrent
/// Systems*, 1996, chapter 5): what was tried at a branching need not be tried again after a step that
/// is independent of it. They leave out runs, never a state that some run reaches.
#[derive(Debug, Default)]
pub(super) struct Explorer {
    path: Vec<Branching>,
    at: usize,
    /// Runs that were broken off, as another one is the same.
    pub(super) same: u64,
    every_order: bool,
}

#[derive(Debug)]
struct Branching {
    steps: Vec<Step>,
    /// Need not be tried here.
    asleep: Vec<Step>,
    chosen: usize,
}

impl Explorer {
    pub(super) fn new(every_order: bool) -> Self {
        Self { every_order, ..Self::default() }
    }

    /// Begins the next schedule; `false` when all have been run.
    pub(super) fn next(&mut self) -> bool {
        self.at = 0;
        while let Some(branching) = self.path.last_mut() {
            branching.asleep.push(branching.steps[branching.chosen]);
            if branching.choose() {
                return true;
            }
            self.path.pop();
        }
        false
    }
}

impl Branching {
    fn choose(&mut self) -> bool {
        let awake = self.steps.iter().position(|(event, _)| self.asleep.iter().all(|(asleep, _)| asleep != event));
        self.chosen = awake.unwrap_or(0);
        awake.is_some()
    }
}

impl Source for Explorer {
    fn choose(&mut self, enabled: &[Event], touches: &dyn Fn(Event) -> Touch) -> Option<usize> {
        if let Some(branching) = self.path.get(self.at) {
            let as_before = branching.steps.iter().map(|(event, _)| event).eq(enabled);
            assert!(
                as_before,
                "the same steps led elsewhere: the service does something that the schedule does not rule, such as an unbiased `select!` or a thread of its own"
            );
            self.at += 1;
            return Some(branching.chosen);
        }
        let asleep = self.path.last().map_or_else(Vec::new, |before| {
            let taken = before.steps[before.chosen];
            let independent = |step: &&Step| !self.every_order && are_independent(**step, taken);
            before.asleep.iter().filter(independent).copied().collect()
        });
        let steps = enabled.iter().map(|event| (*event, touches(*event))).collect();
        let mut branching = Branching { steps, asleep, chosen: 0 };
        if !branching.choose() {
            self.same += 1;
            return None;
        }
        let chosen = branching.chosen;
        self.path.push(branching);
        self.at += 1;
        Some(chosen)
    }

    fn is_done(&self) -> bool {
        false
    }
}

/// Whether two steps lead to the same in either order, and neither keeps the other from happening.
fn are_independent((one, touched_by_one): Step, (other, touched_by_other): Step) -> bool {
    use Touch::{Everything, Nothing};

    // Steps of one kind may share a budget; clients begin in order.
    let same_kind = std::mem::discriminant(&one) == std::mem::discriminant(&other);
    let budgeted = |event| !matches!(event, Event::Carry(_) | Event::Deliver(_) | Event::Exchange(_));
    if one.client() == other.client() || (same_kind && budgeted(one)) {
        return false;
    }
    match (touched_by_one, touched_by_other) {
        (Everything, _) | (_, Everything) => false,
        (Nothing, _) | (_, Nothing) => true,
        (one, other) => one != other,
    }
}
