//! Where everything stands.

use super::super::scene::{Mark, Scene};
use super::super::words::wrapped;
use super::pen::Type;

/// Around everything.
pub(super) const MARGIN: f64 = 24.0;
/// One line of a step.
const LINE: f64 = 30.0;
/// A break across all lanes.
const BREAK: f64 = 48.0;
/// Between steps.
const GAP: f64 = 10.0;
/// How far a step's first arrow is under its top: its words stand above it.
const FIRST: f64 = 24.0;
/// A line of the box that tells what was broken.
pub(super) const BOX_LINE: f64 = 18.0;
/// The step's number, and its time.
const LEFT: f64 = 112.0;
const PILL: f64 = 292.0;
const BESIDE: f64 = 18.0;

/// Where everything stands, in pixels.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) lane_width: f64,
    lanes: usize,
    keys: usize,
    /// The promise, in lines.
    pub(super) promise: Vec<String>,
    /// Where the clients' names stand.
    pub(super) names: f64,
    /// Where the first step begins.
    pub(super) top: f64,
    pub(super) steps: Vec<Place>,
    /// Where the last step ends.
    pub(super) bottom: f64,
    /// The box that tells what was broken: its lines, and where it ends.
    pub(super) told: Vec<String>,
    pub(super) told_to: f64,
}

/// Where a step stands.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) top: f64,
    pub(super) bottom: f64,
    /// Its lines' arrows, from the top.
    pub(super) lines: Vec<f64>,
}

impl Plan {
    pub(super) fn of(scene: &Scene, legend: f64) -> Self {
        let lanes = scene.lanes.len();
        let keys = scene.keys.len().max(1);
        let lane_width = match lanes {
            0..=2 => 240.0,
            3 | 4 => 190.0,
            5 => 160.0,
            _ => 124.0,
        };
        let mut plan = Self {
            width: 0.0,
            height: 0.0,
            lane_width,
            lanes,
            keys,
            promise: Vec::new(),
            names: 0.0,
            top: 0.0,
            steps: Vec::new(),
            bottom: 0.0,
            told: Vec::new(),
            told_to: 0.0,
        };
        plan.width = plan.pills() + PILL + MARGIN;
        let inner = plan.width - 2.0 * MARGIN;
        if let Some(broken) = &scene.broken {
            plan.promise = wrapped(broken.rule.promise(), Type::PROMISE.fit(inner));
            plan.told = wrapped(&broken.what, Type::BOX.fit(inner - 140.0));
        }
        plan.names = MARGIN + 26.0 + lines(&plan.promise) * 20.0 + 18.0;
        plan.top = plan.names + 52.0 + if scene.keys.len() > 1 { count(scene.keys.len()) * 16.0 } else { 0.0 };
        let mut y = plan.top;
        for step in &scene.steps {
            let (top, mut places) = (y, Vec::new());
            for at in 0..step.lines.len().max(step.changed.len()) {
                let mark = step.lines.get(at).and_then(|line| line.mark.as_ref());
                let height = if matches!(mark, Some(Mark::Across(..))) { BREAK } else { LINE };
                places.push(y + if height > LINE { height / 2.0 } else { FIRST });
                y += height;
            }
            y += GAP;
            plan.steps.push(Place { top, bottom: y, lines: places });
        }
        // What the last step changed is to be seen for a while.
        y += 16.0;
        if let Some(last) = plan.steps.last_mut() {
            last.bottom = y;
        }
        plan.bottom = y;
        plan.told_to = plan.bottom;
        if scene.broken.is_some() {
            plan.told_to += 36.0 + lines(&plan.told) * BOX_LINE + 10.0;
        }
        plan.height = plan.told_to + 20.0 + legend + MARGIN;
        plan
    }

    /// A client's lifeline.
    pub(super) fn lane(&self, lane: usize) -> f64 {
        count(lane).mul_add(self.lane_width, MARGIN + LEFT)
    }

    /// The lifeline of the world outside.
    pub(super) fn outside(&self) -> f64 {
        self.lane(self.lanes) + 24.0
    }

    /// The store's lifeline.
    pub(super) fn store(&self) -> f64 {
        self.outside() + 92.0
    }

    /// Where a key's track in the store begins.
    pub(super) fn track(&self, key: usize) -> f64 {
        count(key).mul_add(12.0, self.store() + 8.0)
    }

    /// Where the pills begin.
    pub(super) fn pills(&self) -> f64 {
        self.track(self.keys) + BESIDE - 6.0
    }

    pub(super) const fn pill_width(&self) -> f64 {
        PILL
    }

    /// How wide words in a lane may be.
    pub(super) fn room(&self) -> f64 {
        self.lane_width - 34.0
    }
}

fn lines(text: &[String]) -> f64 {
    count(text.len())
}

/// As many pixels.
pub(super) fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}
