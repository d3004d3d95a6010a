//! The lifelines, and who holds what on them.

use super::super::scene::{Life, Scene, Stretch};
use super::super::standing::{Hold, Stand};
use super::pen::{Pen, px};
use super::plan::{Plan, count};

/// The colours of the keys' locks.
pub(super) const KEYS: [&str; 5] = ["#2563eb", "#7c3aed", "#0d9488", "#c2410c", "#4d7c0f"];
pub(super) const INK: &str = "#374151";
const FAINT: &str = "#9ca3af";

/// The pill of a key that stands so: paper, ink, and the stronger colour of the track.
pub(super) const fn colours(stand: Stand) -> (&'static str, &'static str, &'static str) {
    match stand {
        Stand::Absent => ("#f3f4f6", "#374151", "#d1d5db"),
        Stand::InProgress => ("#dbeafe", "#1e3a8a", "#60a5fa"),
        Stand::Unknown => ("#fef3c7", "#78350f", "#f59e0b"),
        Stand::Released => ("#f3e8ff", "#581c87", "#c084fc"),
        Stand::Completed => ("#dcfce7", "#14532d", "#22c55e"),
    }
}

/// The patterns that lapsed locks are filled with.
pub(super) fn patterns(pen: &mut Pen, keys: usize) {
    pen.start("defs", &[]);
    for (key, colour) in KEYS.iter().enumerate().take(keys.clamp(1, KEYS.len())) {
        let id = format!("lapsed-{key}");
        let size = [("width", "6"), ("height", "6"), ("patternUnits", "userSpaceOnUse")];
        pen.start("pattern", &[&[("id", id.as_str()), ("patternTransform", "rotate(45)")][..], &size[..]].concat());
        pen.rect((0.0, 0.0), (6.0, 6.0), 0.0, "#ffffff", "");
        pen.line((1.0, 0.0), (1.0, 6.0), colour, 2.0, "");
        pen.end("pattern");
    }
    pen.end("defs");
}

pub(super) fn draw(pen: &mut Pen, scene: &Scene, plan: &Plan) {
    for x in [plan.outside(), plan.store()] {
        pen.line((x, plan.top - 4.0), (x, plan.bottom), FAINT, 1.5, if x < plan.store() { "2 4" } else { "" });
    }
    // All the stretches, with where each of them begins.
    let placed = scene.steps.iter().zip(&plan.steps);
    let all: Vec<(f64, &[Stretch])> = placed
        .flat_map(|(step, place)| place.lines.iter().zip(&step.lines).map(|(y, line)| (*y, line.stretches.as_slice())))
        .collect();
    for lane in 0..scene.lanes.len() {
        let x = plan.lane(lane);
        for (life, dash, width) in [(Life::Running, "", 1.5), (Life::Afterglow, "2 4", 1.5)] {
            for (from, to) in runs(&all, plan.bottom, |stretches| stretches[lane].life == life) {
                pen.line((x, from), (x, to), INK, width, dash);
            }
        }
        let held =
            |key: usize| all.iter().any(|(_, stretches)| stretches[lane].holds.iter().any(|(held, _)| *held == key));
        for (slot, key) in (0..scene.keys.len()).filter(|key| held(*key)).enumerate() {
            for hold in [Hold::Believed, Hold::Lapsed, Hold::Live, Hold::Wrongly] {
                for (from, to) in runs(&all, plan.bottom, |stretches| stretches[lane].holds.contains(&(key, hold))) {
                    bar(pen, (x - count(slot) * 11.0, from), to, key, hold);
                }
            }
        }
    }
}

/// Where something is so without a break.
fn runs(all: &[(f64, &[Stretch])], bottom: f64, is: impl Fn(&[Stretch]) -> bool) -> Vec<(f64, f64)> {
    let mut runs: Vec<(f64, f64)> = Vec::new();
    for (at, (from, stretches)) in all.iter().enumerate() {
        let to = all.get(at + 1).map_or(bottom, |(next, _)| *next);
        match runs.last_mut().filter(|(_, end)| *end >= *from) {
            _ if !is(stretches) => {}
            Some(last) => last.1 = to,
            None => runs.push((*from, to)),
        }
    }
    runs
}

/// A bar on a lifeline: a client holds a key, or held it, or thinks so.
pub(super) fn bar(pen: &mut Pen, (x, from): (f64, f64), to: f64, key: usize, hold: Hold) {
    let colour = KEYS[key % KEYS.len()];
    let (at, size) = ((x - 5.0, from), (10.0, to - from));
    match hold {
        Hold::Live => pen.rect(at, size, 2.0, colour, ""),
        Hold::Wrongly => pen.rect(at, size, 2.0, super::marks::RED, ""),
        Hold::Lapsed => pen.rect(at, size, 2.0, &format!("url(#lapsed-{})", key % KEYS.len()), colour),
        Hold::Believed => {
            let (x, y, w, h) = (px(at.0), px(at.1), px(size.0), px(size.1));
            pen.element(
                "rect",
                &[
                    ("x", x.as_str()),
                    ("y", y.as_str()),
                    ("width", w.as_str()),
                    ("height", h.as_str()),
                    ("rx", "2"),
                    ("fill", "#ffffff"),
                    ("stroke", colour),
                    ("stroke-dasharray", "4 3"),
                ],
            );
        }
    }
}

/// How the keys stand: a track each, and a pill where that changes.
pub(super) fn store(pen: &mut Pen, scene: &Scene, plan: &Plan) {
    use super::super::words::cut;
    use super::pen::{Anchor, Type};

    let (pills, width) = (plan.pills(), plan.pill_width());
    for key in 0..scene.keys.len() {
        let x = plan.track(key);
        for (at, (step, place)) in scene.steps.iter().zip(&plan.steps).enumerate() {
            let to = plan.steps.get(at + 1).map_or(plan.bottom, |next| next.lines[0]);
            let (_, _, strong) = colours(step.kept[key].stand);
            pen.rect((x, place.lines[0]), (8.0, to - place.lines[0]), 0.0, strong, "");
        }
    }
    for (at, (step, place)) in scene.steps.iter().zip(&plan.steps).enumerate() {
        let ends = at == 0 || at + 1 == scene.steps.len();
        for (key, kept) in step.kept.iter().enumerate() {
            let line = step.changed.iter().position(|changed| *changed == key).or_else(|| ends.then_some(key));
            // What stands as before is told by the track's colour.
            let Some(y) = line.and_then(|line| place.lines.get(line)) else { continue };
            if ends && !step.changed.is_empty() && !step.changed.contains(&key) {
                continue;
            }
            let (paper, ink, strong) = colours(kept.stand);
            pen.rect((pills, y - 11.0), (width, 22.0), 11.0, paper, strong);
            let letter = scene.letter(key);
            let words = if letter.is_empty() { kept.long.clone() } else { format!("{letter}  {}", kept.long) };
            let shown = cut(&words, Type::PILL.fit(width - 24.0));
            pen.start("g", &[("fill", ink)]);
            pen.told(pills + 12.0, y + 4.0, Type::PILL, Anchor::Start, &shown, &kept.whole);
            pen.end("g");
        }
    }
}
