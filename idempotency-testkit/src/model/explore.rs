//! The moves explored exhaustively, breadth first, against what is true.

mod code;
mod moves;
mod step;
mod truth;
mod world;

use std::collections::HashSet;
use std::fmt;

pub use self::moves::Moves;
use self::step::{Asked, Step, Told};
use self::truth::Wrong;
use self::world::{Possible, World};
use crate::rule::Rule;

/// How far the moves are explored.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Bounds {
    /// How many keys there are. They share nothing but the counter of fences.
    pub keys: usize,
    /// How many owners there are.
    pub owners: u8,
    /// How often each key may be acquired.
    pub grants: usize,
    /// How many steps a path may have; none, where only the other bounds end it.
    pub depth: Option<u32>,
}

impl Bounds {
    /// One key, three owners, acquired up to so many times, explored to the end.
    pub const fn one_key(grants: usize) -> Self {
        Self { keys: 1, owners: 3, grants, depth: None }
    }

    /// Two keys, three owners, paths of up to so many steps.
    ///
    /// A move reads and writes one key's record, so what can go wrong with one key shows with one; two
    /// show that the fences they share, and the owners, make no difference.
    pub const fn two_keys(depth: u32) -> Self {
        Self { keys: 2, owners: 3, grants: 4, depth: Some(depth) }
    }
}

/// How much was explored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Explored {
    /// How many different states there are.
    pub states: usize,
    /// How many steps were taken from them.
    pub transitions: u64,
    /// The steps of the longest of the shortest paths.
    pub depth: u32,
    /// How many steps were not taken, as the bound of grants was reached.
    pub cut: u64,
}

impl fmt::Display for Explored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { states, transitions, depth, cut } = self;
        write!(f, "{states} states, {transitions} transitions, to a depth of {depth}; {cut} steps past the bound")
    }
}

/// A promise that the moves break, and a shortest path to where they do.
#[derive(Clone, Debug)]
pub struct Violation {
    /// The promise.
    pub rule: Rule,
    /// What would have been right.
    pub right: String,
    /// Every step with its answer; the last is the wrong one.
    pub path: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "broken: {}. {}\n  at the last step: {}", self.rule, self.rule.promise(), self.right)?;
        (1..).zip(&self.path).try_for_each(|(number, step): (u32, _)| write!(f, "\n  {number}. {step}"))
    }
}

impl std::error::Error for Violation {}

/// Explores the moves from an empty store: every call by every owner, in every order, sent late, again
/// or never, at every tick of the clock.
///
/// Messages are not kept: any claim may come at any time, and any lock ever granted may be shown at any
/// time, which is all that late, lost and repeated messages can do. Owners that were granted nothing yet
/// are alike, so one of them stands for all. States are equal if they go on equally: times count from
/// now on.
///
/// # Errors
/// [`Violation`]: the promise broken, by a path than which none is shorter.
pub fn explore(moves: Moves, bounds: Bounds) -> Result<Explored, Box<Violation>> {
    let asked = Asked::all();
    let claims = |owner| asked.iter().map(|asked| asked.claim(owner)).collect();
    let possible = Possible {
        moves,
        claims: (0..bounds.owners).map(claims).collect(),
        asked: asked.clone(),
        grants: bounds.grants,
    };
    let start = World::new(bounds.keys);
    let mut known = HashSet::from([code::of(&start)]);
    // How each state was come to: from which, by which step.
    let mut come_from: Vec<(u32, Step)> = vec![(0, Step::Tick)];
    let mut level = vec![(0_u32, start)];
    let mut explored = Explored::default();
    while !level.is_empty() && bounds.depth.is_none_or(|depth| explored.depth < depth) {
        let mut next = Vec::new();
        for (number, world) in &level {
            for step in world.steps(&possible) {
                let mut after = world.clone();
                match after.take(step, &possible) {
                    Ok(true) => {}
                    Ok(false) => {
                        explored.cut += 1;
                        continue;
                    }
                    Err(wrong) => return Err(violation(&possible, bounds.keys, &come_from, *number, step, wrong)),
                }
                explored.transitions += 1;
                let code = code::of(&after);
                if !known.contains(&code) {
                    known.insert(code);
                    next.push((come_from.len() as u32, after));
                    come_from.push((*number, step));
                }
            }
        }
        level = next;
        explored.depth += 1;
    }
    explored.states = known.len();
    Ok(explored)
}

/// Walks the path once more, for what was answered on it.
fn violation(
    possible: &Possible,
    keys: usize,
    come_from: &[(u32, Step)],
    mut at: u32,
    last: Step,
    (rule, right): Wrong,
) -> Box<Violation> {
    let mut steps = vec![last];
    while at != 0 {
        let (before, step) = come_from[at as usize];
        steps.push(step);
        at = before;
    }
    let mut world = World::new(keys);
    let mut path = Vec::new();
    for step in steps.into_iter().rev() {
        let (told, (answer, _)) = (Told(step, &possible.asked), world.make(step, possible));
        path.push(match step {
            Step::Tick | Step::Purge { .. } => told.to_string(),
            _ => format!("{told} -> {answer}"),
        });
        // The last one is wrong, as is known.
        let _taken = world.take(step, possible);
    }
    Box::new(Violation { rule, right, path })
}
