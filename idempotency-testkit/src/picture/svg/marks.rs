//! What happens in the lanes.

use super::super::scene::{Across, End, Fate, Going, Mark, Scene};
use super::super::words::{Words, cut};
use super::lanes::INK;
use super::pen::{Anchor, Pen, Type};
use super::plan::{Plan, count};

pub(super) const RED: &str = "#dc2626";
pub(super) const LATE: &str = "#c2410c";
pub(super) const STAR: &str = "#f59e0b";
pub(super) const GREEN: &str = "#16a34a";

pub(super) fn draw(pen: &mut Pen, scene: &Scene, plan: &Plan) {
    for (step, place) in scene.steps.iter().zip(&plan.steps) {
        for (line, y) in step.lines.iter().zip(&place.lines) {
            if let Some(mark) = &line.mark {
                one(pen, scene, plan, *y, mark);
            }
        }
    }
}

fn one(pen: &mut Pen, scene: &Scene, plan: &Plan, y: f64, mark: &Mark) {
    match mark {
        Mark::Begins { lane } => {
            pen.circle((plan.lane(*lane), y), 5.0, INK, INK);
            note(pen, plan, (*lane, y), Type::LABEL, "begins");
        }
        Mark::Crashes { lane } => {
            pen.cross((plan.lane(*lane), y), 8.0, RED);
            note(pen, plan, (*lane, y), Type::BAD, "crashes");
        }
        Mark::Dropped { lane } => {
            pen.circle((plan.lane(*lane), y), 6.0, "#ffffff", RED);
            note(pen, plan, (*lane, y), Type::BAD, "dropped");
        }
        Mark::Ends { lane, result } => {
            let (colour, kind, words) = match result {
                Ok(value) => (GREEN, Type::GOOD, format!("Ok({value})")),
                Err(error) => (RED, Type::BAD, format!("Err({error})")),
            };
            let x = plan.lane(*lane);
            pen.rect((x - 7.0, y - 3.0), (14.0, 6.0), 0.0, colour, "");
            note(pen, plan, (*lane, y), kind, &words);
        }
        Mark::Sends { lane, what } => {
            let (x, room) = (plan.lane(*lane), plan.room() - 4.0);
            pen.circle((x + 9.0, y), 2.0, INK, INK);
            let sends = format!("sends {}", what.short);
            let short = if sends.chars().count() <= Type::LABEL.fit(room) { sends } else { what.short.clone() };
            let words = Words { full: format!("sends {}", what.full), short, tiny: what.tiny.clone() };
            label(pen, (x + 16.0, y + 4.0), Type::LABEL, &words, room);
        }
        Mark::Goes(going) => goes(pen, scene, plan, y, going),
        Mark::Comes { lane, from, what, lost } => comes(pen, plan, y, *lane, *from, what, *lost),
        Mark::Across(kind, text) => across(pen, plan, y, *kind, text),
    }
}

fn note(pen: &mut Pen, plan: &Plan, (lane, y): (usize, f64), kind: Type, words: &str) {
    pen.text((plan.lane(lane) + 14.0, y + 4.0), kind, Anchor::Start, plan.room(), words);
}

fn label(pen: &mut Pen, (x, y): (f64, f64), kind: Type, words: &Words, width: f64) {
    let (shown, _) = words.within(kind.fit(width));
    pen.told(x, y, kind, Anchor::Start, &shown, &words.full);
}

fn end(plan: &Plan, end: End) -> f64 {
    match end {
        End::Store => plan.store(),
        End::Outside => plan.outside(),
    }
}

fn goes(pen: &mut Pen, scene: &Scene, plan: &Plan, y: f64, going: &Going) {
    let lifeline = plan.lane(going.lane);
    let to = end(plan, going.to);
    let (colour, dash, kind) = if going.late {
        (LATE, "6 4", Type::LATE)
    } else {
        (INK, if going.onward { "1.5 4" } else { "" }, Type::LABEL)
    };
    let mut from = lifeline + 6.0;
    // A call that others overtook: its way from where it was sent.
    if let Some((step, line)) = going.sent_at
        && let Some(sent) = plan.steps.get(step).and_then(|place| place.lines.get(line))
    {
        from = lifeline + 9.0;
        pen.line((from, *sent), (from, y), colour, 1.2, if going.late { "6 4" } else { "2 3" });
    }
    let letter = going.key.map_or_else(String::new, |key| scene.letter(key));
    let more = if letter.is_empty() { String::new() } else { format!(" {letter}") };
    let more = if going.late { format!("{more}, late") } else { more };
    let room = plan.room() - Type::LABEL.letter() * count(more.chars().count());
    let (shown, _) = going.what.within(kind.fit(room));
    let (shown, whole) = (format!("{shown}{more}"), format!("{}{more}", going.what.full));
    match going.fate {
        Fate::Arrives => {
            pen.line((from, y), (to - 8.0, y), colour, 1.5, dash);
            pen.head((to - if going.effect.is_some() { 9.0 } else { 1.0 }, y), true, colour);
        }
        Fate::Lost | Fate::Fails => {
            let until = (lifeline + plan.lane_width - 30.0).min(to - 16.0);
            pen.line((from, y), (until, y), colour, 1.5, dash);
            pen.cross((until, y), 6.0, RED);
        }
    }
    let shown = match going.fate {
        Fate::Fails => format!("{} fails", cut(&shown, kind.fit(room).saturating_sub(6))),
        Fate::Arrives | Fate::Lost => shown,
    };
    pen.told(lifeline + 14.0, y - 6.0, kind, Anchor::Start, &shown, &whole);
    if let Some(had) = going.effect {
        let (fill, kind, words) = match had.forbidden {
            true => (RED, Type::BAD, format!("effect {}", had.count)),
            false => (STAR, Type::LABEL, format!("effect {}", had.count)),
        };
        pen.star((to, y), if had.forbidden { 12.0 } else { 10.0 }, fill, "#78350f");
        pen.told(to + 14.0, y + 4.0, kind, Anchor::Start, &words, &words);
    }
}

fn comes(pen: &mut Pen, plan: &Plan, y: f64, lane: usize, from: End, what: &Words, lost: bool) {
    let to = plan.lane(lane);
    let from = end(plan, from);
    if lost {
        let cross = to.midpoint(from).max(to + 24.0);
        pen.line((cross, y), (from, y), INK, 1.5, "");
        pen.cross((cross, y), 6.0, RED);
        let words =
            Words { full: format!("lost: {}", what.full), short: format!("lost: {}", what.short), tiny: "lost".into() };
        label(pen, (to + 14.0, y - 6.0), Type::LOST, &words, plan.room());
    } else {
        pen.line((to + 14.0, y), (from, y), INK, 1.5, "");
        pen.head((to + 6.0, y), false, INK);
        label(pen, (to + 16.0, y - 6.0), Type::LABEL, what, plan.room());
    }
}

/// A break across all lanes. A lapse tears the paper: what lies between is left out.
fn across(pen: &mut Pen, plan: &Plan, y: f64, kind: Across, text: &str) {
    let (left, right) = (plan.lane(0) - 24.0, plan.store() + 2.0);
    let middle = left.midpoint(right);
    match kind {
        Across::Lapse => {
            let mut edge = Vec::new();
            let (half, tooth) = (13.0, 10.0);
            let mut x = left;
            let mut up = true;
            while x <= right {
                edge.push((x, y - half - if up { 3.0 } else { 0.0 }));
                (x, up) = (x + tooth, !up);
            }
            let mut below: Vec<(f64, f64)> = edge.iter().rev().map(|(x, above)| (*x, above + 2.0 * half)).collect();
            let mut torn = edge.clone();
            torn.append(&mut below);
            pen.polygon(&torn, "#f1f5f9", "#64748b");
        }
        Across::Wait => pen.rect((left, y - 12.0), (right - left, 24.0), 4.0, "#f8fafc", "#cbd5e1"),
        Across::Restart | Across::StepBack => {
            pen.rect((left, y - 12.0), (right - left, 24.0), 4.0, "#fff7ed", "#fdba74");
        }
    }
    pen.text((middle, y + 4.0), Type::BREAK, Anchor::Middle, right - left - 24.0, text);
}
