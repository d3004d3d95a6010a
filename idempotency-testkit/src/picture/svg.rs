//! The timeline as an SVG.

mod lanes;
mod legend;
mod marks;
mod pen;
mod plan;

use pen::{Anchor, Pen, STYLE, Type, px};
use plan::{BOX_LINE, MARGIN, Plan, count};

use super::scene::Scene;
use super::words::time;

const PAPER: &str = "#ffffff";
const ALARM: &str = "#fef2f2";

pub(super) fn drawn(scene: &Scene) -> String {
    // How high the legend is depends on the width, which does not depend on the legend.
    let width = Plan::of(scene, 0.0).width;
    let legend = legend::draw(&mut Pen::default(), 0.0, width);
    let plan = Plan::of(scene, legend);
    let mut pen = Pen::default();
    let (width, height) = (px(plan.width), px(plan.height));
    let view = format!("0 0 {width} {height}");
    pen.start(
        "svg",
        &[
            ("xmlns", "http://www.w3.org/2000/svg"),
            ("width", width.as_str()),
            ("height", height.as_str()),
            ("viewBox", view.as_str()),
            ("role", "img"),
            // A page that inverts what has no colour of its own must leave this as it is.
            ("style", "background:#ffffff;color-scheme:light only"),
        ],
    );
    pen.out += "\n<title>";
    pen.out += &pen::escaped(&headline(scene));
    pen.out += "</title>\n<style>";
    pen.out += STYLE;
    pen.out += "</style>\n";
    pen.rect((0.0, 0.0), (plan.width, plan.height), 0.0, PAPER, "");
    lanes::patterns(&mut pen, scene.keys.len());
    heads(&mut pen, scene, &plan);
    stripes(&mut pen, scene, &plan);
    lanes::draw(&mut pen, scene, &plan);
    lanes::store(&mut pen, scene, &plan);
    marks::draw(&mut pen, scene, &plan);
    broken(&mut pen, scene, &plan);
    legend::draw(&mut pen, plan.told_to + 20.0, plan.width);
    pen.end("svg");
    pen.out
}

fn headline(scene: &Scene) -> String {
    match &scene.broken {
        Some(broken) if scene.steps.is_empty() => format!("Broken: {}", broken.rule),
        Some(broken) => format!("Broken at step {}: {}", scene.steps.len(), broken.rule),
        None => format!("A schedule of {} steps", scene.steps.len()),
    }
}

fn heads(pen: &mut Pen, scene: &Scene, plan: &Plan) {
    let inner = plan.width - 2.0 * MARGIN;
    pen.text((MARGIN, MARGIN + 20.0), Type::HEAD, Anchor::Start, inner, &headline(scene));
    for (at, line) in plan.promise.iter().enumerate() {
        let y = MARGIN + 44.0 + count(at) * 20.0;
        pen.told(MARGIN, y, Type::PROMISE, Anchor::Start, line, line);
    }
    let (name, request) = (plan.names + 14.0, plan.names + 30.0);
    for (lane, head) in scene.lanes.iter().enumerate() {
        let x = plan.lane(lane) - 8.0;
        let client = format!("client {}", head.client);
        pen.rect((x, plan.names - 4.0), (plan.lane_width - 14.0, 42.0), 6.0, "#f3f4f6", "#d1d5db");
        let width = plan.lane_width - 30.0;
        pen.text((x + 8.0, name), Type::NAME, Anchor::Start, width, &client);
        pen.text((x + 8.0, request), Type::SMALL, Anchor::Start, width, &format!("request: {}", head.request));
    }
    pen.text((plan.outside(), name), Type::NAME, Anchor::Middle, 80.0, "outside");
    pen.text((plan.outside(), request), Type::SMALL, Anchor::Middle, 80.0, "effects");
    let width = plan.width - MARGIN - plan.store();
    pen.text((plan.store() - 4.0, name), Type::NAME, Anchor::Start, width, "store");
    for (at, key) in scene.keys.iter().enumerate() {
        let letter = scene.letter(at);
        let key = if letter.is_empty() { key.clone() } else { format!("{letter} = {key}") };
        let y = request + count(at) * 16.0;
        pen.text((plan.store() - 4.0, y), Type::SMALL, Anchor::Start, width, &key);
    }
    pen.text((MARGIN, request), Type::SMALL, Anchor::Start, 80.0, "step, time");
}

/// The steps' numbers and times, on stripes that lead the eye across.
fn stripes(pen: &mut Pen, scene: &Scene, plan: &Plan) {
    let last = scene.steps.len().saturating_sub(1);
    for (at, (step, place)) in scene.steps.iter().zip(&plan.steps).enumerate() {
        let broke = at == last && scene.broken.is_some();
        let fill = match (broke, at % 2) {
            (true, _) => ALARM,
            (false, 0) => "#f9fafb",
            (false, _) => PAPER,
        };
        let wide = plan.width - MARGIN;
        pen.rect((MARGIN / 2.0, place.top), (wide, place.bottom - place.top), 0.0, fill, "");
        let y = place.lines[0] + 4.0;
        let kind = if broke { Type::BAD } else { Type::NUMBER };
        pen.text((MARGIN + 22.0, y), kind, Anchor::End, 40.0, &step.number.to_string());
        pen.text((MARGIN + 30.0, y), Type::TIME, Anchor::Start, 66.0, &time(step.at));
    }
}

/// What was broken, in a box that the last step opens into.
fn broken(pen: &mut Pen, scene: &Scene, plan: &Plan) {
    let Some(broken) = &scene.broken else { return };
    let (left, wide) = (MARGIN / 2.0, plan.width - MARGIN);
    let top = plan.steps.last().map_or(plan.bottom, |place| place.top);
    pen.rect((left, plan.bottom), (wide, plan.told_to - plan.bottom), 0.0, "#fee2e2", "");
    pen.start("g", &[("fill", "none"), ("stroke-width", "2")]);
    pen.rect((left, top), (wide, plan.told_to - top), 4.0, "none", marks::RED);
    pen.end("g");
    let y = plan.bottom + 24.0;
    pen.cross((MARGIN + 8.0, y - 5.0), 6.0, marks::RED);
    let head = format!("This breaks the rule “{}”", broken.rule);
    pen.text((MARGIN + 24.0, y), Type::BOX_HEAD, Anchor::Start, wide - 60.0, &head);
    for (at, line) in plan.told.iter().enumerate() {
        // Blanks at a line's beginning set what was answered below what was asked, which SVG drops.
        let indent = count(line.chars().take_while(|letter| *letter == ' ').count()) * 5.0;
        let y = y + count(at + 1) * BOX_LINE + 2.0;
        let line = line.trim_start();
        match line.split_once("  ") {
            // Two columns, as the words of an answer that is not the contract's have them.
            Some((name, rest)) if !name.contains(' ') => {
                pen.told(MARGIN + 24.0 + indent, y, Type::BOX_NAME, Anchor::Start, name, name);
                pen.told(MARGIN + 124.0, y, Type::BOX, Anchor::Start, rest.trim_start(), rest.trim_start());
            }
            _ => pen.told(MARGIN + 24.0 + indent, y, Type::BOX, Anchor::Start, line, line),
        }
    }
}
