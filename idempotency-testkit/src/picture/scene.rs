//! What there is to draw: a trace, sorted into lanes and lines.

use std::time::Duration;

use super::standing::{Hold, Kept};
use super::words::Words;
use crate::rule::Rule;
use crate::schedule::Trace;

/// What there is to draw.
#[derive(Debug)]
pub(super) struct Scene {
    /// The clients that came, in their order.
    pub(super) lanes: Vec<Lane>,
    /// The keys, in the order in which they came up.
    pub(super) keys: Vec<String>,
    pub(super) steps: Vec<Drawn>,
    pub(super) broken: Option<Broken>,
}

/// One client.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) client: u8,
    pub(super) request: String,
}

/// The rule that was broken at the last step.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) rule: Rule,
    /// What happened, without the rule's own words, which stand beside it.
    pub(super) what: String,
}

/// One step.
#[derive(Debug)]
pub(super) struct Drawn {
    pub(super) number: usize,
    pub(super) at: Duration,
    /// At least one.
    pub(super) lines: Vec<Line>,
    /// How the keys stand after it, in the order of [`Scene::keys`].
    pub(super) kept: Vec<Kept>,
    /// Which of the keys stand otherwise than before.
    pub(super) changed: Vec<usize>,
    /// All that happened, in words.
    pub(super) words: String,
}

/// One line of a step: at most one thing happens in it.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) mark: Option<Mark>,
    /// How the lanes go on from here.
    pub(super) stretches: Vec<Stretch>,
}

/// How a lane goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) life: Life,
    /// The keys it holds, by their place in [`Scene::keys`].
    pub(super) holds: Vec<(usize, Hold)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// The client has not come yet.
    NotYet,
    /// Its request is being handled.
    Running,
    /// Nobody waits for the request any more, and something of it still goes on.
    Afterglow,
    /// Nothing of it is left.
    Over,
}

/// Something that happens in a lane.
#[derive(Clone, Debug)]
pub(super) enum Mark {
    /// A request comes.
    Begins { lane: usize },
    /// A call is sent that does not arrive in the next step.
    Sends { lane: usize, what: Words },
    /// A call is on its way to the store or the world outside.
    Goes(Going),
    /// An answer is on its way back.
    Comes { lane: usize, from: End, what: Words, lost: bool },
    /// Its process dies.
    Crashes { lane: usize },
    /// Its caller goes away.
    Dropped { lane: usize },
    /// Its request ends.
    Ends { lane: usize, result: Result<String, String> },
    /// Something that concerns all.
    Across(Across, String),
}

/// A call on its way.
#[derive(Clone, Debug)]
pub(super) struct Going {
    pub(super) lane: usize,
    pub(super) to: End,
    pub(super) what: Words,
    /// The key it is about, where there are several.
    pub(super) key: Option<usize>,
    pub(super) fate: Fate,
    /// Whether it had arrived before, and the store goes on with it now.
    pub(super) onward: bool,
    /// Whether nobody waits for its answer any more.
    pub(super) late: bool,
    /// The effect that it has, if it has one.
    pub(super) effect: Option<Had>,
    /// The step and its line at which it was sent, where others came between.
    pub(super) sent_at: Option<(usize, usize)>,
}

/// An effect that is had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Had {
    /// How often it was had now, for its key.
    pub(super) count: usize,
    /// Whether that is what broke the rule.
    pub(super) forbidden: bool,
}

/// Where a call goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Store,
    Outside,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Arrives,
    /// It is lost on its way, and may arrive late.
    Lost,
    /// It fails with nothing done.
    Fails,
}

/// Something that concerns all lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Across {
    Lapse,
    Wait,
    Restart,
    StepBack,
}

impl Scene {
    pub(super) fn of(trace: &Trace) -> Self {
        super::staging::staged(trace)
    }

    /// What a key is called in a picture: nothing where it is the only one, `A` and so on otherwise.
    pub(super) fn letter(&self, key: usize) -> String {
        if self.keys.len() < 2 { String::new() } else { letter(key) }
    }
}

/// `A` to `Z`, then `K26` and so on.
pub(super) fn letter(key: usize) -> String {
    match u8::try_from(key) {
        Ok(key @ 0..26) => char::from(b'A' + key).to_string(),
        _ => format!("K{key}"),
    }
}

impl Broken {
    pub(super) fn of(trace: &Trace) -> Option<Self> {
        let violation = trace.broken.as_ref()?;
        // An answer that is not the contract's is told with the rule in front.
        let what = match violation.what.split_once('\n') {
            Some((head, rest)) if head.starts_with("broken: ") => rest,
            _ => &violation.what,
        };
        Some(Self { rule: violation.rule, what: what.to_owned() })
    }
}
