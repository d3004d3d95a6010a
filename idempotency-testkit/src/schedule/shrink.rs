//! Makes a schedule that breaks a rule as short as it can be.

use proptest::strategy::ValueTree;

use super::run::Ended;
use crate::rule::Rule;

/// How many runs it may take.
const MOST_RUNS: u32 = 8000;

/// A run that breaks a rule.
pub(super) struct Broken<R> {
    pub(super) requests: R,
    pub(super) script: Vec<u8>,
    pub(super) ended: Ended,
}

/// Shortens what breaks a rule, by what it leads to: the fewest steps, and the fewest of them that are not
/// what would happen anyway. The requests shrink as their strategy has it.
pub(super) fn shortest<T: ValueTree>(
    requests: &mut T,
    script: Vec<u8>,
    ended: Ended,
    run: impl Fn(&T::Value, &[u8]) -> Ended,
) -> Broken<T::Value> {
    let rule = rule(&ended);
    let mut best = Broken { requests: requests.current(), script, ended };
    let mut left = MOST_RUNS;
    let mut breaks = |requests: &T::Value, script: &[u8]| {
        left = left.saturating_sub(1);
        let ended = (left > 0).then(|| run(requests, script))?;
        (self::rule(&ended) == rule).then_some(ended)
    };
    shorten(&mut best, &mut breaks);
    let mut simpler = requests.simplify();
    while simpler {
        let candidate = requests.current();
        let most = best.ended.steps.len();
        // A request that asks for less may need one wish fewer, too.
        let fewer = (0..best.script.len()).map(|at| without(&best.script, at));
        let scripts: Vec<_> = std::iter::once(best.script.clone()).chain(fewer).collect();
        let found = scripts.into_iter().find_map(|script| {
            let ended = breaks(&candidate, &script).filter(|ended| ended.steps.len() <= most)?;
            Some((script, ended))
        });
        simpler = match found {
            Some((script, ended)) => {
                best = Broken { requests: candidate, script, ended };
                requests.simplify()
            }
            None => requests.complicate(),
        };
    }
    shorten(&mut best, &mut breaks);
    best
}

fn rule(ended: &Ended) -> Option<Rule> {
    ended.violation.as_ref().map(|violation| violation.rule)
}

fn shorten<R>(best: &mut Broken<R>, breaks: &mut impl FnMut(&R, &[u8]) -> Option<Ended>) {
    let mut improved = true;
    while improved {
        improved = false;
        for candidate in candidates(&best.script) {
            let Some(ended) = breaks(&best.requests, &candidate) else { continue };
            if cost(&candidate, &ended) < cost(&best.script, &best.ended) {
                best.script = candidate;
                best.ended = ended;
                improved = true;
                break;
            }
        }
    }
}

fn cost(script: &[u8], ended: &Ended) -> (usize, usize, u32, usize) {
    let wishes = script.iter().filter(|number| **number > 0).count();
    (ended.steps.len(), wishes, script.iter().map(|number| u32::from(*number)).sum(), script.len())
}

fn without(script: &[u8], at: usize) -> Vec<u8> {
    let mut script = script.to_vec();
    script.remove(at);
    script
}

/// Scripts that are a little simpler: one number fewer, smaller, or elsewhere.
fn candidates(script: &[u8]) -> Vec<Vec<u8>> {
    let with = |at: usize, number: u8| {
        let mut script = script.to_vec();
        script[at] = number;
        script
    };
    let mut all: Vec<Vec<u8>> = (0..script.len()).map(|at| without(script, at)).collect();
    for (at, present) in script.iter().enumerate() {
        all.extend((0..(*present).min(16)).map(|smaller| with(at, smaller)));
    }
    for (at, present) in script.iter().enumerate() {
        for number in present.saturating_add(1)..16 {
            let mut last = with(at, number);
            last.truncate(at + 1);
            all.push(last);
        }
        let mut later = script.to_vec();
        later.insert(at, 0);
        all.push(later);
    }
    all
}
