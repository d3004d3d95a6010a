//! What processes said of their keys before they were killed, and whether it can all be true.

use std::collections::{BTreeMap, HashMap};

use idempotency_testkit::processes::Program;

/// The keys, each with what was said of it.
#[derive(Debug, Default)]
pub(crate) struct History {
    keys: HashMap<String, KeyHistory>,
    /// Runs after an unknown attempt.
    pub(crate) takeovers: u32,
    /// Those of them whose prior attempt ended without a word.
    pub(crate) lapsed: u32,
    pub(crate) lines: u32,
}

#[derive(Debug, Default)]
pub(crate) struct KeyHistory {
    said: Vec<String>,
    /// By attempt.
    starts: BTreeMap<u32, Start>,
    effects: BTreeMap<u32, u64>,
    /// Attempt and value.
    pub(crate) done: Option<(u32, u64)>,
}

#[derive(Clone, Copy, Debug)]
struct Start {
    fence: u64,
    prior: Option<u32>,
    /// The operation found that it had no effect, and was about to say so.
    no_effect: bool,
    /// The caller was told that the attempt ended so.
    released: bool,
}

/// Something that must not be, and why.
type Verdict = Result<(), String>;

/// Keys with this at the end of their name are run at most once.
pub(crate) fn refuses(key: &str) -> bool {
    key.ends_with('0')
}

impl History {
    /// Takes in what was said:
    ///
    /// - `start KEY ATTEMPT FENCE PRIOR`, and how that ended: the operation runs; the lock was acknowledged.
    /// - `effect KEY ATTEMPT VALUE`: it has its effect.
    /// - `nothing KEY ATTEMPT`: it is about to say that it had none.
    /// - `failed KEY ATTEMPT none|unknown`: the caller was told so.
    /// - `done KEY ATTEMPT VALUE`: the caller was told so, by a run or a replay.
    ///
    /// `cycle` is only for the reader of a failure.
    pub(crate) fn note(&mut self, cycle: u32, line: &str) -> Verdict {
        self.lines += 1;
        let words: Vec<&str> = line.split(' ').collect();
        let [what, name, rest @ ..] = &words[..] else { return Err(format!("not understood: {line}")) };
        if *what == "trouble" {
            return Err(format!("cycle {cycle}: {line}"));
        }
        let key = self.keys.entry((*name).to_owned()).or_default();
        key.said.push(format!("{cycle}: {line}"));
        let number = |at: usize| rest.get(at).and_then(|word| word.parse::<u64>().ok()).unwrap_or(u64::MAX);
        let attempt = number(0) as u32;
        let verdict = match *what {
            "start" => {
                let prior = rest.get(2).and_then(|word| word.parse().ok());
                self.takeovers += u32::from(prior.is_some());
                self.lapsed += u32::from(rest.last() == Some(&"Lapsed"));
                key.start(refuses(name), attempt, Start { fence: number(1), prior, no_effect: false, released: false })
            }
            "effect" => key.effect(attempt, number(1)),
            "nothing" => key.of_attempt(attempt, |start| start.no_effect = true),
            "failed" if rest.get(1) == Some(&"none") => key.of_attempt(attempt, |start| start.released = true),
            "failed" => Ok(()),
            "done" => key.done(attempt, number(1)),
            _ => Err(format!("not understood: {line}")),
        };
        verdict.map_err(|why| format!("{why}\n{name}:\n  {}", key.said.join("\n  ")))
    }

    pub(crate) fn get(&self, key: &str) -> Option<&KeyHistory> {
        self.keys.get(key)
    }
}

impl KeyHistory {
    fn start(&mut self, refuses: bool, attempt: u32, new: Start) -> Verdict {
        if let Some((by, _)) = self.done {
            return Err(format!("attempt {attempt} runs, but attempt {by} is done"));
        }
        if let Some((last, before)) = self.starts.last_key_value() {
            if attempt <= *last {
                return Err(format!("attempt {attempt} runs after attempt {last}"));
            }
            if new.fence <= before.fence {
                return Err(format!("fence {} after fence {}", new.fence, before.fence));
            }
            let next = attempt == last + 1;
            let told_of = |earliest: u32| new.prior.is_some_and(|prior| (earliest..attempt).contains(&prior));
            let announced = match before {
                Start { released: true, prior, .. } if next => new.prior == *prior,
                // Killed before it was released, or before it could say that it was.
                Start { no_effect: true, prior, .. } if next => new.prior == *prior || new.prior == Some(*last),
                Start { no_effect: true, prior, .. } => new.prior == *prior || told_of(*last),
                _ => told_of(*last),
            };
            if !announced {
                return Err(format!(
                    "attempt {attempt} is told of prior {:?}, but attempt {last} is unknown",
                    new.prior
                ));
            }
        } else if new.prior.is_some_and(|prior| prior >= attempt) || (attempt == 1 && new.prior.is_some()) {
            return Err(format!("attempt {attempt} is told of prior {:?}", new.prior));
        }
        if refuses && new.prior.is_some() {
            return Err(format!("attempt {attempt} takes over, which was refused"));
        }
        self.starts.insert(attempt, new);
        Ok(())
    }

    fn of_attempt(&mut self, attempt: u32, change: impl FnOnce(&mut Start)) -> Verdict {
        let start = self.starts.get_mut(&attempt).ok_or(format!("attempt {attempt} ended and never ran"))?;
        change(start);
        Ok(())
    }

    fn effect(&mut self, attempt: u32, value: u64) -> Verdict {
        if let Some((by, _)) = self.done {
            return Err(format!("attempt {attempt} has an effect, but attempt {by} is done"));
        }
        self.of_attempt(attempt, |_| ())?;
        match self.effects.insert(attempt, value) {
            None => Ok(()),
            Some(_) => Err(format!("attempt {attempt} ran twice")),
        }
    }

    fn done(&mut self, attempt: u32, value: u64) -> Verdict {
        if self.effects.get(&attempt) != Some(&value) {
            return Err(format!(
                "value {value} of attempt {attempt}, whose effect was {:?}",
                self.effects.get(&attempt)
            ));
        }
        match self.done.replace((attempt, value)) {
            Some(before) if before != (attempt, value) => Err(format!("done by {before:?} before")),
            _ => Ok(()),
        }
    }

    /// The highest attempt that ran, and its fence.
    pub(crate) fn last_start(&self) -> Option<(u32, u64)> {
        self.starts.last_key_value().map(|(attempt, start)| (*attempt, start.fence))
    }

    pub(crate) fn said(&self) -> String {
        self.said.join("\n  ")
    }
}

pub(crate) fn add_to(program: &mut Program) {
    program.test("history::what_cannot_be_true_is_found", what_cannot_be_true_is_found);
}

/// The checker itself: histories that are right, and the same with one thing wrong.
fn what_cannot_be_true_is_found() {
    let takes_in = |lines: &[&str]| {
        let mut history = History::default();
        lines.iter().try_for_each(|line| history.note(1, line))
    };
    let right: [&[&str]; 7] = [
        &["start k1 1 5 -", "effect k1 1 77", "done k1 1 77", "done k1 1 77"],
        &["start k1 1 5 -", "effect k1 1 7", "start k1 2 9 1", "effect k1 2 8", "done k1 2 8"],
        &["start k1 1 5 -", "nothing k1 1", "failed k1 1 none", "start k1 2 6 -"],
        &["start k1 1 5 -", "nothing k1 1", "start k1 2 6 1"],
        &["start k1 1 5 -", "start k1 2 6 1", "nothing k1 2", "failed k1 2 none", "start k1 3 7 1"],
        &["start k1 1 5 -", "failed k1 1 unknown", "start k1 4 9 3"],
        &["start k0 1 5 -", "nothing k0 1", "failed k0 1 none", "start k0 2 6 -", "effect k0 2 1", "done k0 2 1"],
    ];
    for lines in right {
        takes_in(lines).unwrap();
    }
    let wrong: [(&[&str], &str); 16] = [
        (&["start k1 1 5 -", "effect k1 1 7", "done k1 1 8"], "value 8"),
        (&["done k1 1 8"], "value 8"),
        (&["start k1 1 5 -", "effect k1 1 7", "done k1 1 7", "start k1 2 6 1"], "attempt 1 is done"),
        (&["start k1 1 5 -", "effect k1 1 7", "done k1 1 7", "effect k1 1 7"], "attempt 1 is done"),
        (&["start k1 1 5 -", "start k1 1 6 -"], "runs after"),
        (&["start k1 2 5 -", "start k1 1 6 -"], "runs after"),
        (&["start k1 1 5 -", "start k1 2 5 1"], "fence 5 after fence 5"),
        (&["start k1 1 5 -", "start k1 2 6 -"], "is unknown"),
        (&["start k1 2 5 -", "start k1 4 6 1"], "is unknown"),
        (&["start k1 1 5 -", "failed k1 1 unknown", "start k1 2 6 -"], "is unknown"),
        (&["start k1 1 5 -", "nothing k1 1", "failed k1 1 none", "start k1 2 6 1"], "is unknown"),
        (&["start k1 1 5 -", "start k1 2 6 1", "nothing k1 2", "start k1 3 7 -"], "is unknown"),
        (&["start k1 1 5 1"], "told of prior"),
        (&["start k0 1 5 -", "start k0 2 6 1"], "refused"),
        (&["start k1 1 5 -", "effect k1 1 7", "effect k1 1 7"], "ran twice"),
        (&["trouble there is"], "trouble there is"),
    ];
    for (lines, why) in wrong {
        let found = takes_in(lines).expect_err(&format!("not found: {lines:?}"));
        assert!(found.contains(why), "{lines:?}: {found}");
    }
}
