//! Makes a schedule that breaks a rule as short as it can be.

use super::run::Ended;

/// How many runs it may take.
const MOST_RUNS: u32 = 4000;

/// Shortens a script, which proptest has shrunk already, by what it leads to: the fewest steps, and the
/// fewest of them that are not what would happen anyway.
pub(super) fn shortened(script: Vec<u8>, ended: Ended, run: impl Fn(&[u8]) -> Ended) -> (Vec<u8>, Ended) {
    let rule = ended.violation.as_ref().map(|violation| violation.rule);
    let mut best = (script, ended);
    let mut runs = 0;
    let mut improved = true;
    while improved && runs < MOST_RUNS {
        improved = false;
        for candidate in candidates(&best.0) {
            runs += 1;
            let ended = run(&candidate);
            let same_rule = ended.violation.as_ref().map(|violation| violation.rule) == rule;
            if same_rule && cost(&candidate, &ended) < cost(&best.0, &best.1) {
                best = (candidate, ended);
                improved = true;
                break;
            }
            if runs >= MOST_RUNS {
                break;
            }
        }
    }
    best
}

fn cost(script: &[u8], ended: &Ended) -> (usize, usize, u32, usize) {
    let wishes = script.iter().filter(|number| **number > 0).count();
    (ended.steps.len(), wishes, script.iter().map(|number| u32::from(*number)).sum(), script.len())
}

/// Scripts that are a little simpler: one number fewer, smaller, or two of them elsewhere.
fn candidates(script: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for at in 0..script.len() {
        let mut without = script.to_vec();
        without.remove(at);
        all.push(without);
    }
    for at in 0..script.len() {
        for smaller in 0..script[at].min(16) {
            let mut with = script.to_vec();
            with[at] = smaller;
            all.push(with);
        }
    }
    for at in 0..script.len() {
        for number in script[at].saturating_add(1)..16 {
            let mut with = script.to_vec();
            with[at] = number;
            with.truncate(at + 1);
            all.push(with);
        }
        let mut later = script.to_vec();
        later.insert(at, 0);
        all.push(later);
    }
    all
}
